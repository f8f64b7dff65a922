"""The earlier runs that a command with `--force` replaces by new ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from jaxcifar.machine.files import change_time
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task, forcing_command


class ForcedRuns(NamedTuple):
    """The earlier runs in the folders of forced rows, as they were before the command.

    `config_change_times` has the time of the last change of each run's `config.json`, in
    nanoseconds, by the run's folder. A new run begins with a new `config.json`.
    """

    config_change_times: dict[Path, int]

    @classmethod
    def replaced_by(cls, tasks: Sequence[Task]) -> Self:
        """Return the earlier runs that `tasks` will overwrite; call this before the tasks begin."""
        config_change_times = {}
        for task in tasks:
            earlier_time = change_time(RunFolder(task.path).config_file)
            if task.overwrite and earlier_time is not None:
                config_change_times[task.path.absolute()] = earlier_time
        return cls(config_change_times)

    def runs_still_there(self) -> list[Path]:
        """Return the folders of the earlier runs that no new run has replaced yet."""
        return [
            path
            for path, earlier_time in self.config_change_times.items()
            if change_time(RunFolder(path).config_file) == earlier_time
        ]

    def resuming_command(self, task: Task) -> str:
        """Return words for the command that goes on after runs have failed, for a message.

        If a new run failed before it replaced an earlier run, the command must have `--force`
        again; otherwise it would keep the earlier run. `task` is any run of the study.
        """
        paths = self.runs_still_there()
        return f"{forcing_command(paths)}," if paths else task.resuming_command

    def delete_still_there(self) -> None:
        """Delete the earlier runs that no new run has replaced yet.

        A command without `--force` then trains these runs, and keeps the runs that were replaced.

        Raises:
          RunError: a file can't be deleted.
        """
        for path in self.runs_still_there():
            RunFolder(path).delete_run()
