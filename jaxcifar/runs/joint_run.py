"""A run that several processes train together: the folder of each, and what they must agree on."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from jaxcifar.build.user_metrics import UserMetric
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine import environment, processes
from jaxcifar.machine.files import write_text
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task

# Network file systems show a new file to other machines after up to a minute.
_LOOKS = 90
_SECONDS_BETWEEN_LOOKS = 1.0
T = TypeVar("T")


def require_same_start(
    config: Config, auto: bool, devices: int | None, metrics: Sequence[UserMetric] = ()
) -> None:
    """Refuse to begin unless all processes were started to do the same.

    Args:
      config: what this process is to train.
      auto: whether its data set is chosen by what is there.
      devices: `--devices`.
      metrics: what the user has measured beside our metrics.

    Raises:
      UsageError: one was started with other options, files or versions.
    """
    if processes.is_only_process():
        return
    processes.require_equal_devices()
    settings = {
        **config.settings(),
        "dataset": "auto" if auto else config.dataset,
        "devices": devices,
        **environment.program_versions(),
        "SHA-256 of jaxcifar's code": environment.code_sha256(),
        "metric": ", ".join(f"{user.code} ({user.sha256})" for user in metrics),
    }
    del settings["init"]  # its digest says which weights they are, wherever they lie
    processes.require_same_settings(settings)


@contextmanager
def own_task(task: Task) -> Iterator[Task]:
    """The task with the folder where this process writes what it writes of it.

    The first process has the run's folder; another one has its checkpoints, which all write
    together, in a folder that does not stay.

    Raises:
      UsageError: the run's folder is another one in another process.
    """
    require_same_folder(task)
    if processes.is_first_process():
        yield task
        return
    with tempfile.TemporaryDirectory(prefix="jaxcifar-") as scratch:
        own, of_run = RunFolder(Path(scratch)), RunFolder(task.path)
        write_text(own.config, task.config.to_json())
        own.checkpoints.symlink_to(of_run.checkpoints.absolute())
        if not task.overwrite:  # the first one's to delete
            own.result.symlink_to(of_run.result.absolute())  # if there is one, all are done
        yield dataclasses.replace(task, scratch=own.path, overwrite=False, observers=())


def folder_of(task: Task) -> AbstractContextManager[RunFolder]:
    """Return the folder where this process writes, held for it, as `RunFolder.opened` does."""
    return RunFolder.opened(task.scratch or task.path, task.config, task.overwrite)


def only_by_the_first(act: Callable[[], T]) -> T | None:
    """Do something in the first process alone, and fail in all of them if it fails there.

    Returns:
      what `act` returns; None in the other processes.

    Raises:
      UsageError: raised by `act`.
    """
    done, objection = None, ""
    if processes.is_first_process():
        try:
            done = act()
        except UsageError as error:
            objection = str(error)
    objection_of_first = processes.gather_texts(objection)[0]
    if objection_of_first:
        raise UsageError(objection_of_first)
    return done


def begun_before(folder: RunFolder, config: Config) -> bool:
    """Return whether this run was begun before; the first process knows, for it has the folder.

    Args:
      folder: where this process writes.
      config: `Setup.config_of` the run.

    Raises:
      UsageError: the run was begun on other images, or with other imports of its user code; or
        these imports are not the same files in all processes.
    """
    imported = {f"SHA-256 of {file}": digest for file, digest in config.imports or ()}
    processes.require_same_settings(imported)  # `require_same_start` does not know them yet

    def begun_here() -> bool:
        if folder.begun:
            folder.require_same(config)
        return folder.begun

    [begun] = processes.any_process(bool(only_by_the_first(begun_here)))
    return begun


def require_same_folder(task: Task) -> None:
    """Wait until all processes see the same run folder; what one has written, others see later.

    Raises:
      UsageError: they don't.
    """
    folder = RunFolder(task.path)
    for _ in range(_LOOKS):
        times = [_second_written(path) for path in (folder.config, folder.result)]
        if len(set(processes.gather_texts(str(times)))) == 1:
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise UsageError(
        f"--run-dir {task.path}: is not the same folder in all processes; it must lie where all of "
        "them can read and write"
    )


def _second_written(path: Path) -> int:
    """Return the second in which a file was written, on all machines the same; 0 for no file."""
    try:
        return int(path.stat().st_mtime)
    except FileNotFoundError:
        return 0
