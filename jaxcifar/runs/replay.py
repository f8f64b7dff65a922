"""Call the observers of runs that ended before this command.

An observer's `began` gets the rows of all epochs; then `finished` or `failed` is called.
"""

from collections.abc import Iterable

from jaxcifar.data import dataset_title
from jaxcifar.errors import BusyError, DivergedError, RunError
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import Observers
from jaxcifar.runs.task import Task


def replay_runs(tasks: Iterable[Task], print_line: PrintLine) -> None:
    """Call the observers of all runs that ended before this command; skip unfinished runs.

    A run that another process has locked is skipped. If a run's files can't be read, the error is
    printed.
    """
    for task in tasks:
        folder, print_named_line = RunFolder(task.path), task.named_line_printer(print_line)
        if not task.observers or not folder.config_file.exists():
            continue
        try:
            with folder.report_write_errors(), lock_folder(task.path, wait=False):
                replay_run(task, folder, print_named_line)
        except BusyError:
            pass  # the process that has locked the run calls its observers
        except RunError as error:
            print_named_line(str(error))


def replay_run(task: Task, folder: RunFolder, print_line: PrintLine) -> None:
    """Call a run's observers if the run has ended; for an unfinished run, do nothing.

    The caller must have locked the folder.

    Raises:
      RunError: a file of the run can't be read.
    """
    if not task.observers:
        return
    result, failure = folder.finished_result(), folder.read_failure()
    if result is None and failure is None:
        return
    config, history = folder.read_config(), folder.read_history()
    title = result["dataset"] if result else dataset_title(config.dataset)
    observers = Observers(task.observers, print_line)
    observers.began(task.describe(config, title, history, already_over=True))
    if result is not None:
        observers.finished(result)
    else:
        observers.failed(DivergedError(failure))
