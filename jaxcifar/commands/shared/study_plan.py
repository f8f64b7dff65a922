"""Plan the runs of `jaxcifar ablation`, and show the plan for `--dry-run`."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.dry_run import show_costs, show_settings
from jaxcifar.commands.shared.given_study import GivenStudy
from jaxcifar.commands.shared.job_waiting import MAX_NAMED_RUNS
from jaxcifar.commands.shared.study_options import WHOLE_STUDY
from jaxcifar.commands.shared.submitting import must_leave_training_to_jobs
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.terminal import PrintLine, line_printer, pluralize
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_row import StudyRow

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task


def plan_runs(
    study: Study, study_folder: Path, options: Namespace, print_line: PrintLine
) -> "list[Task]":
    """Return the runs of a study that the options choose: one for each row, seed and fold.

    If the path of the user's images has changed, the images are loaded, to compare them with the
    images of the finished runs. A dry run does not prepare images for this comparison.
    """
    from jaxcifar.studies.conduct import plan
    from jaxcifar.studies.moved_images import load_sha256

    load_sha256_of_images = partial(
        load_sha256,
        data_dir=options.data_dir,
        print_line=print_line,
        may_prepare=not options.dry_run,
    )
    return plan(
        study,
        options.rows,
        options.seeds,
        study_folder,
        options.force,
        keep_best=options.keep == "best",
        fold_count=options.folds,
        load_sha256=load_sha256_of_images,
    )


def show_study_plan(
    console: Console,
    given_study: GivenStudy,
    rows: Sequence[StudyRow],
    tasks: "Sequence[Task]",
    options: Namespace,
    study_folder: Path,
) -> None:
    """Show the settings of a study's rows, where they come from, and the cost of training.

    Args:
      console: where to print.
      given_study: the study and the settings that were given as options.
      rows: the rows that are trained.
      tasks: the runs of these rows; only those of `--shard` are trained.
      options: the options of the command.
      study_folder: folder of the study.

    Raises:
      UsageError: a row can't be trained with its settings.
      RunError: the devices have too little memory.
    """
    from jaxcifar.machine.environment import first_devices, use_cpu_cores
    from jaxcifar.studies.conduct import sensible_count_of_parallel_runs
    from jaxcifar.studies.waiting import unfinished_and_failed

    show_settings(console, given_study.settings_by_row(rows))
    print_line = line_printer(console)
    for line in given_study.overruled_setting_lines(rows, with_other_recipes=True):
        print_line(line)
    shard = options.shard or WHOLE_STUDY
    tasks_of_shard = shard.select(tasks)
    if not tasks_of_shard:
        print_line("this shard has no runs")
        return
    if must_leave_training_to_jobs(tasks, options, study_folder):
        print_line("jobs that --submit sent train this study; --shard 1/1 trains it here")
        return
    tasks_to_train, failures = unfinished_and_failed(tasks_of_shard)
    failed_runs = [failure.task.name for failure in failures]
    _show_ended_runs(len(tasks_of_shard), len(tasks_to_train), failed_runs, print_line)
    if not tasks_to_train:
        return
    config = tasks_to_train[0].config
    use_cpu_cores(config.batch_size, options.devices, config.accumulate)
    start_jax()
    devices = first_devices(options.devices)
    at_once = options.at_once or sensible_count_of_parallel_runs(devices)
    show_costs(console, tasks_to_train, options.data_dir, devices, at_once)


def _show_ended_runs(
    run_count: int, unfinished_count: int, failed_runs: Sequence[str], print_line: PrintLine
) -> None:
    """Print how many runs are finished, and the names of those that have failed."""
    finished_count = run_count - unfinished_count - len(failed_runs)
    runs = pluralize(run_count, "run")
    if finished_count > 0:
        print_line(f"finished        {finished_count} of {runs}")
    if failed_runs:
        names = join_names(failed_runs, MAX_NAMED_RUNS)
        print_line(
            f"failed          {len(failed_runs)} of {runs}: {names}; --force ROW trains a row again"
        )
