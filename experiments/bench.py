"""Measure training and evaluation here: `python -m experiments.bench --peer torch`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.cli import count, location, run_command, use_huge_pages
from experiments.options import add_config_options
from experiments.parser import Parser
from jaxcifar.config import ARCHS, Config
from jaxcifar.errors import RunError, printable
from jaxcifar.machine.files import write_text
from jaxcifar.machine.terminal import elapsing, teller

EXAMPLES = (
    ("--arch cnn --rounds 3", "our CNN: a minute or two"),
    ("--arch cnn resnet18 --peer torch", "two networks beside PyTorch"),
    ("--arch cnn --at-once 2 4", "what training several runs together brings"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser("bench", "Measure how fast networks are trained and evaluated here.", EXAMPLES)
    add = parser.add_argument
    dtypes = Config.__dataclass_fields__["dtype"].metadata["choices"]
    add(
        "--arch",
        nargs="+",
        metavar="NAME",
        default=ARCHS,
        help="networks, yours as FILE.py:NAME (default: all of ours)",
    )
    add_config_options(parser, only=("arch_args",), default_of=lambda _: "the network's own")
    add("--batch-size", type=count, default=128, metavar="N", help="images a step (default: 128)")
    add("--dtype", choices=dtypes, default="auto", help="what ours computes in (default: auto)")
    add("--peer", choices=["torch"], help="also measure PyTorch, of the extra `peer` (default: no)")
    add(
        "--at-once",
        nargs="+",
        type=count,
        default=[],
        metavar="N",
        help="also measure so many runs at once (default: none)",
    )
    add("--rounds", type=count, default=5, metavar="N", help="rounds to be measured (default: 5)")
    add("--steps", type=count, metavar="N", help="steps in a round (default: a few seconds' worth)")
    add("--json", type=location, metavar="FILE", help="write all figures there (default: nowhere)")
    add(
        "--ablation",
        nargs=argparse.REMAINDER,
        metavar="OPTION",
        help="time a whole experiments.ablation too, with all options that follow",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Measure, print a table, write a file."""
    options = parser().parse_args(argv)

    # Contestants, and this process, share an accelerator: none may take its memory as a whole.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from jaxcifar.bench import measure
    from jaxcifar.bench.work import CLASSES, Work
    from jaxcifar.machine import environment
    from jaxcifar.models import check_model, create_model
    from jaxcifar.models.summary import summarize
    from jaxcifar.runs.setup import compute_dtype
    from jaxcifar.training import network
    from jaxcifar.training.predicting import EVAL_BATCH

    console = Console(emoji=False, highlight=False)
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    say = teller(console)
    figures: dict[str, Any] = {
        "device": environment.describe_devices(jax.devices()),
        "versions": environment.versions(),
        "git_commit": environment.git_commit(),
        "rows": [],
        "ratio": {},
        "ours": {},
    }
    for arch in options.arch:
        own = getattr(options, "arch_args", {})  # not the recipe's: the twins and peers are plain
        config = Config.create(arch, dtype=options.dtype, arch_args=own)
        model = create_model(config, CLASSES, compute_dtype(config, device))
        check_model(config, model, CLASSES)
        macs = summarize(model).macs
        large = macs > 1e8
        few, many = (3, 100) if large else (20, 350)
        work = Work(
            arch=arch,
            dtype=str(network.dtype(model)),
            batch_size=options.batch_size,
            steps=options.steps or (few if on_cpu else many),
            test_images=500 if on_cpu and large else 2000 if on_cpu else 10_000,
            eval_batch=EVAL_BATCH,
            arch_args=config.arch_args,
        )
        at_once = [] if large else options.at_once  # a large network fills a device by itself
        peer = options.peer if arch in ARCHS and not own else None  # it knows no other
        with elapsing(console, say, f"measuring {arch}", always=True) as told:
            measured = measure(work, macs, peer, options.rounds, at_once, told)
        figures["rows"] += measured["rows"]
        for name in ("ratio", "ours"):
            figures[name][arch] = measured[name]
        write(options.json, figures)
    show(console, figures)
    if options.ablation is not None:
        figures["ablation"] = time_ablation(options.ablation)
        say(f"the ablation took {figures['ablation']['seconds']:,.0f} s")
        write(options.json, figures)


def time_ablation(options: list[str]) -> dict[str, Any]:
    """Seconds of a whole study in a process of its own, from start to report."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "experiments.ablation", "--out", out, *options], check=False
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        raise RunError(f"--ablation {' '.join(options)}: failed; see above")
    return {"options": options, "seconds": seconds}


def write(path: Path | None, figures: dict[str, Any]) -> None:
    """Write what is measured so far."""
    if not path:
        return
    try:
        write_text(path, json.dumps(figures, indent=1) + "\n")
    except OSError as error:
        raise RunError(f"--json {path}: can't be written ({error.strerror})") from error


def show(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures, a table a network, each within 80 columns."""
    say = teller(console)
    say(f"{figures['device']}, jax {figures['versions']['jax']}")
    for arch in dict.fromkeys(row["arch"] for row in figures["rows"]):
        rows = [row for row in figures["rows"] if row["arch"] == arch]
        console.print(_table(arch, sorted(rows, key=lambda row: row["phase"])))
    for arch, phases in figures["ratio"].items():
        for phase, ratio in phases.items():
            say(
                f"{arch} {phase}: {ratio['float32']:.2f} x PyTorch's best float32, "
                f"{ratio['any']:.2f} x its best of any precision"
            )
    for arch, ours in figures["ours"].items():
        first = ours["first_step_seconds"]
        say(
            f"{arch}: first step after {first['cold']:.1f} s, {first['warm']:.1f} s with a "
            f"warm compilation cache; a run's epoch of {ours['epoch_images']:,} images takes "
            f"{ours['epoch_seconds']:.2f} s; {ours['seconds_beyond_steps']:.2f} s of a run of two "
            "are not steps"
        )
        for together in ours["at_once"]:
            rate = together["images_per_second"]
            say(f"{arch}: {together['runs']} at once, {rate:,.0f} images/s")


def _table(arch: str, rows: list[dict[str, Any]]) -> Table:
    """One network's figures; the range of the rounds is in the file of `--json`."""
    table = Table(title=Text(printable(arch)), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("phase", "implementation", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("images/s", "ms a\nbatch", "TFLOP/s", "of\npeak", "memory\nGB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        share = row.get("share_of_peak")
        table.add_row(
            row["phase"],
            row["implementation"],
            row["dtype"],
            f"{row['images_per_second']:,.0f}",
            f"{row['milliseconds']:,.1f}",
            f"{row['flops_per_second'] / 1e12:.3g}",
            f"{share:.0%}" if share else "",
            f"{row['peak_memory_bytes'] / 1e9:.2f}",
        )
    return table


if __name__ == "__main__":
    use_huge_pages()
    run_command(lambda: main(sys.argv[1:]))
