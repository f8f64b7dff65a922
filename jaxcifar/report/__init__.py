"""A report from run folders alone: `REPORT.md`, its pictures, and the same as one HTML page."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import jinja2
import numpy as np

from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.files import locked, write_text
from jaxcifar.models import create_model
from jaxcifar.models.drawing import plot_network
from jaxcifar.models.summary import summarize
from jaxcifar.report import figures, findings
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.records import Network, Records, StudyRecord, Variation, read_records
from jaxcifar.report.statistics import NOISE_LIMIT, Difference, Sample, single_changes
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import SELECTION_RULE

PICTURES = "report"


def write_report(folder: Path) -> Path:
    """Write `REPORT.md`, `report.html` and `report/*.png` from the runs in `folder` and below.

    Returns:
      the path of `report.html`.

    Raises:
      UsageError: there is no such folder, or no finished run in it.
      RunError: a run can't be read, or the report can't be written.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    try:
        with locked(folder):  # read inside: the last of several writers has seen the most
            records = read_records(folder)
            pictures = folder / PICTURES
            pictures.mkdir(exist_ok=True)
            context = _context(records, folder)
            markdown = _environment().get_template("report.md.j2").render(context)
            markdown = re.sub(r"\n{3,}", "\n\n", markdown)
            write_text(folder / "REPORT.md", markdown)
            page = folder / "report.html"
            write_text(page, markdown_to_page(markdown, context["title"], folder))
            for picture in pictures.glob("*.png"):  # last: the report before may need it
                if f"({PICTURES}/{picture.name})" not in markdown:
                    picture.unlink()
    except OSError as error:
        raise RunError(
            f"{folder}: the report can't be written ({error.strerror or error})"
        ) from error
    return page


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=False,  # it writes Markdown
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _context(records: Records, folder: Path) -> dict[str, Any]:
    """Everything that the template names."""
    sections = itertools.count(1)
    networks = [_network(network, folder) for network in records.networks]
    titles = ", ".join(network["title"] for network in networks)
    return {
        "title": f"Report: {titles}",
        "synthetic": [n.entry for n in records.networks if n.entry.name != "cifar10"],
        "networks": networks,
        "studies": [_study(s, records, folder) for s in records.studies if s.variations],
        "section": lambda: next(sections),
        "rule": SELECTION_RULE,
        "noise_limit": f"{NOISE_LIMIT:g}",
        "times": _times(records),
        "time_sentence": _time_sentence(records),
        "commands": _commands(records),
        "facts": _facts(records),
        "unfinished": [
            f"{run.path.relative_to(folder)}: "
            + (run.failure or f"{len(run.history)} of {run.config.epochs} epochs")
            for run in records.unfinished
        ],
        **{
            name: getattr(findings, name)
            for name in ("percent", "points", "accuracy", "reference", "reference_difference",
                         "seeds", "field_title", "field_value", "step_from")
        },
    }  # fmt: skip


def _title(network: Network) -> str:
    return f"{findings.ARCH_TITLES[network.arch]} on {network.entry.title}"


def _network(network: Network, folder: Path) -> dict[str, Any]:
    winner, best, title = network.winner, network.winner.best_run, _title(network)
    summary = summarize(create_model(network.arch, jnp.float32))
    draw = _Pictures(folder, f"{network.arch}-{network.entry.name}")
    what = f"{winner.name}\n{title}"
    ours = Sample.of(winner, "val_accuracy", "val")
    by_class = best.result["class_accuracy"]
    hardest, easiest = min(by_class, key=by_class.get), max(by_class, key=by_class.get)
    pictures = {
        "model": draw("model", plot_network, summary, title),
        "per_class": draw("classes", figures.plot_per_class, network, f"Test accuracy: {what}"),
        "confusion": draw("confusion", figures.plot_confusion, best, f"Test images: {what}"),
        "mistakes": _mistakes(network, draw),
    }
    for quantity in ("accuracy", "loss"):
        alone = dataclasses.replace(winner, runs=(best,))
        pictures[quantity] = draw(quantity, figures.plot_curves, alone, quantity, what)
    return {
        "title": title,
        "winner": winner,
        "best": best,
        "variations": network.variations,
        "choice": findings.choice(network),
        "params": summary.params,
        "flops": summary.flops,
        "table": summary.table(),
        "candidates": [_candidate(v, ours) for v in network.by_validation],
        "mistakes_sentence": (
            f"Of {winner.name}, seed {best.config.seed}. Its hardest class is {hardest} "
            f"({findings.percent(by_class[hardest])}), its easiest {easiest} "
            f"({findings.percent(by_class[easiest])}). {_confusion_sentence(best.result)}"
        ),
        "pictures": pictures,
    }


def _candidate(variation: Variation, winner: Sample) -> dict[str, Any]:
    sample = Sample.of(variation, "val_accuracy", "val")
    behind = Difference.between(sample, winner)
    epochs = ", ".join(str(run.result["selected_epoch"]) for run in variation.runs)
    return {
        "name": variation.name,
        "accuracy": findings.spread(sample),
        "behind": "–" if sample is winner or behind.value == 0
        else f"{100 * behind.value:.2f} points, {findings.deviations(behind)}",
        "epochs": f"{epochs} of {variation.config.epochs}",
    }  # fmt: skip


