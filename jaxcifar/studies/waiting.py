"""Wait for runs of a study that other processes are training."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from jaxcifar.errors import BusyError, DivergedError, RunError
from jaxcifar.machine.files import lock_folder
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task

_POLL_SECONDS = 1.0  # between two checks of the runs of other processes


def is_unfinished(task: Task) -> bool:
    """Return whether a task has no result yet, or will be retrained from the start."""
    return task.overwrite or not RunFolder(task.path).result.exists()


def failure_of(task: Task) -> DivergedError | None:
    """Return the error that an earlier attempt of the task ended with; else None.

    The same error would end the task again, unless the task overwrites the earlier attempt.
    """
    failure = None if task.overwrite else RunFolder(task.path).read_failure()
    return None if failure is None else DivergedError(failure)


def wait_for_others(
    held: Sequence[Task], say: Callable[[str], None]
) -> tuple[list[Task], list[Task], list[Task]]:
    """Wait until all runs are finished, or another process has released an unfinished run.

    Returns:
      the runs to take over, the runs that other processes still hold, and the runs that are
      finished or failed.
    """
    say(f"waiting for other processes: {', '.join(task.name for task in held)}")
    # Another process is already retraining these runs, so do not overwrite them a second time.
    left = [dataclasses.replace(task, overwrite=False) for task in held]
    over: list[Task] = []
    while True:
        free = [task for task in left if not _is_held(task)]
        # Check the result after the lock: the other process writes it before it releases the lock.
        over += [task for task in left if failure_of(task) or not is_unfinished(task)]
        left = [task for task in left if task not in over]
        free = [task for task in free if task not in over]
        if free or not left:
            return free, [task for task in left if task not in free], over
        time.sleep(_POLL_SECONDS)


def _is_held(task: Task) -> bool:
    try:
        with lock_folder(task.path, wait=False):
            return False
    except BusyError:
        return True
    except (OSError, RunError):
        return False  # opening the run reports this error
