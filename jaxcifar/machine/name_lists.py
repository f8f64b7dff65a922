"""Lists of names in messages, cut if they are long."""

from collections.abc import Iterable, Sequence


def join_names(names: Iterable[str], max_names: int = 6) -> str:
    """Return names as "a, b and c".

    A list of more than `max_names` is cut, and its last item is the number of the other names.
    """
    names = list(names)
    if len(names) > max_names:
        other_count = len(names) - max_names + 1
        names = [*names[: max_names - 1], f"{other_count} others"]
    if len(names) < 2:
        return "".join(names)
    *first_names, last_name = names
    return f"{', '.join(first_names)} and {last_name}"


def join_first(names: Sequence[str], max_names: int) -> str:
    """Return the first `max_names` and the number of the others, as "a, b, c and 1,204 more"."""
    first_names = ", ".join(names[:max_names])
    other_count = len(names) - max_names
    return f"{first_names} and {other_count:,} more" if other_count > 0 else first_names