def _confusion_sentence(result: dict[str, Any]) -> str:
    """The most frequent confusion of two classes, both ways."""
    matrix, names = np.asarray(result["confusion_matrix"]), list(result["class_accuracy"])
    both = np.triu(matrix + matrix.T, 1)
    first, second = np.unravel_index(both.argmax(), both.shape)
    wrong = matrix.sum() - np.trace(matrix)
    if not wrong:
        return "It makes no mistake."
    return (
        f"It mistakes {names[first]} and {names[second]} for each other most often: "
        f"{both.max():,} of its {wrong:,} mistakes."
    )


def _mistakes(network: Network, draw: "_Pictures") -> str | None:
    run = network.winner.best_run
    file = RunFolder(run.path).mistakes
    if not file.exists():
        return None
    with np.load(file) as mistakes:
        title = f"Confident mistakes of {network.winner.name}\n{_title(network)}"
        return draw("mistakes", figures.plot_mistakes, run, dict(mistakes), title)


def _study(study: StudyRecord, records: Records, folder: Path) -> dict[str, Any]:
    variations, beside = study.variations, study.path.relative_to(folder)
    draw = _Pictures(folder, "-".join(beside.parts) or "study")
    network = next(n for n in records.networks if variations[0] in n.variations)
    title, named = _title(network), study.study.reference.get("name", "reference")
    lines = findings.mismatches(study)
    learning = [findings.learning(v) for v in variations]
    sets = findings.reference_sets(study)
    return {
        "title": study.study.title,
        "beside": str(beside),
        "variations": variations,
        "fields": findings.varied_fields(variations),
        "note": findings.setting_note(study),
        "changes": [findings.single_change(*pair) for pair in single_changes(variations)],
        "sets": sets,
        "nearest": sets and findings.nearest_set(sets),
        "learning": learning,
        "learning_sentence": findings.learning_sentence(learning),
        "mismatch": lines
        and {"lines": lines, "verdict": findings.mismatch_verdict(lines)},
        "seeds": " ".join(
            map(str, sorted({run.config.seed for v in variations for run in v.runs}))
        ),
        "pictures": {
            "bars": draw("bars", figures.plot_bars, variations, named, title),
            "validation": draw("validation", figures.plot_all_validation, variations, title),
            "rows": {
                v.name: {
                    quantity: draw(
                        f"{v.name}-{quantity}", figures.plot_curves, v, quantity,
                        f"{v.name}\n{title}",
                    )
                    for quantity in ("accuracy", "loss")
                }
                for v in variations
            },
        },
    }  # fmt: skip


class _Pictures:
    """Draws into the report's folder and gives the paths that the report names."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix

    def __call__(self, name: str, plot: Any, *arguments: Any) -> str:
        path = f"{PICTURES}/{self._prefix}-{name}.png"
        plot(*arguments, self._folder / path)
        return path


def _petaflop(variation: Variation) -> float:
    """Arithmetic of training: two operations a multiply-accumulate, three passes."""
    result = variation.runs[0].result
    images = result["examples"]["train"] * variation.config.epochs
    return 6 * result["flops"] * images * len(variation.runs) / 1e15


def _device_hours(variations: Sequence[Variation]) -> float:
    results = [run.result for v in variations for run in v.runs]
    return sum(r["wall_seconds"] / r["at_once"] for r in results) / 3600


def _times(records: Records) -> list[dict[str, Any]]:
    return [
        {
            "name": v.name,
            "runs": len(v.runs),
            "seconds": f"{v.values('wall_seconds').mean():,.0f}",
            "images_per_second": f"{v.values('images_per_second').mean():,.0f}",
            "hours": f"{_device_hours([v]):.2f}",
            "petaflop": f"{_petaflop(v):.2f}",
        }
        for v in records.variations
    ]


def _time_sentence(records: Records) -> str:
    hours = _device_hours(records.variations)
    petaflop = sum(map(_petaflop, records.variations))
    devices = " and ".join(sorted({run.result["device"] for run in records.runs}))
    return (
        f"{len(records.runs)} runs took {hours:.2f} hours on {devices}: {petaflop:,.1f} PFLOP of "
        f"training at {petaflop * 1000 / (hours * 3600):.3g} TFLOP/s, all told."
    )


def _commands(records: Records) -> list[str]:
    return [findings.command(v.config) for v in records.variations if v in records.alone]


def _facts(records: Records) -> list[tuple[str, str]]:
    """What the runs were made with, each value once."""
    results = [run.result for run in records.runs]
    networks = records.networks

    def each(values: Sequence[Any]) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values))

    facts = [
        ("data", each([r["dataset"] for r in results])),
        *(
            (f"SHA-256 of {n.entry.title}, {split}", f"`{digest}`")
            for n in {network.entry.name: network for network in networks}.values()
            for split, digest in n.entry.fingerprints.items()
        ),
        ("images to train, validate, test", each(
            [" / ".join(f"{count:,}" for count in r["examples"].values()) for r in results]
        )),
        ("seeds", each(sorted(run.config.seed for run in records.runs))),
        ("device", each([r["device"] for r in results])),
        ("computed in", each([r["compute_dtype"] for r in results])),
        ("runs at once", each([r["at_once"] for r in results])),
        ("commit", each([r["git_commit"] or "not in a git checkout" for r in results])),
    ]  # fmt: skip
    packages = results[0]["versions"]
    facts += [(name, each([r["versions"][name] for r in results])) for name in packages]
    return facts
