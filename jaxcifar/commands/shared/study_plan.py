"""Plan the runs of `jaxcifar ablation`, and show the plan for `--dry-run`."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.dry_run import show_costs, show_settings
from jaxcifar.commands.shared.study_options import GivenStudy
from jaxcifar.machine.terminal import PrintLine, line_printer
from jaxcifar.studies.study import Study, StudyRow

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task


def plan_runs(study: Study, out: Path, options: Namespace, print_line: PrintLine) -> "list[Task]":
    """Return the runs of a study by the options of the command; see `plan`.

    If the path of the user's images has changed, the images are loaded and compared with those of
    the finished runs. A dry run does not prepare them.
    """
    from jaxcifar.studies.conduct import plan
    from jaxcifar.studies.moved_images import load_sha256

    load = partial(
        load_sha256,
        data_dir=options.data_dir,
        print_line=print_line,
        may_prepare=not options.dry_run,
    )
    keep_best = options.keep == "best"
    rows, seeds, force, folds = options.rows, options.seeds, options.force, options.folds
    return plan(study, rows, seeds, out, force, keep_best, folds, load)


def show_study_plan(
    console: Console,
    given: GivenStudy,
    rows: Sequence[StudyRow],
    tasks: "Sequence[Task]",
    data_dir: Path,
    device_count: int | None,
    at_once: int | None,
) -> None:
    """Show the settings of a study's rows, where they come from, and the cost of training.

    Args:
      console: where to print.
      given: the study and the settings that were given as options.
      rows: the rows that are trained.
      tasks: the runs of these rows.
      data_dir: folder of data sets.
      device_count: number of devices to train on; None for all.
      at_once: number of runs to train together; None for the number that suits the devices.

    Raises:
      UsageError: a row can't be trained with its settings.
      RunError: the devices have too little memory.
    """
    from jaxcifar.machine.environment import first_devices, use_cpu_cores
    from jaxcifar.studies.conduct import sensible_at_once

    show_settings(console, given.origins(rows))
    print_line = line_printer(console)
    for line in given.overruled(rows, is_plan=True):
        print_line(line)
    if not tasks:
        print_line("no run belongs to this shard")
        return
    first = tasks[0].config
    use_cpu_cores(first.batch_size, device_count, first.accumulate)
    start_jax()
    devices = first_devices(device_count)
    show_costs(console, tasks, data_dir, devices, at_once or sensible_at_once(devices))
