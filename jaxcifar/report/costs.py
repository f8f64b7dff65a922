"""Report the time and cost of runs, their environment, and the commands that repeat the runs."""

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxcifar.build.hyperparameters import count_small_steps
from jaxcifar.diagram.network_summary import training_flops
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import duration, pluralize
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.run_times import (
    device_seconds,
    own_epochs,
    own_training_seconds,
    own_wall_seconds,
    training_device_seconds,
)
from jaxcifar.report.study_records import Records
from jaxcifar.report.wording import escape_markdown
from jaxcifar.runs.file_formats import Result

_MAX_COMMAND_CHARACTERS = 5000
_PETA = 1e15


def _training_petaflop(variation: Variation) -> float | None:
    """Return how many PFLOP (10^15 operations) the training of all runs took; None if unknown.

    If a run continues another run, the epochs of that other run do not count. A step on smaller
    images (`small_size`) counts in proportion to their pixels, as the work of a convolution does.
    """
    config, result = variation.config, variation.runs[0].result
    multiply_accumulates = result.get("flops")  # of the forward pass of one image
    if multiply_accumulates is None:
        return None
    steps_per_epoch = result["examples"]["train"] // config.batch_size
    full_size_steps = sum(_as_full_size_steps(run, steps_per_epoch) for run in variation.runs)
    full_size_images = full_size_steps * config.batch_size
    return training_flops(multiply_accumulates, full_size_images) / _PETA


def _as_full_size_steps(run: FinishedRun, steps_per_epoch: int) -> float:
    """Return a run's number of steps, converted to steps on images of full size.

    For example, a step on images of half the height and half the width counts as 1/4.
    """
    config = run.config
    steps = len(own_epochs(run)) * steps_per_epoch
    has_small_steps = config.small_fraction > 0 and config.small_size < config.image_size
    if not has_small_steps:
        return steps
    steps_before_run = config.earlier_epochs * steps_per_epoch
    planned_small_steps = count_small_steps(config, steps_per_epoch) - steps_before_run
    small_steps = min(steps, planned_small_steps)  # the run may have ended early
    full_size_steps = steps - small_steps
    share_of_pixels = (config.small_size / config.image_size) ** 2
    return full_size_steps + small_steps * share_of_pixels


def _petaflop_text(petaflop: float | None) -> str:
    """Return a number of PFLOP with three significant digits, such as "0.0123 PFLOP", or "–"."""
    if petaflop is None:
        return "–"
    decimals = 0
    if petaflop > 0:
        exponent_of_first_digit = math.floor(math.log10(petaflop))
        decimals = max(0, 2 - exponent_of_first_digit)
    return f"{petaflop:,.{decimals}f} PFLOP"


def _format_seconds(seconds: float) -> str:
    return f"{seconds:,.1f}" if seconds < 100 else f"{seconds:,.0f}"


def _compile_time_text(variation: Variation) -> str:
    """Return the longest compile time of a variation's runs, in seconds, as text; "–" if unknown.

    Later runs reuse the compiled program, so that their compile times are short.
    """
    seconds_of_runs = [run.result.get("compile_seconds") for run in variation.runs]
    known_seconds = [seconds for seconds in seconds_of_runs if seconds is not None]
    return _format_seconds(max(known_seconds)) if known_seconds else "–"


def time_rows(records: Records) -> list[dict[str, Any]]:
    """Return the table of training times: for each trained variation, its cells by column."""
    rows = []
    for variation in records.trained_variations:
        wall_seconds = [own_wall_seconds(run) for run in variation.runs]
        training_seconds = [own_training_seconds(run) for run in variation.runs]
        cells = {
            "name": escape_markdown(variation.name),
            "runs": len(variation.runs),
            "seconds": f"{np.mean(wall_seconds):,.0f}",
            "training": _format_seconds(float(np.mean(training_seconds))),
            "compiling": _compile_time_text(variation),
            "images_per_second": f"{variation.values('images_per_second').mean():,.0f}",
            "device_time": duration(device_seconds(variation.runs)),
            "petaflop": _petaflop_text(_training_petaflop(variation)),
        }
        rows.append(cells)
    return rows


