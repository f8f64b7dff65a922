"""Measure how fast networks train and predict: `jaxcifar bench --peer torch`."""

import os
import subprocess
import sys
import tempfile
import time
from argparse import REMAINDER, Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any

from jaxcifar.bench.bench_progress import BenchProgress
from jaxcifar.commands.shared.bench_options import (
    DEFAULT_BATCH_SIZE,
    NETWORKS_IN_PYTORCH,
    check_networks,
    expected_time,
    is_in_pytorch,
    number_of_test_images,
)
from jaxcifar.commands.shared.bench_study import measure_study, read_study
from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import add_json_file, add_picture_option, parse_count
from jaxcifar.commands.shared.options import add_archs, add_config_options
from jaxcifar.commands.shared.output import screen, write_json
from jaxcifar.commands.shared.parser import Parser, suggest
from jaxcifar.commands.shared.rates import draw_speeds, show_speeds
from jaxcifar.commands.shared.study_options import SHIPPED_STUDIES, parse_study_file
from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import line_printer

HELP_EXAMPLES = (
    ("--arch cnn --rounds 3", "measure the CNN, in a few minutes"),
    ("--arch cnn resnet18 --peer torch", "compare two networks with PyTorch"),
    ("--arch cnn --at-once 2 4", "measure 2 and 4 runs that train together"),
    ("--study recipes_cnn", "measure the cost of the parts of a recipe"),
)

