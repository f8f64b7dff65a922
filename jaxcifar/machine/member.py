"""Processes that train one run together, and messages about settings that differ."""

from collections.abc import Mapping

import msgspec

_MAX_DIFFERENCES = 3  # number of settings that a message names


class Member(msgspec.Struct, frozen=True):
    """One of the processes that train a run together.

    Attributes:
      number: number of the process, from 0 to `count` - 1.
      count: number of processes in the group.
      settings: name -> value of settings that must be the same in all processes.
    """

    number: int
    count: int
    settings: dict[str, str]

    @property
    def all_settings(self) -> dict[str, str]:
        """The `settings`, and the number of processes under the name `--processes`."""
        return {"--processes": str(self.count), **self.settings}


def differences(first: Mapping[str, str], other: Mapping[str, str], number: int) -> str | None:
    """Return a message about the settings that differ between process 0 and another process.

    Args:
      first: settings of process 0.
      other: settings of the other process.
      number: number of the other process.

    Returns:
      the message, or None if all settings are the same.
    """
    differing = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    if not differing:
        return None
    shown = ", ".join(
        f"{name} is {first.get(name)} in process 0 and {other.get(name)} in process {number}"
        for name in differing[:_MAX_DIFFERENCES]
    )
    return f"{shown}; start all processes with the same options, files and versions"
