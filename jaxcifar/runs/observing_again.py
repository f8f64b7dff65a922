"""Show runs that had ended before this command to their observers: all epochs, and the end."""

from collections.abc import Iterable

from jaxcifar.data import dataset_title
from jaxcifar.errors import BusyError, DivergedError, RunError
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import Observers
from jaxcifar.runs.task import Task


def observe_all_again(tasks: Iterable[Task], say: PrintLine) -> None:
    """Show runs that are over to their observers, except runs that another process holds."""
    for task in tasks:
        folder, say_of_run = RunFolder(task.path), task.prefixed(say)
        if not task.observers or not folder.config.exists():
            continue
        try:
            with folder.writing(), lock_folder(task.path, wait=False):
                observe_again(task, folder, say_of_run)
        except BusyError:
            pass  # the process that holds the run shows it to its observers
        except RunError as error:
            say_of_run(str(error))


def observe_again(task: Task, folder: RunFolder, say: PrintLine) -> None:
    """Show a run that is over to the observers of a task.

    Args:
      task: its observers are called.
      folder: of the run; held by this process.
      say: prints a line.

    Raises:
      RunError: a file of the run can't be read.
    """
    if not task.observers:
        return
    result, failure = folder.finished_result(), folder.read_failure()
    if result is None and failure is None:
        return
    config, history = folder.read_config(), folder.read_history()
    dataset = result["dataset"] if result else dataset_title(config.dataset)
    observers = Observers(task.observers, say)
    observers.began(task.observed(config, dataset, history, already_over=True))
    if result is not None:
        observers.finished(result)
    else:
        observers.failed(DivergedError(failure))