DEFAULT_MINUTES = 20  # for a network; an hour for the three networks of the package


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar bench`."""
    parser = Parser("bench", "Measure how fast networks train and predict here.", HELP_EXAMPLES)
    add_archs(parser, default=None)
    add_config_options(parser, only=("arch_args",), default_of=lambda _: "the network's own")
    parser.add_argument(
        "--batch-size", type=parse_count, metavar="N", help="training images a step (default: 128)"
    )
    parser.add_argument(
        "--dtype",
        choices=Config.__dataclass_fields__["dtype"].metadata["choices"],
        help="precision of our networks (default: auto, or the study's)",
    )
    parser.add_argument(
        "--peer",
        choices=["torch"],
        help="measure PyTorch too; it needs the extra `peer` (default: only ours)",
    )
    parser.add_argument(
        "--at-once",
        nargs="+",
        type=parse_count,
        metavar="N",
        help="also measure N runs that train together (default: one run alone)",
    )
    study_option = parser.add_argument(
        "--study",
        type=parse_study_file,
        metavar="FILE",
        help="measure the training of the rows of a study instead, such as recipes_cnn",
    )
    suggest(study_option, SHIPPED_STUDIES)
    parser.add_argument(
        "--rounds", type=parse_count, default=5, metavar="N", help="rounds to measure (default: 5)"
    )
    parser.add_argument(
        "--steps",
        type=parse_count,
        metavar="N",
        help="steps in a round (default: a few seconds' worth)",
    )
    parser.add_argument(
        "--minutes",
        type=parse_count,
        default=DEFAULT_MINUTES,
        metavar="N",
        help="most minutes for each network; without more time there are fewer rounds "
        f"(default: {DEFAULT_MINUTES})",
    )
    add_json_file(parser)
    add_picture_option(parser, "--plot", "bars of the images/s of each implementation")
    parser.add_argument(
        "--ablation",
        nargs=REMAINDER,
        metavar="OPTION",
        help="time the command `ablation` too; it gets all options that follow",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Measure the speed of networks or of a study; print tables, and write the files asked for."""
    options = parser().parse_args(argv)
    # Wrong options are reported before JAX is imported, which takes seconds.
    study = read_study(options) if options.study else None
    require_folder_of("--json", options.json)
    check_networks(options)

    # This process and its contestants share an accelerator, so none may reserve all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    from jaxcifar.machine import environment

    start_jax()
    console = screen()
    results: dict[str, Any] = {
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
        with BenchProgress(console, options.study.stem) as progress:
            results["programs"] = measure_study(study, options.rounds, on_cpu, progress)
        write_json(options.json, results)
    else:
        archs = options.arch or ARCHS
        line_printer(console)(expected_time(archs, options))
        for arch in archs:
            with BenchProgress(console, arch) as progress:
                measure_network(arch, options, on_cpu, results, progress)
    show_speeds(console, results)
    if options.plot:
        draw_speeds(results, options.plot)
    if options.ablation is not None:
        results["ablation"] = time_ablation(options.ablation)
        line_printer(console)(f"the ablation took {results['ablation']['seconds']:,.0f} s")
        write_json(options.json, results)


def measure_network(
    arch: str,
    options: Namespace,
    on_cpu: bool,
    all_results: dict[str, Any],
    progress: BenchProgress,
) -> None:
    """Measure how fast one network trains and predicts; write all results to the file of `--json`.

    Args:
      arch: name of the network.
      options: the options of the command.
      on_cpu: True if this machine has no accelerator; then less is measured.
      all_results: results of the networks measured so far; this network's results are added.
      progress: shows what is being measured.
    """
    from jaxcifar.bench import (
        measure_implementations,
        measure_parallel_runs,
        measure_startup,
        seconds_of_remaining_measurements,
    )
    from jaxcifar.bench.sizes import is_large, model_and_macs, steps_per_round
    from jaxcifar.bench.work import Work
    from jaxcifar.training import network
    from jaxcifar.training.predicting import EVAL_BATCH

    # The recipe's arguments are not used, because the networks of PyTorch and plain Flax have none.
    arch_args = getattr(options, "arch_args", {})
    config = Config.create(arch, dtype=options.dtype or "auto", arch_args=arch_args)
    model, macs = model_and_macs(config)
    is_large_network = is_large(macs)
    work = Work(
        arch=arch,
        dtype=str(network.dtype(model)),
        batch_size=options.batch_size or DEFAULT_BATCH_SIZE,
        steps=options.steps or steps_per_round(macs, on_cpu),
        test_images=number_of_test_images(on_cpu, is_large_network),
        eval_batch=EVAL_BATCH,
        arch_args=config.arch_args,
    )
    parallel_run_counts = options.at_once or []
    if is_large_network:  # it fills a device by itself, so several at once gain nothing
        parallel_run_counts = []
    compared_package = options.peer
    if compared_package and not is_in_pytorch(arch, arch_args):
        progress.print_line_above_status(f"not measured with PyTorch; {NETWORKS_IN_PYTORCH}")
        compared_package = None
    rounds = options.rounds
    estimate_rest = partial(seconds_of_remaining_measurements, parallel_run_counts, rounds)
    max_seconds = 60.0 * options.minutes
    comparison = measure_implementations(
        work, compared_package, rounds, progress, estimate_rest, max_seconds
    )
    all_results["rows"] += comparison["rows"]
    all_results["ratio"][arch] = comparison["ratio"]
    write_json(options.json, all_results)
    our_training_row, *_ = comparison["rows"]
    our_results = measure_startup(work, our_training_row["milliseconds"], progress)
    our_results["at_once"] = measure_parallel_runs(work, parallel_run_counts, rounds, progress)
    all_results["ours"][arch] = our_results
    write_json(options.json, all_results)


def time_ablation(options: list[str]) -> dict[str, Any]:
    """Run the command `ablation` in a new process, and measure the time that it takes.

    Returns a dict with the command-line "options" of the command, and its time in "seconds".

    Raises:
      RunError: the study failed.
    """
    with tempfile.TemporaryDirectory() as study_folder:
        ablation = [sys.executable, "-m", "jaxcifar.commands", "ablation", "--out", study_folder]
        start_time = time.perf_counter()
        process = subprocess.run([*ablation, *options], check=False)
        seconds = time.perf_counter() - start_time
    has_failed = process.returncode != 0
    if has_failed:
        raise RunError(
            f"--ablation {' '.join(options)}: the ablation failed; its error is printed above: "
            "correct that, then run the same command again"
        )
    return {"options": options, "seconds": seconds}
