"""Train one network, or go on with a run that was stopped."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.data import Dataset
from jaxcifar.machine.interrupt import Stopper, stop_signal
from jaxcifar.runs.config_comparison import may_have_moved_images
from jaxcifar.runs.file_formats import Result
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.pace import STARTING, PlannedRuns
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_loop import fit_all
from jaxcifar.runs.training_progress import TrainProgress


def fit(
    task: Task,
    load_dataset: Callable[[], Dataset],
    console: Console,
    devices: Sequence[jax.Device] | None = None,
    stopper: Stopper = stop_signal,
) -> Result:
    """Train a run, or resume it if an earlier call was stopped, and return its result.

    Args:
      task: the run's settings and folder.
      load_dataset: returns the data set. It is called unless the run is finished and its images are
        at the same path as before.
      console: terminal or log that shows the progress.
      devices: the devices to train on; None for all devices.
      stopper: called with the console; returns a context manager that yields an event. Setting the
        event stops the run. By default SIGINT and SIGTERM set the event.

    Returns:
      the content of `result.json`.

    Raises:
      Interrupted: the user asked to stop, and the run is saved.
      RunError: the loss is not finite, or a file can't be read or written. Checkpoints are kept.
      UsageError: the folder belongs to another run, the batch size does not fit the images or the
        devices, or user code fails.
    """
    task, load_dataset = _with_digest_of_moved_images(task, load_dataset)
    with stopper(console) as stop_event, TrainProgress(console) as progress:
        run = Run(task, progress.print_line, progress.observers_of(task))
        try:
            run.open()
            if run.result is not None:
                progress.print_line("This run is finished; --overwrite trains it again.")
                return run.result
            with progress.during(STARTING):
                dataset = load_dataset()
                for line in dataset.warnings:
                    progress.print_line(line)
                setup = Setup.create(
                    task.config, dataset, devices=devices, user_metrics=task.user_metrics
                )
            progress.expect(setup, PlannedRuns(task.config.epochs))
            [outcome] = fit_all([run], setup, progress, stop_event)
            if outcome.result:
                progress.print_times()
        finally:
            run.close()
    if outcome.error:
        raise outcome.error
    assert outcome.result is not None  # a task ends with a result or an error
    return outcome.result


def _with_digest_of_moved_images(
    task: Task, load_dataset: Callable[[], Dataset]
) -> tuple[Task, Callable[[], Dataset]]:
    """Load the images of a task if its run is finished and the path of its images has changed.

    The SHA-256 of the loaded images then shows whether they are the images of the finished run.

    Args:
      task: the run's settings and folder.
      load_dataset: returns the data set.

    Returns:
      two values: the task, and a function that returns the data set. If the images were loaded, the
      task has their SHA-256, and the function does not load them again.
    """
    folder, config = RunFolder(task.path, task.overwrite), task.config
    is_finished = folder.has_begun and folder.result_file.exists()
    has_digest = config.data_sha256 is not None
    if not is_finished or has_digest:
        return task, load_dataset
    if not may_have_moved_images(folder.read_config(), config):
        return task, load_dataset
    dataset = load_dataset()
    config_with_digest = dataclasses.replace(config, data_sha256=dataset.sha256)
    task_with_digest = dataclasses.replace(task, config=config_with_digest)
    return task_with_digest, lambda: dataset
