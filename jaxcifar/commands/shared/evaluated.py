"""The tables that `experiments.evaluate` shows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.evaluation_file import BINS, LEVELS, Corrupted, Evaluation, Figures, Look
from jaxcifar.runs.metric_fields import spelled

_CLASSES = 20  # lines of the table by class; of more classes, the worst
_MISTAKES = 5  # of each set
Evaluations = Mapping[str, Evaluation]  # by run's name


def short_names(runs: Iterable[Path]) -> dict[Path, str]:
    """What tables call runs: the ends of their paths, as long as they take to be told apart."""
    runs = list(dict.fromkeys(runs))
    for length in range(2, max(len(run.parts) for run in runs) + 1):
        names = {run: printable(Path(*run.parts[-length:])) for run in runs}
        if len(set(names.values())) == len(runs):
            return names
    return {run: printable(run) for run in runs}


def show(console: Console, evaluations: Evaluations, looks: Mapping[str, list[Look]]) -> None:
    """Print figures, classes, mistakes, corruptions and who has looked at the test images."""
    say = line_printer(console)
    found = [
        (run, figures)
        for run, evaluation in evaluations.items()
        for figures in evaluation["sets"].values()
    ]
    if found:
        for run, figures in found:
            if (name := _only_answer(figures)) is not None:
                say(f"{run}, {figures['title']}: collapsed, every image is taken for {name}")
        console.print(_accuracies(found))
        console.print(_metrics(found))
        console.print(_calibrations(found))
        say(
            f"ECE: expected calibration error, {BINS} bins. /T: logits divided by the temperature "
            "that fits the validation images best."
        )
        console.print(_classes(found))
        for run, figures in found:
            for line in _mistakes(run, figures):
                say(line)
    for run, evaluation in evaluations.items():
        if "corruptions" in evaluation:
            console.print(_corruptions(run, evaluation["corruptions"]))
    if any("slips" in evaluation for evaluation in evaluations.values()):
        console.print(_slips(evaluations))
    for run, evaluation in evaluations.items():
        if "temperature" in evaluation:
            say(f"{run}: temperature {evaluation['temperature']:.3f}")
    for run, lines in looks.items():
        if lines:
            last = lines[-1]
            say(
                f"{run}: test images looked at {len(lines) + 1} times: when the run ended, and by "
                f"evaluating, last {last['date']} ({last['purpose']})"
            )


def _only_answer(figures: Figures) -> str | None:
    """The class that every image of several classes is taken for."""
    accuracies = figures["class_accuracy"]
    right = [name for name, accuracy in accuracies.items() if accuracy > 0]
    only = len(accuracies) > 1 and len(right) == 1 and accuracies[right[0]] == 1
    return right[0] if only else None


def _table(title: str, names: Sequence[str], columns: Sequence[str]) -> Table:
    """Of so many columns of names and then of numbers."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in names:
        table.add_column(column, overflow="fold")
    for column in columns:
        table.add_column(Text(printable(column)), justify="right", overflow="fold", min_width=6)
    return table


def _accuracies(found: Sequence[tuple[str, Figures]]) -> Table:
    columns = ("number", "accuracy", "95% interval", "flips")
    table = _table("Accuracy", ("run", "images"), columns)
    for run, figures in found:
        low, high = figures["interval"]
        table.add_row(
            Text(run),
            Text(printable(figures["title"])),
            f"{figures['images']:,}",
            f"{figures['accuracy']:.2%}",
            f"{100 * low:.2f}-{100 * high:.2f}",
            f"{figures['accuracy_flip']:.2%}",
        )
    return table


def _metrics(found: Sequence[tuple[str, Figures]]) -> Table:
    """All metrics but accuracy and loss, which other tables have."""
    by_name = {line["name"]: line for _, f in found for line in f.get("metrics", [])}
    shown = [line for name, line in by_name.items() if name not in ("accuracy", "loss")]
    table = _table("Other metrics", ("run", "images"), [line["title"] for line in shown])
    for run, figures in found:
        values = {line["name"]: line["value"] for line in figures.get("metrics", [])}
        cells = (
            spelled(values[line["name"]], line["unit"]) if line["name"] in values else ""
            for line in shown
        )
        table.add_row(Text(run), Text(printable(figures["title"])), *cells)
    return table


def _calibrations(found: Sequence[tuple[str, Figures]]) -> Table:
    table = _table("Calibration", ("run", "images"), ("loss", "ECE", "loss/T", "ECE/T"))
    for run, figures in found:
        plain, tempered = figures["plain"], figures.get("tempered")
        table.add_row(
            Text(run),
            Text(printable(figures["title"])),
            f"{plain['loss']:.4f}",
            f"{plain['ece']:.2%}",
            f"{tempered['loss']:.4f}" if tempered else "",
            f"{tempered['ece']:.2%}" if tempered else "",
        )
    return table


def _classes(found: Sequence[tuple[str, Figures]]) -> Table:
    names = list(dict.fromkeys(name for _, f in found for name in f["class_accuracy"]))
    title = "Accuracy by class"
    if len(names) > _CLASSES:
        mean = {
            name: float(np.mean([f["class_accuracy"].get(name, np.nan) for _, f in found]))
            for name in names
        }
        title = f"{title}: the {_CLASSES} worst of {len(names)}"
        names = sorted(names, key=mean.__getitem__)[:_CLASSES]
    several = len({run for run, _ in found}) > 1
    columns = [f"{run}: {f['title']}" if several else f["title"] for run, f in found]
    table = _table(title, ("class",), columns)
    for name in names:
        values = [f["class_accuracy"].get(name) for _, f in found]
        cells = ("" if value is None else f"{value:.2%}" for value in values)
        table.add_row(Text(printable(name)), *cells)
    return table


def _mistakes(run: str, figures: Figures) -> list[str]:
    """The surest ones, a line each."""
    lines = [
        f"  image {mistake['index']:,} is {mistake['label']}, called {mistake['predicted']} "
        f"({mistake['confidence']:.2%})"
        for mistake in figures["mistakes"][:_MISTAKES]
    ]
    return [f"{run}, {figures['title']}: surest mistakes", *lines] if lines else []


def _slips(evaluations: Evaluations) -> Table:
    found = {run: said["slips"] for run, said in evaluations.items() if "slips" in said}
    images = min(said["images"] for said in found.values())
    title = f"Accuracy on {images:,} test images where whoever evaluates slips"
    table = _table(title, ("slip",), list(found))
    names = dict.fromkeys(name for said in found.values() for name in said["accuracy"])
    table.add_row("none", *(f"{said['clean']:.2%}" for said in found.values()), end_section=True)
    for name in names:
        values = [said["accuracy"].get(name) for said in found.values()]
        cells = ("" if value is None else f"{value:.2%}" for value in values)
        table.add_row(Text(printable(name)), *cells)
    return table


def _corruptions(run: str, found: Corrupted) -> Table:
    strengths = [str(level) for level in range(1, LEVELS + 1)]
    title = f"Accuracy on corrupted test images, by strength: {run}"
    table = _table(title, ("corruption",), ("none", *strengths, "mean"))
    means = np.mean(list(found["accuracy"].values()), axis=0)
    rows: dict[str, Any] = {**found["accuracy"], "mean": means}
    for kind, values in rows.items():
        cells = (f"{value:.2%}" for value in (found["clean"], *values, np.mean(values)))
        table.add_row(Text(printable(kind)), *cells)
    return table
