"""What the runs cost, what they were made with, and how to repeat them."""

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import duration, pluralize
from jaxcifar.report.run_records import Records, Variation
from jaxcifar.report.wording import plain

_LONGEST = 5000  # command


def _petaflop(variation: Variation) -> float | None:
    """Arithmetic of training: two operations a multiply-accumulate, three passes.

    An epoch trains on whole batches only.
    """
    result = variation.runs[0].result
    flops = result.get("flops")
    if flops is None:
        return None
    config = variation.config
    steps_per_epoch = result["examples"]["train"] // config.batch_size
    images = steps_per_epoch * config.batch_size * config.epochs
    return 6 * flops * images * len(variation.runs) / 1e15


def _device_seconds(variations: Sequence[Variation]) -> float:
    results = [run.result for v in variations for run in v.runs]
    return sum(r["wall_seconds"] / r["at_once"] for r in results)


def _seconds(value: float) -> str:
    return f"{value:,.{1 if value < 100 else 0}f}"


def _compiling(variation: Variation) -> str:
    """The longest of its runs, as some may have found the program kept; "–" if none tells."""
    told = [run.result.get("compile_seconds") for run in variation.runs]
    seconds = [value for value in told if value is not None]
    return _seconds(max(seconds)) if seconds else "–"


def times(records: Records) -> list[dict[str, Any]]:
    """The lines of the table of times, one a variation."""
    return [
        {
            "name": plain(v.name),
            "runs": len(v.runs),
            "seconds": f"{v.values('wall_seconds').mean():,.0f}",
            "training": _seconds(v.curve("seconds").sum(1).mean()),
            "compiling": _compiling(v),
            "images_per_second": f"{v.values('images_per_second').mean():,.0f}",
            "device_time": duration(_device_seconds([v])),
            "petaflop": "–" if (amount := _petaflop(v)) is None else f"{amount:.2f} PFLOP",
        }
        for v in records.trained
    ]


def time_sentence(records: Records) -> str:
    """How long all runs took, on what, and how fast that was."""
    if not records.trained:
        return ""
    seconds = _device_seconds(records.trained)
    runs = [run for v in records.trained for run in v.runs]
    devices = " and ".join(sorted({run.result["device"] for run in runs}))
    took = f"{pluralize(len(runs), 'run')} took {duration(seconds)} on {plain(devices)}"
    told = [_petaflop(v) for v in records.trained]
    amounts = [amount for amount in told if amount is not None]
    if len(amounts) < len(told):
        return f"{took}, all told."
    petaflop = sum(amounts)
    return (
        f"{took}: {petaflop:,.1f} PFLOP of training at "
        f"{petaflop * 1000 / seconds:.3g} TFLOP/s, all told."
    )


def commands(records: Records) -> list[str]:
    """The commands that train what is in no study, as a shell takes them."""
    return [
        printable(f"python -m experiments.run {shlex.join(variation.config.options())}", _LONGEST)
        for variation in (*records.alone, *records.on_all)
        if not variation.runs[0].converted
    ]


def conversions(records: Records) -> list[str]:
    """The commands that convert what was, as a shell takes them."""
    lines = []
    for run in (run for variation in records.alone for run in variation.runs):
        if run.converted is None:
            continue
        words = [run.converted["file"], *run.config.options(), "--run-dir", "NEW_FOLDER"]
        statistics = {"mean": run.result.get("channel_mean"), "std": run.result.get("channel_std")}
        for name, values in statistics.items():
            words += [f"--{name}", *map(str, values)] if values else []
        lines.append(printable(f"python -m experiments.convert {shlex.join(words)}", _LONGEST))
    return lines


def facts(records: Records) -> list[tuple[str, str]]:
    """What the runs were made with, each value once."""
    results = [run.result for run in records.runs]
    data = {run.data.identity: run.data for run in records.runs}
    packages = dict.fromkeys(name for result in results for name in result["versions"])
    examples = [result["examples"] for result in results]
    counts = [f"{e['train']:,} / {e['val']:,} / {e['test']:,}" for e in examples]
    return [
        ("data", _each(data_set.title for data_set in data.values())),
        *(
            (f"SHA-256 of {plain(data_set.title)}, {plain(split)}", f"`{digest}`")
            for data_set in data.values()
            for split, digest in data_set.fingerprints
        ),
        ("images to train, validate, test", _each(counts)),
        ("seeds", _each(sorted(run.config.seed for run in records.runs))),
        ("device", _each(r["device"] for r in results)),
        ("computed in", _each(r["compute_dtype"] for r in results)),
        ("runs at once", _each(r["at_once"] for r in results)),
        ("commit", _each(r.get("git_commit") or "not in a git checkout" for r in results)),
        *(
            (plain(name), _each(r["versions"].get(name) or "not installed" for r in results))
            for name in packages
        ),
    ]


def _each(values: Iterable[Any]) -> str:
    return plain(", ".join(dict.fromkeys(map(str, values))))
