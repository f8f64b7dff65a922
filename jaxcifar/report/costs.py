"""Report the time and cost of runs, their environment, and the commands that repeat the runs."""

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import duration, pluralize
from jaxcifar.report.run_records import Variation
from jaxcifar.report.study_records import Records
from jaxcifar.report.wording import escape_markdown
from jaxcifar.runs.file_formats import Result

_MAX_COMMAND = 5000  # characters


def _petaflop(variation: Variation) -> float | None:
    """Return the operations in PFLOP that train all runs of a variation; None if unknown.

    A multiply-accumulate counts as two operations. Each image takes three passes: one forward, and
    two backward, to the inputs and to the weights. An epoch has only whole batches.
    """
    result = variation.runs[0].result
    flops = result.get("flops")
    if flops is None:
        return None
    config = variation.config
    steps_per_epoch = result["examples"]["train"] // config.batch_size
    epochs = sum(len(run.history) for run in variation.runs)
    images = steps_per_epoch * config.batch_size * epochs
    return 6 * flops * images / 1e15


def _device_seconds(variations: Sequence[Variation]) -> float:
    results = [run.result for v in variations for run in v.runs]
    return sum(r["wall_seconds"] / r["at_once"] for r in results)


def _seconds(value: float) -> str:
    return f"{value:,.{1 if value < 100 else 0}f}"


def _compiling(variation: Variation) -> str:
    """Return the longest compile time of a variation's runs; later runs reuse the program."""
    measured = [run.result.get("compile_seconds") for run in variation.runs]
    seconds = [value for value in measured if value is not None]
    return _seconds(max(seconds)) if seconds else "–"


def times(records: Records) -> list[dict[str, Any]]:
    """Return the table of training times: one row, column -> cell, for each row of the study."""
    lines = []
    for v in records.trained:
        petaflop = _petaflop(v)
        line = {
            "name": escape_markdown(v.name),
            "runs": len(v.runs),
            "seconds": f"{v.values('wall_seconds').mean():,.0f}",
            "training": _seconds(np.nansum(v.curve("seconds"), 1).mean()),
            "compiling": _compiling(v),
            "images_per_second": f"{v.values('images_per_second').mean():,.0f}",
            "device_time": duration(_device_seconds([v])),
            "petaflop": "–" if petaflop is None else f"{petaflop:.2f} PFLOP",
        }
        lines.append(line)
    return lines


def time_sentence(records: Records) -> str:
    """Return a sentence with the total time of all trained runs, their devices and their FLOP/s."""
    if not records.trained:
        return ""
    seconds = _device_seconds(records.trained)
    runs = [run for v in records.trained for run in v.runs]
    devices = escape_markdown(" and ".join(sorted({run.result["device"] for run in runs})))
    total = f"In total {pluralize(len(runs), 'run')} took {duration(seconds)} on {devices}"
    amounts = [_petaflop(v) for v in records.trained]
    known = [amount for amount in amounts if amount is not None]
    if len(known) < len(amounts):
        return f"{total}."
    petaflop = sum(known)
    speed = petaflop * 1000 / seconds
    return f"{total}: {petaflop:,.1f} PFLOP of training at {speed:.3g} TFLOP/s."


def commands(records: Records) -> list[str]:
    """Return the shell commands that train the variations which belong to no study."""
    return [
        printable(f"jaxcifar run {shlex.join(v.config.options())}", _MAX_COMMAND)
        for v in (*records.outside_studies, *records.without_validation)
        if not v.runs[0].converted
    ]


def conversions(records: Records) -> list[str]:
    """Return the shell commands that repeat the conversions of weights from PyTorch files."""
    lines = []
    for run in (run for variation in records.outside_studies for run in variation.runs):
        if run.converted is None:
            continue
        words = [run.converted["file"], *run.config.options(), "--run-dir", "NEW_FOLDER"]
        statistics = {"mean": run.result.get("channel_mean"), "std": run.result.get("channel_std")}
        for name, values in statistics.items():
            if values:
                words += [f"--{name}", *map(str, values)]
        lines.append(printable(f"jaxcifar convert {shlex.join(words)}", _MAX_COMMAND))
    return lines


def facts(records: Records) -> list[tuple[str, str]]:
    """Return (name, values) pairs about the runs' data, devices and package versions."""
    results = [run.result for run in records.runs]
    data = {run.data.identity: run.data for run in records.runs}
    packages = dict.fromkeys(name for result in results for name in result["versions"])
    examples = [result["examples"] for result in results]
    counts = [f"{e['train']:,} / {e['val']:,} / {e['test']:,}" for e in examples]
    lines = [("data", _each(data_set.title for data_set in data.values()))]
    for data_set in data.values():
        for split, digest in data_set.fingerprints:
            title = f"{escape_markdown(data_set.title)}, {escape_markdown(split)}"
            lines.append((f"SHA-256 of {title}", f"`{digest}`"))
    lines += [
        ("images to train, validate, test", _each(counts)),
        *_copied_examples(results),
        ("seeds", _each(sorted(run.config.seed for run in records.runs))),
        ("device", _each(r["device"] for r in results)),
        ("computed in", _each(r["compute_dtype"] for r in results)),
        ("runs at once", _each(r["at_once"] for r in results)),
        ("commit", _each(r.get("git_commit") or "not in a git checkout" for r in results)),
    ]
    for name in packages:
        # Older versions did not know the version of a checkout that is not installed.
        missing = "from a checkout, see commit" if name == "jaxcifar" else "not installed"
        versions = _each(r["versions"].get(name) or missing for r in results)
        lines.append((escape_markdown(name), versions))
    return lines


def _copied_examples(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return a (name, values) pair on images that are in several splits; no pair without any."""
    copies = [result["copied_examples"] for result in results if "copied_examples" in result]
    if not copies:
        return []
    counts = [f"{c.get('val', 0):,} / {c.get('test', 0):,}" for c in copies]
    return [("validation, test images that are exact copies of others", _each(counts))]


def _each(values: Iterable[Any]) -> str:
    return escape_markdown(", ".join(dict.fromkeys(map(str, values))))
