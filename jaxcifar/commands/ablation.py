"""Run a study, the ten-row ablation by default: `jaxcifar ablation`."""

import dataclasses
from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import (
    add_data_dir,
    add_device_count,
    add_keep_options,
    add_user_metrics,
    check_keep_options,
    data_folder,
    parse_count,
    parse_number_from_zero,
    parse_path,
)
from jaxcifar.commands.shared.dry_run import add_dry_run
from jaxcifar.commands.shared.options import add_config_options, add_observers, pop_settings
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.shared.ranking import show_ranking
from jaxcifar.commands.shared.study_options import (
    WHOLE_STUDY,
    add_study_options,
    parse_shard,
    read_given_study,
)
from jaxcifar.commands.shared.study_plan import plan_runs, show_study_plan
from jaxcifar.commands.shared.submit_options import add_submit_options, check_submit_options
from jaxcifar.commands.shared.submitting import (
    must_leave_training_to_jobs,
    require_all_finished,
    send_parts,
)
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import line_printer, pluralize

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task

HELP_EXAMPLES = (
    ("--arch cnn --epochs 2 --out rows", "ten rows with the CNN, in a quarter of an hour"),
    ("", "the ten rows of the reference report: minutes on a GPU, days on a CPU"),
    ("--study recipes_cnn --seeds 0 1 2", "another study of the package, with three seeds a row"),
    (
        "--grid learning_rate=0.01,0.1 warmup=0,0.2 --arch cnn",
        "four rows without a study file",
    ),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar ablation`."""
    parser = Parser(
        "ablation",
        "Train the rows of a study, a table of variations, and write a report. A setting\n"
        "given as an option replaces the study's for all rows that do not set it.",
        HELP_EXAMPLES,
    )
    study = parser.add_argument_group("the study")
    add_study_options(study)
    add_dry_run(study)
    study.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows (default: all)")
    study.add_argument(
        "--seeds",
        nargs="+",
        type=parse_number_from_zero,
        default=[0],
        metavar="N",
        help="seeds of each row (default: 0)",
    )
    study.add_argument(
        "--force",
        nargs="+",
        default=[],
        metavar="ROW",
        help="rows to train again from the start (default: none)",
    )
    study.add_argument(
        "--at-once",
        type=parse_count,
        metavar="N",
        help="number of runs to train together (default: what is fastest on the devices)",
    )
    study.add_argument(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="train only the I-th of N parts of the runs (default: all runs)",
    )
    add_submit_options(parser.add_argument_group("a cluster"))
    add_device_count(study)
    study.add_argument(
        "--out",
        type=parse_path,
        metavar="DIR",
        help="folder for the runs and the report (default: checkpoints/ and the study's name)",
    )
    add_keep_options(study)
    add_observers(study)
    add_user_metrics(study)
    add_data_dir(study)
    add_config_options(parser, without=("seed",), default_of=lambda _: None)
    return parser


def main(argv: Sequence[str]) -> None:
    """Train the unfinished runs of a study, or send them to a cluster, and write the report."""
    options = parser().parse_args(argv)
    given_study = read_given_study(options, pop_settings(options))
    study_folder = options.out or Path("checkpoints", given_study.name)
    study = dataclasses.replace(
        given_study.study, folder=study_folder, forced_rows=tuple(options.force)
    )
    given_study = given_study._replace(study=study)
    # Check names, values and folders before JAX is imported, which takes seconds.
    study.check(given_study.first_seed, given_study.first_fold)
    rows = study.select(options.rows)
    study.require_rows(options.force)
    check_keep_options(options)
    options.data_dir = data_folder(options.data_dir)
    run_count = len(rows) * len(set(options.seeds)) * max(1, options.folds)
    check_submit_options(options, run_count, study_folder)
    runs = pluralize(run_count, "run")
    if options.shard not in (None, WHOLE_STUDY):
        run_count_of_shard = len(options.shard.select(range(run_count)))
        runs = f"{run_count_of_shard} of {runs}"
    console = screen()
    print_line = line_printer(console)
    print_line(f"{study.title}: {runs}, in {study_folder}")
    if options.grid is not None:
        given_study = given_study.with_rows_of_earlier_grids(study_folder)
        study = given_study.study
        options.rows = [row.name for row in rows]
        for notice in given_study.notices:
            print_line(notice)
    if options.dry_run:
        tasks = plan_runs(study, study_folder, options, print_line)
        show_study_plan(console, given_study, rows, tasks, options, study_folder)
        return
    for line in given_study.overruled_setting_lines(rows):
        print_line(line)
    from jaxcifar.studies.conduct import record

    tasks = plan_runs(study, study_folder, options, print_line)
    record(study, study_folder)
    if options.submit is not None:
        send_parts(tasks, len(rows), argv, options, study_folder, print_line)
        jobs_train = options.wait is not False
    else:
        jobs_train = must_leave_training_to_jobs(tasks, options, study_folder)
        if not jobs_train:
            _train_and_report(tasks, study_folder, options, console)
    if jobs_train:
        _write_report_and_return_unreadable_folders(tasks, study_folder, console)
        require_all_finished(tasks, study_folder, print_line)


def _train_and_report(
    tasks: "Sequence[Task]", study_folder: Path, options: Namespace, console: Console
) -> None:
    """Train the unfinished runs of a study, and write a report of all runs in the study's folder.

    With `--shard I/N`, only the runs of the I-th of N parts of the study are trained.

    Raises:
      RunError: a run has failed, or its files can't be read. The report is written first.
    """
    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.machine.compilations import count_compilations
    from jaxcifar.machine.environment import first_devices, use_cpu_cores
    from jaxcifar.runs.observers import create_observers, find_factories
    from jaxcifar.studies.conduct import conduct
    from jaxcifar.studies.forced_runs import ForcedRuns

    print_line = line_printer(console)
    config = tasks[0].config
    use_cpu_cores(config.batch_size, options.devices, config.accumulate)
    start_jax()
    user_metrics = load_metrics(options.metric)
    observer_factories = find_factories(options.observers)
    shard = options.shard or WHOLE_STUDY
    tasks_of_shard = [
        dataclasses.replace(
            task,
            user_metrics=user_metrics,
            observers=create_observers(observer_factories),
            keep_every=options.keep_every,
        )
        for task in shard.select(tasks)
    ]
    devices = first_devices(options.devices)
    earlier_compilations = count_compilations("train_steps")  # of earlier calls in a notebook
    forced_runs = ForcedRuns.replaced_by(tasks_of_shard)
    outcomes = conduct(tasks_of_shard, options.data_dir, options.at_once, devices, console)

    errors = {outcome.task.name: outcome.error for outcome in outcomes if outcome.error}
    compilations = count_compilations("train_steps") - earlier_compilations
    programs = pluralize(compilations, "training program")
    trained_runs = pluralize(len(outcomes) - len(errors), "run")
    print_line(f"{trained_runs} done now, with {programs} compiled.")
    for run_name, error in errors.items():
        print_line(f"{run_name}: {error}")
    unreadable_folders = _write_report_and_return_unreadable_folders(tasks, study_folder, console)
    damaged_runs = [task.name for task in tasks_of_shard if task.path in unreadable_folders]
    runs = pluralize(len(tasks_of_shard), "run")
    if errors:
        raise RunError(
            f"{len(errors)} of {runs} failed: {', '.join(errors)} (reasons above); "
            f"{forced_runs.resuming_command(tasks[0])} goes on with them, and "
            "--force ROW trains a row again from its start"
        )
    if damaged_runs:
        raise RunError(
            f"{len(damaged_runs)} of {runs} can't be read ({', '.join(damaged_runs)}): repair "
            "them, or train their rows again with --force"
        )


def _write_report_and_return_unreadable_folders(
    tasks: "Sequence[Task]", study_folder: Path, console: Console
) -> Collection[Path]:
    """Print the ranking of a study's rows and write its report, if at least one run is finished.

    Returns:
      the folders of runs that can't be read.
    """
    from jaxcifar.report import write_report
    from jaxcifar.report.run_reading import read_records
    from jaxcifar.runs.folder import RunFolder

    is_any_run_finished = any(RunFolder(task.path).result_file.exists() for task in tasks)
    if not is_any_run_finished:
        return ()
    print_line = line_printer(console)
    records = read_records(study_folder)
    show_ranking(console, records)
    report_file = write_report(study_folder, print_line)
    print_line(f"report: {report_file}, and the same in REPORT.md")
    unreadable_folders = records.unreadable_reasons.keys()
    return unreadable_folders
