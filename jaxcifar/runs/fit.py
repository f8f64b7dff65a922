"""One run, from its folder to its result."""

from collections.abc import Callable, Sequence

import jax
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.data import Dataset
from jaxcifar.machine.interrupt import Stopper, stop_signal
from jaxcifar.runs.crew import fit_all
from jaxcifar.runs.pace import STARTING
from jaxcifar.runs.run import Run
from jaxcifar.runs.saved import Result
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_progress import TrainProgress


def fit(
    task: Task,
    load: Callable[[], Dataset],
    console: Console,
    devices: Sequence[jax.Device] | None = None,
    stopper: Stopper = stop_signal,
) -> Result:
    """Do one task, going on where an earlier call was stopped.

    Args:
      task: what to do.
      load: gives its images; not called if the run is finished.
      console: shows a bar and lines.
      devices: to train on; all by default.
      stopper: asks to stop; by default SIGINT and SIGTERM do.

    Returns:
      the content of `result.json`.

    Raises:
      Interrupted: when asked to stop, with the state saved.
      RunError: the loss is not finite, or something can't be read or written; earlier checkpoints
        stay.
      UsageError: the folder belongs to something else, the batch size does not fit the images or
        the devices, or somebody's own code is at fault.
    """
    with stopper(console) as stop, TrainProgress(console) as progress:
        run = Run(task, progress.say, progress.observers_of(task))
        try:
            run.open()
            if run.result is not None:
                progress.say("This run is finished; --overwrite trains anew.")
                return run.result
            with progress.during(STARTING):
                setup = Setup.create(
                    task.config, load(), devices=devices, user_metrics=task.metrics
                )
            progress.expect(setup, task.config.epochs)
            [outcome] = fit_all([run], setup, progress, stop)
            if outcome.result:
                progress.tell_times()
        finally:
            run.close()
    if outcome.error:
        raise outcome.error
    assert outcome.result is not None  # a task ends with either
    return outcome.result
