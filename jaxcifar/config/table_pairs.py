"""Tables of settings, such as network arguments, as the (name, value) pairs that a `Config` has."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxcifar.errors import UsageError

# Limits of network arguments, because the file of a config must be able to hold them.
_MAX_NESTING = 8
_MAX_INTEGER = 2**63


def sorted_pairs(
    values: Mapping[str, Any] | Iterable[tuple[str, Any]],
) -> tuple[tuple[str, Any], ...]:
    """Return values as (name, value) pairs sorted by name, with tuples in place of lists.

    Raises:
      UsageError: a value can't be written to the file of a config.
    """
    return tuple(sorted((str(name), _as_tuples(value)) for name, value in dict(values).items()))


def _as_tuples(value: Any, levels_left: int = _MAX_NESTING) -> Any:
    if isinstance(value, list | tuple) and levels_left:
        return tuple(_as_tuples(item, levels_left - 1) for item in value)
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise UsageError(f"--arch-args: {value!r:.80} has more than 64 bits")
    if not isinstance(value, bool | int | float | str | None):
        raise UsageError(
            f"--arch-args: {value!r:.80} is not a number, text, true, false or a list of these"
        )
    return value
