"""Tables of settings, such as network arguments, as the (name, value) pairs that a `Config` has."""

from collections.abc import Iterable, Mapping
from typing import Any

from jaxcifar.config.python_number import python_number
from jaxcifar.config.settings import DEFAULT_ARCH
from jaxcifar.errors import UsageError, printable

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
    pairs = [(str(name), _as_tuples(value)) for name, value in dict(values).items()]
    return tuple(sorted(pairs))


def merge_settings(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with some changes; the network's arguments are changed one by one.

    If the changes name another network, or their `arch_args` are empty, none of the network's
    arguments in `settings` is kept.

    Args:
      settings: settings by name; `arch_args` is a mapping of the network's arguments.
      changes: new values of settings, by name.
    """
    merged_settings = {**settings, **changes}
    if "arch_args" not in merged_settings:
        return merged_settings
    old_network = settings.get("arch", DEFAULT_ARCH)
    new_network = merged_settings.get("arch", DEFAULT_ARCH)
    new_arguments = changes.get("arch_args", {})
    all_arguments_are_removed = "arch_args" in changes and not new_arguments
    kept_arguments = settings.get("arch_args", {})
    if new_network != old_network or all_arguments_are_removed:
        kept_arguments = {}
    return {**merged_settings, "arch_args": {**kept_arguments, **new_arguments}}


def _as_tuples(value: Any, nesting_left: int = _MAX_NESTING) -> Any:
    """Return an argument of a network with all its lists, also nested lists, as tuples.

    Raises:
      UsageError: the argument can't be written to `config.json`.
    """
    if isinstance(value, list | tuple) and nesting_left:
        return tuple(_as_tuples(item, nesting_left - 1) for item in value)
    value = python_number(value)
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise UsageError(f"--arch-args: {value!r:.80} has more than 64 bits; give a smaller number")
    if not isinstance(value, bool | int | float | str | None):
        raise UsageError(
            f"--arch-args: {printable(repr(value), 80)} is not a number, text, true, false or a "
            "list of these; give one of them"
        )
    return value
