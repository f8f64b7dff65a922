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
    add_devices,
    add_keep,
    add_metric,
    check_keep,
    count,
    data_folder,
    location,
    ordinal,
)
from jaxcifar.commands.shared.dry_run import add_dry_run
from jaxcifar.commands.shared.options import add_config_options, add_observers, split_settings
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.shared.ranking import show
from jaxcifar.commands.shared.study_options import (
    GivenStudy,
    Shard,
    add_study_options,
    given_study,
    shard,
)
from jaxcifar.commands.shared.study_plan import plan_runs, show_study_plan
from jaxcifar.commands.shared.submit_options import add_submit_options, check_submit_options
from jaxcifar.commands.shared.submitting import (
    require_all_finished,
    send_parts,
    sent_and_unfinished,
)
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import line_printer, pluralize
from jaxcifar.studies.study import StudyRow

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
        type=ordinal,
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
        type=count,
        metavar="N",
        help="number of runs to train together (default: what is fastest on the devices)",
    )
    study.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="train only the I-th of N parts of the runs (default: all runs)",
    )
    add_submit_options(parser.add_argument_group("a cluster"))
    add_devices(study)
    study.add_argument(
        "--out",
        type=location,
        metavar="DIR",
        help="folder for the runs and the report (default: checkpoints/ and the study's name)",
    )
    add_keep(study)
    add_observers(study)
    add_metric(study)
    add_data_dir(study)
    add_config_options(parser, without=("seed",), default_of=lambda _: None)
    return parser


def main(argv: Sequence[str]) -> None:
    """Train the unfinished runs of a study, or send them to a cluster, and write the report."""
    options = parser().parse_args(argv)
    given = given_study(options, split_settings(options))
    study = given.study
    out = options.out or Path("checkpoints", given.name)
    # Check names, values and folders before JAX is imported, which takes seconds.
    study.check(given.seed, given.first_fold)
    rows = study.select(options.rows)
    study.require_rows(options.force)
    check_keep(options)
    options.data_dir = data_folder(options.data_dir)
    number = len(rows) * len(set(options.seeds)) * max(1, options.folds)
    check_submit_options(options, number, out)
    runs = pluralize(number, "run")
    if options.shard is not None and options.shard.parts > 1:
        in_this_shard = len(range(options.shard.part - 1, number, options.shard.parts))
        runs = f"{in_this_shard} of {runs}"
    console = screen()
    print_line = line_printer(console)
    print_line(f"{study.title}: {runs}, in {out}")
    if options.grid is not None:
        given = given.with_rows_of_earlier_grids(out)
        study, options.rows = given.study, [row.name for row in rows]
        for line in given.lines:
            print_line(line)
    if options.dry_run:
        _show_plan(given, rows, out, options, console)
        return
    for line in given.overruled(rows):
        print_line(line)
    from jaxcifar.studies.conduct import record

    tasks = plan_runs(study, out, options, print_line)
    record(study, out)
    if options.submit is not None:
        send_parts(tasks, len(rows), argv, options, out, print_line)
        is_waiting = options.wait is not False
    else:
        # Jobs have the option --shard. Without this option, do not train runs that jobs train.
        is_waiting = options.shard is None and sent_and_unfinished(tasks, out)
        if not is_waiting:
            _train_and_report(tasks, out, options, console)
    if is_waiting:
        _report(tasks, out, console)
        require_all_finished(tasks, out, print_line)


def _show_plan(
    given: GivenStudy, rows: Sequence[StudyRow], out: Path, options: Namespace, console: Console
) -> None:
    """Print the settings of the runs that would be trained, and the time and memory they take."""
    tasks = plan_runs(given.study, out, options, line_printer(console))
    part, parts = options.shard or Shard(1, 1)
    devices, at_once = options.devices, options.at_once
    in_shard = tasks[part - 1 :: parts]
    show_study_plan(console, given, rows, in_shard, options.data_dir, devices, at_once)


def _train_and_report(
    tasks: "Sequence[Task]", out: Path, options: Namespace, console: Console
) -> None:
    """Train the unfinished runs of a study, and write a report of all runs in the folder `out`.

    With `--shard I/N`, only the runs of this share of the study are trained.

    Raises:
      RunError: a run has failed, or its files can't be read. The report is written first.
    """
    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.machine.compilations import count_compilations
    from jaxcifar.machine.environment import first_devices, use_cpu_cores
    from jaxcifar.runs.observers import create_observers, find_factories
    from jaxcifar.studies.conduct import conduct

    print_line = line_printer(console)
    config = tasks[0].config
    use_cpu_cores(config.batch_size, options.devices, config.accumulate)
    start_jax()
    metrics = load_metrics(options.metric)
    factories = find_factories(options.observers)
    part, parts = options.shard or Shard(1, 1)
    tasks_of_shard = [
        dataclasses.replace(
            task,
            user_metrics=metrics,
            observers=create_observers(factories),
            keep_every=options.keep_every,
        )
        for task in tasks[part - 1 :: parts]
    ]
    devices = first_devices(options.devices)
    outcomes = conduct(tasks_of_shard, options.data_dir, options.at_once, devices, console)

    errors = {outcome.task.name: outcome.error for outcome in outcomes if outcome.error}
    compiled = count_compilations("train_steps")
    done = pluralize(len(outcomes) - len(errors), "run")
    print_line(f"{done} done now, with {pluralize(compiled, 'training program')} compiled.")
    for name, error in errors.items():
        print_line(f"{name}: {error}")
    unreadable = _report(tasks, out, console)
    damaged = [task.name for task in tasks_of_shard if task.path in unreadable]
    runs = pluralize(len(tasks_of_shard), "run")
    if errors:
        raise RunError(f"{len(errors)} of {runs} failed: {', '.join(errors)}")
    if damaged:
        raise RunError(
            f"{len(damaged)} of {runs} can't be read ({', '.join(damaged)}): repair them, or train "
            "their rows again with --force"
        )


def _report(tasks: "Sequence[Task]", out: Path, console: Console) -> Collection[Path]:
    """Print the tables of a study and write its report, if at least one run is finished.

    Returns:
      the folders of runs that can't be read.
    """
    from jaxcifar.report import write_report
    from jaxcifar.report.run_reading import read_records
    from jaxcifar.runs.folder import RunFolder

    if not any(RunFolder(task.path).result_file.exists() for task in tasks):
        return ()
    print_line = line_printer(console)
    records = read_records(out)
    show(console, records)
    print_line(f"report: {write_report(out, print_line)}, and the same in REPORT.md")
    return records.unreadable_reasons.keys()
