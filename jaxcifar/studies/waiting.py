"""Runs of a study that other processes are at: which of them are over, and waiting for the rest."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from jaxcifar.errors import BusyError, DivergedError, RunError
from jaxcifar.machine.files import locked
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task

_POLL_SECONDS = 1.0  # between two looks at runs of other processes


def is_unfinished(task: Task) -> bool:
    """Return whether a task has no result yet, or is to be run anew."""
    return task.overwrite or not RunFolder(task.path).result.exists()


def failure_of(task: Task) -> DivergedError | None:
    """Return what ended the task before, and would end it again; None if nothing did."""
    failure = None if task.overwrite else RunFolder(task.path).read_failure()
    return None if failure is None else DivergedError(failure)


def wait_for_others(
    held: Sequence[Task], say: Callable[[str], None]
) -> tuple[list[Task], list[Task], list[Task]]:
    """Wait until other processes have let go of a run that is not over, or all runs are over.

    Returns:
      the runs to be taken over, those still held, and those that are over.
    """
    say(f"waiting for other processes: {', '.join(task.name for task in held)}")
    # What is being run anew need not be so once more.
    left = [dataclasses.replace(task, overwrite=False) for task in held]
    over: list[Task] = []
    while True:
        free = [task for task in left if not _is_held(task)]
        # Looked at after the lock, which is let go when the result is written.
        over += [task for task in left if failure_of(task) or not is_unfinished(task)]
        left = [task for task in left if task not in over]
        free = [task for task in free if task not in over]
        if free or not left:
            return free, [task for task in left if task not in free], over
        time.sleep(_POLL_SECONDS)


def _is_held(task: Task) -> bool:
    try:
        with locked(task.path, wait=False):
            return False
    except BusyError:
        return True
    except (OSError, RunError):
        return False  # whoever opens it tells that
