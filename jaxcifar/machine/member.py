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


def describe_different_settings(
    first_settings: Mapping[str, str], other_settings: Mapping[str, str], other_number: int
) -> str | None:
    """Return a message about the settings that differ between process 0 and another process.

    Args:
      first_settings: settings of process 0.
      other_settings: settings of the other process.
      other_number: number of the other process.

    Returns:
      the message, or None if all settings are the same.
    """
    different_names = [
        name
        for name in {**first_settings, **other_settings}
        if first_settings.get(name) != other_settings.get(name)
    ]
    if not different_names:
        return None
    texts = [
        f"{name} is {first_settings.get(name)} in process 0 and {other_settings.get(name)} in "
        f"process {other_number}"
        for name in different_names[:_MAX_DIFFERENCES]
    ]
    return f"{', '.join(texts)}; start all processes with the same options, files and versions"