def time_sentence(records: Records) -> str:
    """Return a sentence with the total time of all trained runs, their devices and their TFLOP/s.

    The TFLOP/s are of the training steps only, without compiling, validating and testing. They are
    left out if a run's operations are unknown. Return "" if no run was trained.
    """
    if not records.trained_variations:
        return ""
    runs = [run for variation in records.trained_variations for run in variation.runs]
    seconds = device_seconds(runs)
    devices = sorted({run.result["device"] for run in runs})
    run_count = pluralize(len(runs), "run")
    device_names = escape_markdown(" and ".join(devices))
    sentence = f"In total {run_count} took {duration(seconds)} on {device_names}"
    petaflops = [_training_petaflop(variation) for variation in records.trained_variations]
    known_petaflops = [petaflop for petaflop in petaflops if petaflop is not None]
    all_are_known = len(known_petaflops) == len(petaflops)
    training_seconds = training_device_seconds(runs)
    if not all_are_known or training_seconds == 0:
        return f"{sentence}."
    petaflop = sum(known_petaflops)
    teraflops_per_second = petaflop * 1000 / training_seconds
    return (
        f"{sentence}. The training steps took {duration(training_seconds)} of it for "
        f"{_petaflop_text(petaflop)}: {teraflops_per_second:.3g} TFLOP/s."
    )


def training_commands(records: Records) -> list[str]:
    """Return the shell commands that train the variations which belong to no study."""
    variations = [*records.variations_outside_studies, *records.variations_without_validation]
    configs = [variation.config for variation in variations if not variation.runs[0].converted]
    lines = [f"jaxcifar run {shlex.join(config.options())}" for config in configs]
    return [printable(line, _MAX_COMMAND_CHARACTERS) for line in lines]


def conversion_commands(records: Records) -> list[str]:
    """Return the shell commands that repeat the conversions of weights from PyTorch files."""
    lines = []
    runs = [run for variation in records.variations_outside_studies for run in variation.runs]
    for run in runs:
        if run.converted is None:
            continue
        arguments = [run.converted["file"], *run.config.options(), "--run-dir", "NEW_FOLDER"]
        statistics = {"mean": run.result.get("channel_mean"), "std": run.result.get("channel_std")}
        for option, values in statistics.items():
            if values:
                arguments += [f"--{option}", *map(str, values)]
        lines.append(
            printable(f"jaxcifar convert {shlex.join(arguments)}", _MAX_COMMAND_CHARACTERS)
        )
    return lines


def fact_rows(records: Records) -> list[tuple[str, str]]:
    """Return the rows of a table about the runs' images, seeds, devices and package versions.

    Each row is a title, and a text that lists the different values of all runs.
    """
    results = [run.result for run in records.runs]
    image_counts = []
    for result in results:
        examples = result["examples"]
        counts = f"{examples['train']:,} / {examples['val']:,} / {examples['test']:,}"
        image_counts.append(counts)
    commits = [result.get("git_commit") or "not in a git checkout" for result in results]
    return [
        *_data_set_rows(records),
        ("images to train, validate, test", _join_unique(image_counts)),
        *_copied_example_rows(results),
        ("seeds", _join_unique(sorted(run.config.seed for run in records.runs))),
        ("device", _join_unique(result["device"] for result in results)),
        ("computed in", _join_unique(result["compute_dtype"] for result in results)),
        ("runs at once", _join_unique(result["at_once"] for result in results)),
        ("commit", _join_unique(commits)),
        *_package_rows(results),
    ]


def _data_set_rows(records: Records) -> list[tuple[str, str]]:
    """Return a table row with the titles of the data sets, and rows with their SHA-256."""
    data_set_of_identity = {run.data.identity: run.data for run in records.runs}
    data_sets = data_set_of_identity.values()
    rows = [("data", _join_unique(data_set.title for data_set in data_sets))]
    for data_set in data_sets:
        for split, digest in data_set.fingerprints:
            title = f"{escape_markdown(data_set.title)}, {escape_markdown(split)}"
            rows.append((f"SHA-256 of {title}", f"`{digest}`"))
    return rows


def _package_rows(results: Sequence[Any]) -> list[tuple[str, str]]:
    """Return a table row for each package that the runs used, with the package's versions."""
    all_names = [name for result in results for name in result["versions"]]
    rows = []
    for name in dict.fromkeys(all_names):  # each name once
        # Older versions did not know the version of a checkout that is not installed.
        is_jaxcifar = name == "jaxcifar"
        text_without_version = "from a checkout, see commit" if is_jaxcifar else "not installed"
        versions = [result["versions"].get(name) or text_without_version for result in results]
        rows.append((escape_markdown(name), _join_unique(versions)))
    return rows


def _copied_example_rows(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return how many validation and test images are exact copies of images in other splits.

    Returns:
      a list with one (title, counts) pair of texts, or [] if no run counted copies.
    """
    copies = [result["copied_examples"] for result in results if "copied_examples" in result]
    if not copies:
        return []
    counts = [f"{count.get('val', 0):,} / {count.get('test', 0):,}" for count in copies]
    return [("validation, test images that are exact copies of others", _join_unique(counts))]


def _join_unique(values: Iterable[Any]) -> str:
    """Return the different values in their order, separated by commas, as Markdown."""
    return escape_markdown(", ".join(dict.fromkeys(map(str, values))))
