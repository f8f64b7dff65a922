"""Report runs that ended before this command to their observers, such as TensorBoard.

An observer's method `began` gets the metrics of all epochs. Then `finished` or `failed` is called.
"""

from collections.abc import Iterable

from jaxcifar.data import dataset_title
from jaxcifar.errors import BusyError, DivergedError, RunError
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import Observers
from jaxcifar.runs.task import Task


def report_ended_runs(tasks: Iterable[Task], print_line: PrintLine) -> None:
    """Report all runs that have ended to their observers, as if they had just been trained.

    Unfinished runs and runs that another process has locked are skipped. If a run's files can't be
    read, the error is printed.
    """
    for task in tasks:
        folder = RunFolder(task.path)
        print_named_line = task.named_line_printer(print_line)
        if not task.observers or not folder.config_file.exists():
            continue
        try:
            with folder.report_write_errors(), lock_folder(task.path, wait=False):
                report_ended_run(task, folder, print_named_line)
        except BusyError:
            pass  # the process that has locked the run reports it
        except RunError as error:
            print_named_line(str(error))


def report_ended_run(task: Task, folder: RunFolder, print_line: PrintLine) -> None:
    """Report a run that has ended to its observers: its metrics, then its result or its failure.

    An unfinished run is not reported. The caller must have locked the folder.

    Raises:
      RunError: a file of the run can't be read.
    """
    if not task.observers:
        return
    result = folder.finished_result()
    failure = folder.read_failure()
    has_ended = result is not None or failure is not None
    if not has_ended:
        return
    config = folder.read_config()
    history = folder.read_history()
    title = result["dataset"] if result else dataset_title(config.dataset)
    observers = Observers(task.observers, print_line)
    observers.began(task.describe(config, title, history, already_over=True))
    if result is not None:
        observers.finished(result)
    else:
        observers.failed(DivergedError(failure))
