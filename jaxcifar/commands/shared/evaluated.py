"""The tables that `jaxcifar evaluate` prints."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.evaluated_corruptions import corruption_table
from jaxcifar.commands.shared.evaluated_images import list_mistakes
from jaxcifar.commands.shared.output import make_table
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.evaluation_file import BINS, LEVELS, Corruptions, Evaluation, Figures, Look
from jaxcifar.runs.metric_fields import format_value

_MAX_CLASSES = 20  # rows of the table by class; the worst classes are shown
Evaluations = Mapping[str, Evaluation]  # by the name of the run
RunFigures = Sequence[tuple[str, Figures]]  # (name of the run, its figures on one set of images)


def short_names(runs: Iterable[Path]) -> dict[Path, str]:
    """Return a short name such as `plain/seed0` for each run, by the run's path.

    Each name has the last two parts of the path, or more if names would be equal otherwise.
    """
    runs = list(dict.fromkeys(runs))
    for length in range(2, max(len(run.parts) for run in runs) + 1):
        names = {run: printable(Path(*run.parts[-length:])) for run in runs}
        if len(set(names.values())) == len(runs):
            return names
    return {run: printable(run) for run in runs}


def show(console: Console, evaluations: Evaluations, looks: Mapping[str, list[Look]]) -> None:
    """Print tables of the evaluations, and how often the test images were used.

    Args:
      console: where to print.
      evaluations: name of a run -> content of its `evaluation.json`.
      looks: name of a run -> records of all its evaluations on the test images.
    """
    print_line = line_printer(console)
    rows = [
        (run, figures)
        for run, evaluation in evaluations.items()
        for figures in evaluation["sets"].values()
    ]
    if rows:
        for run, figures in rows:
            name = _only_answer(figures)
            if name is not None:
                print_line(
                    f"{run}, {figures['title']}: collapsed, every image is classified as {name}"
                )
        console.print(_accuracies(rows))
        print_line("flips: accuracy if an image and its mirror image are classified together.")
        console.print(_metrics(rows))
        console.print(_calibrations(rows))
        print_line(
            f"ECE: expected calibration error, {BINS} bins. /T: logits divided by the temperature "
            "that fits the validation images best."
        )
        console.print(_classes(rows))
        for run, figures in rows:
            for line in list_mistakes(run, figures):
                print_line(line)
    for run, evaluation in evaluations.items():
        if "corruptions" in evaluation:
            console.print(_corruptions(run, evaluation["corruptions"]))
    for run, evaluation in evaluations.items():
        for found in evaluation.get("corruption_sets", {}).values():
            console.print(corruption_table(run, found))
    if any("slips" in evaluation for evaluation in evaluations.values()):
        console.print(_slips(evaluations))
    for run, evaluation in evaluations.items():
        if "temperature" in evaluation:
            print_line(f"{run}: temperature {evaluation['temperature']:.3f}")
    for run, looks_of_run in looks.items():
        if looks_of_run:
            last = looks_of_run[-1]
            print_line(
                f"{run}: the test images were used {len(looks_of_run) + 1} times: when the run "
                f"ended, and by evaluate, last on {last['date']} ({last['purpose']})"
            )


def _only_answer(figures: Figures) -> str | None:
    """Return the class that the network predicts for every image; None if there is no such class.

    Such a class has an accuracy of 1, and all other classes have an accuracy of 0.
    """
    accuracies = figures["class_accuracy"]
    recognised = [name for name, accuracy in accuracies.items() if accuracy > 0]
    if len(accuracies) < 2 or len(recognised) != 1:
        return None
    [name] = recognised
    return name if accuracies[name] == 1 else None


def _table(title: str, text_columns: Sequence[str], number_columns: Sequence[str]) -> Table:
    """Return a table without rows. Headings can have any characters; long headings are wrapped."""
    headings = [printable(heading) for heading in number_columns]
    return make_table(title, text_columns, headings, wrap_numbers=True)


def _add_row(table: Table, run: str, figures: Figures, *cells: str) -> None:
    """Add a row: the name of a run, the title of the set of images, and the other cells."""
    table.add_row(Text(run), Text(printable(figures["title"])), *cells)


def _accuracies(rows: RunFigures) -> Table:
    """Return a table of each run's accuracy on each set of images, with confidence intervals."""
    columns = ("number", "accuracy", "95% interval", "flips")
    table = _table("Accuracy", ("run", "images"), columns)
    for run, figures in rows:
        low, high = figures["interval"]
        accuracies = f"{figures['accuracy']:.2%}", f"{100 * low:.2f}-{100 * high:.2f}"
        flips = f"{figures['accuracy_flip']:.2%}"
        _add_row(table, run, figures, f"{figures['images']:,}", *accuracies, flips)
    return table


