"""Lists of names in messages, cut if they are long."""

from collections.abc import Iterable, Sequence


def join_names(names: Iterable[str], most: int = 6) -> str:
    """Return names as "a, b and c".

    A list of more than `most` names is cut, and its last item is the number of the other names.
    """
    names = list(names)
    if len(names) > most:
        others = len(names) - most + 1
        names = [*names[: most - 1], f"{others} others"]
    if len(names) < 2:
        return "".join(names)
    *first_names, last_name = names
    return f"{', '.join(first_names)} and {last_name}"


def join_first(names: Sequence[str], most: int) -> str:
    """Return the first `most` names and the number of the others, as "a, b, c and 1,204 more"."""
    listed = ", ".join(names[:most])
    more = len(names) - most
    return f"{listed} and {more:,} more" if more > 0 else listed
