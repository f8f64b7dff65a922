"""Measure training and evaluation here: `python -m experiments.bench --peer torch`."""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.commands.ablation import study_file
from jaxcifar.commands.shared.cli import count, location, start_jax
from jaxcifar.commands.shared.options import add_config_options
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.shared.rates import show
from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.config.option_names import flag
from jaxcifar.errors import RunError, UsageError
from jaxcifar.exchange.torch_modules import KNOWN
from jaxcifar.machine.files import write_text
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import line_printer
from jaxcifar.studies.study import Study

EXAMPLES = (
    ("--arch cnn --rounds 3", "our CNN: a minute or two"),
    ("--arch cnn resnet18 --peer torch", "two networks beside PyTorch"),
    ("--arch cnn --at-once 2 4", "what training several runs together brings"),
    ("--study recipes_cnn", "what the parts of a recipe cost"),
)

COMPARABLE = f"PyTorch can be compared only for {', '.join(KNOWN)}, and without --arch-args"


def is_known_to_peer(arch: str, arch_args: dict[str, Any]) -> bool:
    """Return whether there is a PyTorch network to compare with ours."""
    return arch in KNOWN and not arch_args


def parser() -> Parser:
    """The command's options."""
    parser = Parser("bench", "Measure how fast networks are trained and evaluated here.", EXAMPLES)
    add = parser.add_argument
    dtypes = Config.__dataclass_fields__["dtype"].metadata["choices"]
    add(
        "--arch",
        nargs="+",
        metavar="NAME",
        help="networks, yours as FILE.py:NAME (default: all of ours)",
    )
    add_config_options(parser, only=("arch_args",), default_of=lambda _: "the network's own")
    add("--batch-size", type=count, metavar="N", help="images a step (default: 128)")
    add("--dtype", choices=dtypes, help="what ours computes in (default: auto, or the study's)")
    add("--peer", choices=["torch"], help="also measure PyTorch, of the extra `peer` (default: no)")
    add(
        "--at-once",
        nargs="+",
        type=count,
        metavar="N",
        help="also measure so many runs at once (default: none)",
    )
    add(
        "--study",
        type=study_file,
        metavar="FILE",
        help="measure how the rows of a study train instead, such as recipes_cnn",
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
    study = read_study(options) if options.study else None
    require_folder_of("--json", options.json)
    archs, own = options.arch or ARCHS, getattr(options, "arch_args", {})
    for arch in options.arch or ():  # before JAX is imported
        Config.create(arch, arch_args=own)
    if options.peer and not any(is_known_to_peer(arch, own) for arch in archs):
        raise UsageError(f"--peer torch: {COMPARABLE}; leave out --peer")
    if options.peer and not find_spec("torch"):
        raise UsageError(
            "--peer torch: PyTorch is not installed; install it with: pip install torch"
        )

    # Contestants, and this process, share an accelerator: none may take its memory as a whole.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from jaxcifar.machine import environment

    start_jax()
    console = Console(emoji=False, highlight=False)
    figures: dict[str, Any] = {
        "device": environment.describe_devices(jax.devices()),
        "versions": environment.package_versions(),
        "git_commit": environment.git_commit(),
        "rows": [],
        "ratio": {},
        "ours": {},
        "programs": [],
    }
    on_cpu = jax.default_backend() == "cpu"
    if study:
        measure_study(study, options, on_cpu, figures, console)
    else:
        measure_networks(options, on_cpu, figures, console)
    show(console, figures)
    if options.ablation is not None:
        figures["ablation"] = time_ablation(options.ablation)
        line_printer(console)(f"the ablation took {figures['ablation']['seconds']:,.0f} s")
        write(options.json, figures)


def read_study(options: argparse.Namespace) -> Study:
    """The study to be measured.

    Raises:
      UsageError: it can't be read, or an option would change what its rows say.
    """
    for name in ("arch", "arch_args", "batch_size", "peer", "at_once", "steps"):
        if getattr(options, name, None) is not None:
            raise UsageError(f"--{flag(name)}: --study measures its rows as they are")
    study = Study.read(options.study)
    if options.dtype:
        study = dataclasses.replace(study, config={**study.config, "dtype": options.dtype})
    study.check()
    return study


def measure_study(
    study: Study,
    options: argparse.Namespace,
    on_cpu: bool,
    figures: dict[str, Any],
    console: Console,
) -> None:
    """Add to the figures how fast the rows of a study train."""
    from jaxcifar.bench import measure_programs
    from jaxcifar.bench.sizes import model_and_macs, steps_per_round

    with BenchProgress(console, options.study.stem) as progress:
        runs = {row.name: study.config_of(row, seed=0) for row in study.rows}
        programs = {run.shared_part(): run for run in runs.values()}
        images = 128 * min(
            steps_per_round(model_and_macs(run)[1], on_cpu) for run in programs.values()
        )
        figures["programs"] = measure_programs(runs, images, options.rounds, progress)
    write(options.json, figures)


def measure_networks(
    options: argparse.Namespace, on_cpu: bool, figures: dict[str, Any], console: Console
) -> None:
    """Add to the figures how fast networks are trained and evaluated, ours and by others."""
    for arch in options.arch or ARCHS:
        with BenchProgress(console, arch) as progress:
            measure_network(arch, options, on_cpu, figures, progress)


def measure_network(
    arch: str,
    options: argparse.Namespace,
    on_cpu: bool,
    figures: dict[str, Any],
    progress: BenchProgress,
) -> None:
    """Add the figures of one network, and write them as soon as they are measured."""
    from jaxcifar.bench import (
        measure,
        measure_parallel_runs,
        measure_startup,
        seconds_of_remaining_measurements,
    )
    from jaxcifar.bench.sizes import is_large, model_and_macs, steps_per_round
    from jaxcifar.bench.work import Work
    from jaxcifar.training import network
    from jaxcifar.training.predicting import EVAL_BATCH

    own = getattr(options, "arch_args", {})  # not the recipe's: the twins and peers are plain
    config = Config.create(arch, dtype=options.dtype or "auto", arch_args=own)
    model, macs = model_and_macs(config)
    large = is_large(macs)
    work = Work(
        arch=arch,
        dtype=str(network.dtype(model)),
        batch_size=options.batch_size or 128,
        steps=options.steps or steps_per_round(macs, on_cpu),
        test_images=500 if on_cpu and large else 2000 if on_cpu else 10_000,
        eval_batch=EVAL_BATCH,
        arch_args=config.arch_args,
    )
    # A large network fills a device by itself.
    at_once = [] if large else options.at_once or []
    peer = options.peer if is_known_to_peer(arch, own) else None
    if options.peer and not peer:
        progress.say(f"not measured with PyTorch; {COMPARABLE}")
    rounds = options.rounds
    estimate_rest = partial(seconds_of_remaining_measurements, at_once, rounds)
    measured = measure(work, macs, peer, rounds, progress, estimate_rest)
    figures["rows"] += measured["rows"]
    figures["ratio"][arch] = measured["ratio"]
    write(options.json, figures)
    ours = measure_startup(work, measured["rows"][0]["milliseconds"], progress)
    ours["peak_flops_per_second"] = measured["peak_flops_per_second"]
    ours["at_once"] = measure_parallel_runs(work, at_once, rounds, progress)
    figures["ours"][arch] = ours
    write(options.json, figures)


def time_ablation(options: list[str]) -> dict[str, Any]:
    """Seconds of a whole study in a process of its own, from start to report."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "jaxcifar.commands", "ablation", "--out", out, *options],
            check=False,
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
