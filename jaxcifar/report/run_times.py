"""The time that a run took itself: without the run that it continues, and its share of a device."""

from collections.abc import Sequence

from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.file_formats import Row


def own_epochs(run: FinishedRun) -> Sequence[Row]:
    """Return the rows of a run's history, without those of the run that it continues."""
    return run.history[run.config.earlier_epochs :]


def own_training_seconds(run: FinishedRun) -> float:
    """Return the seconds of a run's training steps, without those of the run that it continues."""
    return sum(row["seconds"] for row in own_epochs(run))


def own_wall_seconds(run: FinishedRun) -> float:
    """Return the seconds of a run from start to end, without those of the run that it continues.

    A result has the seconds of both runs together. They are divided like the training seconds,
    because a result does not say how long the earlier run compiled and validated.
    """
    wall_seconds = run.result["wall_seconds"]
    all_training_seconds = sum(row["seconds"] for row in run.history)
    if run.config.earlier_epochs == 0 or all_training_seconds == 0:
        return wall_seconds
    return wall_seconds * own_training_seconds(run) / all_training_seconds


def device_seconds(runs: Sequence[FinishedRun]) -> float:
    """Return the device seconds of runs; runs trained together divide their time equally."""
    return sum(own_wall_seconds(run) / run.result["at_once"] for run in runs)


def training_device_seconds(runs: Sequence[FinishedRun]) -> float:
    """Return the device seconds of the training steps of runs; see `device_seconds`."""
    return sum(own_training_seconds(run) / run.result["at_once"] for run in runs)