def _metrics(rows: RunFigures) -> Table:
    """Return a table of all metrics except accuracy and loss, which have their own tables."""
    metrics: dict[str, Any] = {}
    for _, figures in rows:
        metrics |= {metric["name"]: metric for metric in figures.get("metrics", [])}
    for name in ("accuracy", "loss"):
        metrics.pop(name, None)
    titles = [metric["title"] for metric in metrics.values()]
    table = _table("Other metrics", ("run", "images"), titles)
    for run, figures in rows:
        values = {metric["name"]: metric["value"] for metric in figures.get("metrics", [])}
        cells = [
            format_value(values[name], metric["unit"]) if name in values else ""
            for name, metric in metrics.items()
        ]
        _add_row(table, run, figures, *cells)
    return table


def _calibrations(rows: RunFigures) -> Table:
    """Return a table of loss and calibration error, before and after temperature scaling."""
    table = _table("Calibration", ("run", "images"), ("loss", "ECE", "loss/T", "ECE/T"))
    for run, figures in rows:
        cells = []
        for calibration in (figures["plain"], figures.get("tempered")):
            if calibration:
                cells += [f"{calibration['loss']:.4f}", f"{calibration['ece']:.2%}"]
            else:
                cells += ["", ""]
        _add_row(table, run, figures, *cells)
    return table


def _percent_or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _classes(rows: RunFigures) -> Table:
    """Return a table of the accuracy on each class; of many classes, only the worst are shown."""
    accuracies = [figures["class_accuracy"] for _, figures in rows]
    names = list(dict.fromkeys(name for by_class in accuracies for name in by_class))
    title = "Accuracy by class"
    if len(names) > _MAX_CLASSES:
        mean = {
            name: float(np.mean([by_class.get(name, np.nan) for by_class in accuracies]))
            for name in names
        }
        title = f"{title}: the {_MAX_CLASSES} worst of {len(names)}"
        names = sorted(names, key=mean.__getitem__)[:_MAX_CLASSES]
    several_runs = len({run for run, _ in rows}) > 1
    columns = [f"{run}: {f['title']}" if several_runs else f["title"] for run, f in rows]
    table = _table(title, ("class",), columns)
    for name in names:
        cells = (_percent_or_empty(by_class.get(name)) for by_class in accuracies)
        table.add_row(Text(printable(name)), *cells)
    return table


def _slips(evaluations: Evaluations) -> Table:
    """Return a table of test accuracies with a mistake in evaluating, such as no normalisation."""
    slips = {
        run: evaluation["slips"] for run, evaluation in evaluations.items() if "slips" in evaluation
    }
    images = min(figures["images"] for figures in slips.values())
    title = f"Accuracy on {images:,} test images with a mistake in evaluating"
    table = _table(title, ("mistake",), list(slips))
    clean = (f"{figures['clean']:.2%}" for figures in slips.values())
    table.add_row("none", *clean, end_section=True)
    names = dict.fromkeys(name for figures in slips.values() for name in figures["accuracy"])
    for name in names:
        values = [figures["accuracy"].get(name) for figures in slips.values()]
        table.add_row(Text(printable(name)), *map(_percent_or_empty, values))
    return table


def _corruptions(run: str, corruptions: Corruptions) -> Table:
    """Return a table of a run's accuracy on corrupted test images, by kind and strength."""
    strengths = [str(level) for level in range(1, LEVELS + 1)]
    title = f"Accuracy on corrupted test images, by strength: {run}"
    table = _table(title, ("corruption",), ("none", *strengths, "mean"))
    means = np.mean(list(corruptions["accuracy"].values()), axis=0)
    rows: dict[str, Any] = {**corruptions["accuracy"], "mean": means}
    for kind, values in rows.items():
        cells = (f"{value:.2%}" for value in (corruptions["clean"], *values, np.mean(values)))
        table.add_row(Text(printable(kind)), *cells)
    return table
