"""Run a study, the ten-row ablation by default: `jaxcifar ablation`."""

import dataclasses
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import (
    add_data_dir,
    add_devices,
    add_keep,
    add_metric,
    count,
    data_folder,
    location,
    ordinal,
)
from jaxcifar.commands.shared.example_files import study_files
from jaxcifar.commands.shared.options import add_config_options, add_observers, split_settings
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser, suggest
from jaxcifar.commands.shared.ranking import show
from jaxcifar.config.registry import did_you_mean
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import line_printer, pluralize
from jaxcifar.studies.study import Study

SHIPPED = study_files()
ABLATION = SHIPPED["ablation"]

HELP_EXAMPLES = (
    ("--arch cnn --epochs 2 --out rows", "ten rows with the CNN, in a quarter of an hour"),
    ("", "the ten rows of the reference report: minutes on a GPU, days on a CPU"),
    ("--study recipes_cnn --seeds 0 1 2", "another study of the package, with three seeds a row"),
)


class Shard(NamedTuple):
    """The share of a study's runs that one command trains: number `part`, from 1, of `parts`."""

    part: int
    parts: int


def parser() -> Parser:
    parser = Parser(
        "ablation",
        "Train the rows of a study, a table of variations, and write a report. A setting\n"
        "given as an option replaces the study's for all rows that do not set it.",
        HELP_EXAMPLES,
    )
    study = parser.add_argument_group("the study")
    study_option = study.add_argument(
        "--study",
        type=study_file,
        default=ABLATION,
        metavar="FILE",
        help=f"TOML file of rows, or a study of the package: {', '.join(SHIPPED)} (default: "
        "ablation, the ten rows of the reference report)",
    )
    suggest(study_option, SHIPPED)
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
        default=Shard(1, 1),
        metavar="I/N",
        help="train only the I-th of N parts of the runs (default: 1/1, all runs)",
    )
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


def study_file(text: str) -> Path:
    """Return the path of a study file; `text` is a path, or the name of a built-in study."""
    path = location(text)
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    if text not in SHIPPED:
        meant = did_you_mean(text, SHIPPED)
        raise ArgumentTypeError(f"{text}: no such file or study; {meant}name a .toml file")
    return SHIPPED[text]


def shard(text: str) -> Shard:
    """Parse an option's value `I/N`, such as `2/4`: share I, from 1, of the N shares of a study."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match:
        part, parts = map(int, match.groups())
        if 1 <= part <= parts:
            return Shard(part, parts)
    raise ArgumentTypeError(f"{text}: must be I/N with I from 1 to N, such as 2/4")


def main(argv: Sequence[str]) -> None:
    options = parser().parse_args(argv)
    study = _read_study(options.study, split_settings(options))
    out = options.out or Path("checkpoints", options.study.stem)
    # Check names, values and folders before JAX is imported, which takes seconds.
    study.check()
    rows = study.select(options.rows)
    study.require_rows(options.force)
    options.data_dir = data_folder(options.data_dir)
    part, parts = options.shard
    number = len(rows) * len(set(options.seeds))
    runs = pluralize(number, "run")
    if parts > 1:
        in_this_shard = len(range(part - 1, number, parts))
        runs = f"{in_this_shard} of {runs}"
    console = screen()
    line_printer(console)(f"{study.title}: {runs}, in {out}")
    _train_and_report(study, out, options, console)


def _read_study(path: Path, settings: dict[str, Any]) -> Study:
    """Read a study file; `settings` of the command line override those that its rows share."""
    study = Study.read(path)
    if "arch_args" in settings:  # network arguments are replaced one by one
        settings["arch_args"] = {**study.config.get("arch_args", {}), **settings["arch_args"]}
    return dataclasses.replace(study, config={**study.config, **settings})


def _train_and_report(study: Study, out: Path, options: Namespace, console: Console) -> None:
    """Train the unfinished runs of the shard in `options`, and write a report of all runs in `out`.

    Raises:
      RunError: a run has failed, or its files can't be read. The report is written first.
    """
    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.machine.compilations import count_compilations
    from jaxcifar.machine.environment import first_devices, use_cpu_cores
    from jaxcifar.report import write_report
    from jaxcifar.report.run_reading import read_records
    from jaxcifar.runs.folder import RunFolder
    from jaxcifar.runs.observers import create_observers, find_factories
    from jaxcifar.studies.conduct import conduct, plan, record

    print_line = line_printer(console)
    keep_best = options.keep == "best"
    tasks = plan(study, options.rows, options.seeds, out, options.force, keep_best)
    record(study, out)
    config = tasks[0].config
    use_cpu_cores(config.batch_size, options.devices, config.accumulate)
    start_jax()
    metrics = load_metrics(options.metric)
    factories = find_factories(options.observers)
    part, parts = options.shard
    tasks_of_shard = [
        dataclasses.replace(task, user_metrics=metrics, observers=create_observers(factories))
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
    damaged: list[str] = []
    if any(RunFolder(task.path).result_file.exists() for task in tasks):
        records = read_records(out)
        show(console, records)
        damaged = [task.name for task in tasks_of_shard if task.path in records.unreadable]
        print_line(f"report: {write_report(out, print_line)}, and the same in REPORT.md")
    runs = pluralize(len(tasks_of_shard), "run")
    if errors:
        raise RunError(f"{len(errors)} of {runs} failed: {', '.join(errors)}")
    if damaged:
        raise RunError(
            f"{len(damaged)} of {runs} can't be read ({', '.join(damaged)}): repair them, or train "
            "their rows again with --force"
        )
