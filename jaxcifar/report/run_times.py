"""The time that a run took itself: without the run that it continues, and its share of a device."""

from collections.abc import Sequence

from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.file_formats import Row


def own_epochs(run: FinishedRun) -> Sequence[Row]:
    """Return the rows of a run's history, without the epochs of the run that it continues."""
    return run.history[run.config.earlier_epochs :]


def own_training_seconds(run: FinishedRun) -> float:
    """Return the seconds of a run's own training steps; steps of an earlier run do not count."""
    return sum(row["seconds"] for row in own_epochs(run))


def own_wall_seconds(run: FinishedRun) -> float:
    """Return the seconds of a run from start to end, without the time of the run that it continues.

    `result.json` has only the seconds of both runs together. They are divided in proportion to the
    training seconds, because it is not known how long the earlier run compiled and validated.
    """
    wall_seconds = run.result["wall_seconds"]
    all_training_seconds = sum(row["seconds"] for row in run.history)
    if run.config.earlier_epochs == 0 or all_training_seconds == 0:
        return wall_seconds
    return wall_seconds * own_training_seconds(run) / all_training_seconds


def device_seconds(runs: Sequence[FinishedRun]) -> float:
    """Return the device seconds of runs; runs trained together divide their time equally.

    The time in which a run does not train, such as compiling, is divided as its training time is.
    """
    return sum(own_wall_seconds(run) * _device_share(run) for run in runs)


def training_device_seconds(runs: Sequence[FinishedRun]) -> float:
    """Return the device seconds of the training steps of runs; see `device_seconds`."""
    return sum(map(_own_training_device_seconds, runs))


def _device_share(run: FinishedRun) -> float:
    """Return the fraction of the devices' time that a run had: 1 if it was trained alone."""
    training_seconds = own_training_seconds(run)
    if training_seconds == 0:
        return 1 / run.result["at_once"]
    return _own_training_device_seconds(run) / training_seconds


def _own_training_device_seconds(run: FinishedRun) -> float:
    """Return the sum of all epochs' seconds, each divided by the number of runs trained together.

    Results of older versions have only `at_once`, the largest number of runs trained together.
    It is too large for epochs after the end of other runs.
    """
    most_runs_together = run.result["at_once"]
    return sum(
        row["seconds"] / row.get("runs_together", most_runs_together) for row in own_epochs(run)
    )
