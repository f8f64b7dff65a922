"""Group the runs of a study by their compiled programs, and check the parts that users wrote."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import jax

from jaxcifar.build.setup import Setup
from jaxcifar.build.user_metrics import MetricSet
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset
from jaxcifar.errors import OutOfMemoryError, UsageError
from jaxcifar.runs.pace import STARTING
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_progress import TrainProgress


def check_user_parts(
    task: Task,
    load_images: Callable[[], Dataset],
    devices: Sequence[jax.Device],
    progress: TrainProgress,
) -> None:
    """Check the user code and the network arguments of a run, if it has any.

    Raises:
      UsageError: the run can't be trained with this code or these arguments.
    """
    shared_config = task.config.shared_part()
    has_user_code = shared_config.sources or task.user_metrics
    if not has_user_code and not shared_config.alters_network:
        return
    # If memory runs out here, the error is reported when the row starts.
    with suppress(OutOfMemoryError), progress.during(STARTING):
        dataset = load_images()
        try:
            Setup.check(task.config, dataset, run_count=1, devices=devices)
            MetricSet.create(dataset.num_classes, task.user_metrics)
        except UsageError as error:
            raise UsageError(f"{task.name}: {error}") from error


def group_by_program(tasks: Sequence[Task]) -> dict[Config, list[Task]]:
    """Return lists of the runs that share a compiled program, by the config that they share."""
    programs: dict[Config, list[Task]] = {}
    for task in tasks:
        shared_config = task.config.shared_part()
        programs.setdefault(shared_config, []).append(task)
    return programs
