"""Wait for runs of a study that other processes are training."""

import dataclasses
import time
from collections.abc import Sequence
from enum import Enum, auto
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

    Return None also if a later attempt has finished the run, or if the task overwrites it.
    """
    return _recorded_failure(task) if is_unfinished(task) else None


def needs_training(task: Task) -> bool:
    """Return whether a run is still to be trained: it has no result and has not diverged."""
    return is_unfinished(task) and _recorded_failure(task) is None


def _recorded_failure(task: Task) -> DivergedError | None:
    """Return the error that a run's folder records.

    Return None if there is no such error, or if the task overwrites the run.
    """
    if task.overwrite:
        return None
    reason = RunFolder(task.path).read_failure()
    return None if reason is None else DivergedError(reason)


def earlier_failures(tasks: Sequence[Task]) -> list[Outcome]:
    """Return the outcomes of the tasks that have failed earlier or in other processes."""
    failures = [(task, earlier_failure(task)) for task in tasks]
    return [Outcome(task, error=error) for task, error in failures if error]


def unfinished_and_failed(tasks: Sequence[Task]) -> tuple[list[Task], list[Outcome]]:
    """Return the tasks that are still to be trained, and the outcomes of those that have failed."""
    failures = earlier_failures(tasks)
    failed_tasks = [failure.task for failure in failures]
    unfinished_tasks = [task for task in tasks if is_unfinished(task) and task not in failed_tasks]
    return unfinished_tasks, failures


class AfterWaiting(NamedTuple):
    """The runs that other processes were training, after waiting for these processes.

    Attributes:
      released_tasks: unfinished runs that their processes have released; this process trains them.
      held_tasks: runs that other processes are still training.
      ended_tasks: runs that are finished or have failed.
    """

    released_tasks: list[Task]
    held_tasks: list[Task]
    ended_tasks: list[Task]


def wait_for_other_processes(tasks: Sequence[Task], print_line: PrintLine) -> AfterWaiting:
    """Wait for the processes that train the runs in `tasks`, and return the state of these runs.

    Stop waiting when all runs have ended, or when a process has stopped before the end of its run.
    """
    print_line(f"waiting for other processes: {', '.join(task.name for task in tasks)}")
    held_tasks = [without_overwriting(task) for task in tasks]
    ended_tasks: list[Task] = []
    while True:
        states = {task: _state_in_other_process(task) for task in held_tasks}
        ended_tasks += [task for task, state in states.items() if state is _State.ENDED]
        released_tasks = [task for task, state in states.items() if state is _State.RELEASED]
        held_tasks = [task for task, state in states.items() if state is _State.HELD]
        if released_tasks or not held_tasks:
            return AfterWaiting(released_tasks, held_tasks, ended_tasks)
        time.sleep(_POLL_SECONDS)


def without_overwriting(task: Task) -> Task:
    """Return a task that does not overwrite its run, because another process retrains it."""
    return dataclasses.replace(task, overwrite=False)


class _State(Enum):
    """The state of another process's run: in training, released before its end, or ended."""

    HELD = auto()
    RELEASED = auto()
    ENDED = auto()


def _state_in_other_process(task: Task) -> _State:
    """Return the state of a run that another process was training."""
    # Check the lock first: the other process writes the result before it releases the lock.
    is_held = _is_held(task)
    if not needs_training(task):
        return _State.ENDED
    return _State.HELD if is_held else _State.RELEASED


def _is_held(task: Task) -> bool:
    """Return whether another process is training the run of a task."""
    try:
        with lock_folder(task.path, wait=False):
            return False
    except BusyError:
        return True
    except (OSError, RunError):
        return False  # opening the run reports this error
