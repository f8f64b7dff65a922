"""Train one run in several processes: the folder of each process, and common decisions."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import jax

from jaxcifar.build.model import compute_dtype
from jaxcifar.build.user_metrics import UserMetric
from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import NAMES_OF_RUNS
from jaxcifar.errors import UsageError
from jaxcifar.machine import environment, processes
from jaxcifar.machine.files import write_text
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task

# Network file systems may show a new file to other machines only after a minute.
_ATTEMPTS = 90
_SECONDS_BETWEEN_ATTEMPTS = 1.0
T = TypeVar("T")


def require_same_start(
    config: Config,
    chooses_dataset: bool,
    devices: int | None,
    user_metrics: Sequence[UserMetric] = (),
    keep_every: int | None = None,
    overwrite: bool = False,
) -> None:
    """Check that the processes of one run were started with the same options, files and versions.

    Args:
      config: settings of this process.
      chooses_dataset: True if the program chose the data set because the user named none. Then the
        data sets are not compared here, because machines may have different files.
      devices: the number of devices that the user asked for; None if the user gave no number.
      user_metrics: metrics that the user defined.
      keep_every: the number N of `--keep-every N`, which keeps the checkpoint of every N-th epoch;
        None if the option was not given.
      overwrite: True if `--overwrite` was given. A process without it would take an earlier run's
        result for its own, and end.

    Raises:
      UsageError: a process was started with other options, files or versions.
    """
    if processes.is_only_process():
        return
    processes.require_equal_devices()
    metrics_with_digests = [f"{metric.code} ({metric.sha256})" for metric in user_metrics]
    settings = {
        **config.settings(),
        "dataset": "auto" if chooses_dataset else config.dataset,
        "dtype": str(compute_dtype(config, jax.local_devices()[0])),
        "devices": devices,
        "keep-every": keep_every,
        "overwrite": overwrite,
        **environment.versions_to_match(),
        "SHA-256 of jaxcifar's code": environment.code_sha256(),
        "metric": ", ".join(metrics_with_digests),
    }
    paths_that_may_differ = NAMES_OF_RUNS  # between machines; the settings have their digests
    for name in paths_that_may_differ:
        del settings[name]
    processes.require_same_settings(settings)


@contextmanager
def task_of_process(task: Task) -> Iterator[Task]:
    """Yield the task with the folder to which this process writes the run's files.

    The first process writes to the run's folder. Each other process writes to a temporary folder
    with links to the run's `checkpoints`, which all processes write together, and to its result.

    Raises:
      UsageError: the processes have different run folders.
    """
    require_same_folder(task)
    if processes.is_first_process():
        yield task
        return
    with tempfile.TemporaryDirectory(prefix="jaxcifar-") as temporary_path:
        scratch_folder = RunFolder(Path(temporary_path))
        run_folder = RunFolder(task.path)
        write_text(scratch_folder.config_file, task.config.to_json())
        scratch_folder.checkpoints.symlink_to(run_folder.checkpoints.absolute())
        may_continue_earlier_run = not task.overwrite
        if may_continue_earlier_run:
            scratch_folder.result_file.symlink_to(run_folder.result_file.absolute())
        scratch_path = scratch_folder.path
        yield dataclasses.replace(task, scratch_path=scratch_path, overwrite=False, observers=())


def call_in_first_process(function: Callable[[], T]) -> T | None:
    """Call a function in the first process only, and return its result there.

    Returns:
      the function's result in the first process; None in all other processes.

    Raises:
      UsageError: in all processes, if the function raised a UsageError in the first process.
    """
    result = None
    message = ""
    if processes.is_first_process():
        try:
            result = function()
        except UsageError as error:
            message = str(error)
    message_of_first_process = processes.gather_texts(message)[0]
    if message_of_first_process:
        raise UsageError(message_of_first_process)
    return result


def has_begun_in_first_process(folder: RunFolder, config: Config) -> bool:
    """Return True, in all processes, if an earlier command began this run.

    Only the first process reads the folder. The config must have the SHA-256 digests of the images
    and of all user code.

    Raises:
      UsageError: the run was begun with other images or other imported files, or the processes
        import different files.
    """
    # `require_same_start` was called before the imports were known.
    import_digests = {f"SHA-256 of {file}": digest for file, digest in config.imports or ()}
    processes.require_same_settings(import_digests)

    def check_folder() -> bool:
        if folder.has_begun:
            folder.require_same(config)
        return folder.has_begun

    answer = call_in_first_process(check_folder)  # None in all other processes
    [answer_of_first_process] = processes.any_process(bool(answer))
    return answer_of_first_process


def require_same_folder(task: Task) -> None:
    """Wait until all processes see the same version of the files in the run's folder.

    Raises:
      UsageError: after 90 seconds the processes still see different files.
    """
    folder = RunFolder(task.path)
    for _ in range(_ATTEMPTS):
        modification_times = [
            _modification_second(path) for path in (folder.config_file, folder.result_file)
        ]
        times_in_all_processes = processes.gather_texts(str(modification_times))
        if len(set(times_in_all_processes)) == 1:
            return
        time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
    raise UsageError(
        f"--run-dir {task.path}: is not the same folder in all processes; choose a folder that all "
        "of them can read and write"
    )


def _modification_second(path: Path) -> int:
    """Return the time of a file's last change, in whole seconds; 0 if there is no such file."""
    try:
        return int(path.stat().st_mtime)
    except FileNotFoundError:
        return 0
