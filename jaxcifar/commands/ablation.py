"""Run a study, the ten-row ablation by default: `python -m experiments.ablation`."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jaxcifar.commands.shared.cli import (
    add_data_dir,
    add_devices,
    add_keep,
    count,
    data_folder,
    location,
    ordinal,
    start_jax,
)
from jaxcifar.commands.shared.examples import study_files
from jaxcifar.commands.shared.metric_option import add_metric
from jaxcifar.commands.shared.options import add_config_options, add_observers
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.shared.ranking import show
from jaxcifar.config.registry import did_you_mean
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import line_printer, pluralize
from jaxcifar.studies.study import Study

SHIPPED = study_files()
ABLATION = SHIPPED["ablation"]


EXAMPLES = (
    ("--arch cnn --epochs 2 --out rows", "ten rows by the CNN: a quarter of an hour"),
    ("", "the reference's ten rows, by ResNet-18: a GPU takes minutes, a CPU days"),
    ("--study recipes_cnn --seeds 0 1 2", "another study that comes with it, three seeds a row"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser(
        "ablation",
        "Carry out a study, a table of variations, and report on it. An option holds for\n"
        "all rows that don't set the same themselves; without it the study's holds.",
        EXAMPLES,
    )
    study = parser.add_argument_group("the study")
    study.add_argument(
        "--study",
        type=study_file,
        default=ABLATION,
        metavar="FILE",
        help=f"file of rows, TOML, or one that comes with it: {', '.join(SHIPPED)} (default: "
        "ablation, the reference's ten rows)",
    )
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
        help="rows to train again (default: none)",
    )
    study.add_argument(
        "--at-once",
        type=count,
        metavar="N",
        help="runs to train together (default: as suits the devices)",
    )
    study.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="I/N",
        help="only the I-th of N parts (default: 1/1, all)",
    )
    add_devices(study)
    study.add_argument(
        "--out",
        type=location,
        metavar="DIR",
        help="folder (default: checkpoints/ and the study's name)",
    )
    add_keep(study)
    add_observers(study)
    add_metric(study)
    add_data_dir(study)
    add_config_options(parser, without=("seed",), default_of=lambda _: None)
    return parser


def study_file(text: str) -> Path:
    """A file, or the name of a study that comes with this command."""
    path = location(text)
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    if text not in SHIPPED:
        meant = did_you_mean(text, SHIPPED)
        raise argparse.ArgumentTypeError(f"{text}: no such file or study; {meant}name a .toml file")
    return SHIPPED[text]


def shard(text: str) -> tuple[int, int]:
    """`I/N` with I from 1 to N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError("must be I/N with I from 1 to N, such as 2/4")
    return part, parts


def main(argv: Sequence[str]) -> None:
    """Do what is left of the study, and write its report."""
    options = vars(parser().parse_args(argv))
    own = (
        "study",
        "rows",
        "seeds",
        "force",
        "at_once",
        "shard",
        "devices",
        "out",
        "data_dir",
        "keep",
        "observers",
        "metric",
    )
    here = {name: options.pop(name) for name in own}
    study = Study.read(here["study"])
    if "arch_args" in options:  # one by one, as a row's are
        options["arch_args"] = {**study.config.get("arch_args", {}), **options["arch_args"]}
    study = dataclasses.replace(study, config={**study.config, **options})
    out = here["out"] or Path("checkpoints", here["study"].stem)
    console = Console(emoji=False, highlight=False)
    say = line_printer(console)
    # What is wrong with names, values and folders is found before JAX is imported.
    study.check()
    rows = study.select(here["rows"])
    study.require_rows(here["force"])
    here["data_dir"] = data_folder(here["data_dir"])
    part, parts = here["shard"]
    number = len(rows) * len(set(here["seeds"]))
    runs = pluralize(number, "run")
    if parts > 1:
        in_this_shard = len(range(part - 1, number, parts))
        runs = f"{in_this_shard} of {runs}"
    say(f"{study.title}: {runs}, in {out}")

    from jaxcifar.build.user_metrics import load_metrics
    from jaxcifar.machine.compilations import count_compilations
    from jaxcifar.machine.environment import first_devices, use_cpu_cores
    from jaxcifar.report import write_report
    from jaxcifar.report.run_reading import read_records
    from jaxcifar.runs.folder import RunFolder
    from jaxcifar.runs.observers import create_observers, find_factories
    from jaxcifar.studies.conduct import conduct, plan, record

    kept = here["keep"] == "best"
    tasks = plan(study, here["rows"], here["seeds"], out, here["force"], kept)
    record(study, out)
    use_cpu_cores(tasks[0].config.batch_size, here["devices"])
    start_jax()
    metrics = load_metrics(here["metric"])
    factories = find_factories(here["observers"])
    mine = [
        dataclasses.replace(task, metrics=metrics, observers=create_observers(factories))
        for task in tasks[part - 1 :: parts]
    ]
    devices = first_devices(here["devices"])
    outcomes = conduct(mine, here["data_dir"], here["at_once"], devices, console)
    errors = {outcome.task.name: outcome.error for outcome in outcomes if outcome.error}
    compiled = count_compilations("train_steps")
    done = pluralize(len(outcomes) - len(errors), "run")
    say(f"{done} done now, with {pluralize(compiled, 'training program')} compiled.")
    for name, error in errors.items():
        say(f"{name}: {error}")
    damaged: list[str] = []
    if any(RunFolder(task.path).result.exists() for task in tasks):
        records = read_records(out)
        show(console, records)
        damaged = [task.name for task in mine if task.path in records.unreadable]
        say(f"report: {write_report(out, say)}, and the same in REPORT.md")
    if errors:
        raise RunError(
            f"{len(errors)} of {pluralize(len(mine), 'run')} failed: {', '.join(errors)}"
        )
    if damaged:
        raise RunError(
            f"{len(damaged)} of {pluralize(len(mine), 'run')} can't be read "
            f"({', '.join(damaged)}): repair them, or train their rows again with --force"
        )
