"""The description of one of several processes that train one run, and comparing two of them."""

from collections.abc import Mapping

import msgspec

_MOST_DIFFERENCES = 3  # that a message names


class Member(msgspec.Struct, frozen=True):
    """One of the processes.

    Attributes:
      number: its number, from 0.
      count: how many processes there are.
      settings: what must be the same in all of them: name -> value.
    """

    number: int
    count: int
    settings: dict[str, str]


def differences(first: Mapping[str, str], other: Mapping[str, str], number: int) -> str | None:
    """Return a message on the settings in which a process differs from process 0; None if none.

    Args:
      first: settings of process 0.
      other: settings of the other process.
      number: its number.
    """
    differing = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    if not differing:
        return None
    shown = ", ".join(
        f"{name} is {first.get(name)} in process 0 and {other.get(name)} in process {number}"
        for name in differing[:_MOST_DIFFERENCES]
    )
    return f"{shown}; start all processes with the same options, files and versions"
