"""Wait for runs of a study that other processes are training."""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

from jaxcifar.errors import BusyError, DivergedError, RunError
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Outcome, Task

_POLL_SECONDS = 1.0  # between two checks of the runs of other processes


def is_unfinished(task: Task) -> bool:
    """Return whether a run has no result yet, or will be retrained from the start."""
    return task.overwrite or not RunFolder(task.path).result_file.exists()


def earlier_failure(task: Task) -> DivergedError | None:
    """Return the error that ended an earlier attempt at a run; None if there was no error.

    Return None also if the task overwrites that attempt, because training then starts anew.
    """
    failure = None if task.overwrite else RunFolder(task.path).read_failure()
    return None if failure is None else DivergedError(failure)


def earlier_failures(tasks: Sequence[Task]) -> list[Outcome]:
    """Return the outcomes of the tasks that have failed earlier or in other processes."""
    failures = [(task, earlier_failure(task)) for task in tasks]
    return [Outcome(task, error=error) for task, error in failures if error]


class AfterWaiting(NamedTuple):
    """The runs that other processes were training, after waiting for these processes.

    Attributes:
      released: unfinished runs that their processes have released; this process trains them.
      held: runs that other processes are still training.
      ended: runs that are finished or have failed.
    """

    released: list[Task]
    held: list[Task]
    ended: list[Task]


def wait_for_others(tasks: Sequence[Task], print_line: PrintLine) -> AfterWaiting:
    """Wait until all runs in `tasks` have ended, or another process has released one unfinished."""
    print_line(f"waiting for other processes: {', '.join(task.name for task in tasks)}")
    # Another process is already retraining these runs, so do not overwrite them a second time.
    left = [dataclasses.replace(task, overwrite=False) for task in tasks]
    ended: list[Task] = []
    while True:
        released = [task for task in left if not _is_held(task)]
        # Check the result after the lock: the other process writes it before it releases the lock.
        ended += [task for task in left if earlier_failure(task) or not is_unfinished(task)]
        left = [task for task in left if task not in ended]
        released = [task for task in released if task not in ended]
        if released or not left:
            held = [task for task in left if task not in released]
            return AfterWaiting(released, held, ended)
        time.sleep(_POLL_SECONDS)


def _is_held(task: Task) -> bool:
    """Return whether another process is training the run of a task."""
    try:
        with lock_folder(task.path, wait=False):
            return False
    except BusyError:
        return True
    except (OSError, RunError):
        return False  # opening the run reports this error
