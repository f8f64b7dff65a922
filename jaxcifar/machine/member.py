"""Members of a group of processes that train one run together, and their differing settings."""

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
        """The settings, with the number of processes as the option `--processes`."""
        return {"--processes": str(self.count), **self.settings}


def differences(first: Mapping[str, str], other: Mapping[str, str], number: int) -> str | None:
    """Return a message that names settings in which another process differs from process 0.

    Args:
      first: settings of process 0.
      other: settings of the other process.
      number: number of the other process.

    Returns:
      None if all settings are the same.
    """
    differing = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    if not differing:
        return None
    shown = ", ".join(
        f"{name} is {first.get(name)} in process 0 and {other.get(name)} in process {number}"
        for name in differing[:_MAX_DIFFERENCES]
    )
    return f"{shown}; start all processes with the same options, files and versions"
