"""The tables that `jaxcifar evaluate` prints."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.evaluated_corruptions import corruption_set_table
from jaxcifar.commands.shared.evaluated_images import list_mistakes
from jaxcifar.commands.shared.output import make_table
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.evaluation_file import BINS, LEVELS, Corruptions, Evaluation, Figures, Look
from jaxcifar.runs.metric_fields import format_value
from jaxcifar.runs.temperature_limits import is_limit

_MAX_SHOWN_CLASSES = 20  # rows of the table by class; the worst classes are shown
Evaluations = Mapping[str, Evaluation]  # by the name of the run
FiguresOfRuns = Sequence[tuple[str, Figures]]  # (name of the run, its figures on one set of images)


def short_names(runs: Iterable[Path]) -> dict[Path, str]:
    """Return a short name such as `plain/seed0` for each run, by the run's path.

    Each name has the last two parts of the path, or more if names would be equal otherwise.
    """
    runs = list(dict.fromkeys(runs))
    max_part_count = max(len(run.parts) for run in runs)
    for part_count in range(2, max_part_count + 1):
        names = {run: printable(Path(*run.parts[-part_count:])) for run in runs}
        if len(set(names.values())) == len(runs):
            return names
    return {run: printable(run) for run in runs}


def show_evaluations(
    console: Console, evaluations: Evaluations, looks: Mapping[str, list[Look]]
) -> None:
    """Print tables of the evaluations, and how often the test images were used.

    Args:
      console: where to print.
      evaluations: name of a run -> content of its `evaluation.json`.
      looks: name of a run -> records of all its evaluations on the test images.
    """
    print_line = line_printer(console)
    figures_of_runs = [
        (run, figures)
        for run, evaluation in evaluations.items()
        for figures in evaluation["sets"].values()
    ]
    if figures_of_runs:
        _show_figures(console, figures_of_runs)
    for run, evaluation in evaluations.items():
        if "corruptions" in evaluation:
            console.print(_corruption_strength_table(run, evaluation["corruptions"]))
    for run, evaluation in evaluations.items():
        for corruption_set in evaluation.get("corruption_sets", {}).values():
            console.print(corruption_set_table(run, corruption_set))
    if any("slips" in evaluation for evaluation in evaluations.values()):
        console.print(_mistake_table(evaluations))
    for run, evaluation in evaluations.items():
        if "temperature" in evaluation:
            print_line(f"{run}: {_temperature_text(evaluation['temperature'])}")
    for run, looks_of_run in looks.items():
        if looks_of_run:
            last_look = looks_of_run[-1]
            use_count = len(looks_of_run) + 1  # the first use is at the end of the run
            print_line(
                f"{run}: the test images were used {use_count} times: when the run ended, and by "
                f"evaluate, last on {last_look['date']} ({last_look['purpose']})"
            )


def _temperature_text(temperature: float) -> str:
    text = f"temperature {temperature:.3f}"
    if not is_limit(temperature):
        return text
    return (
        f"{text} is a limit, so loss/T and ECE/T say nothing: no temperature fits the validation "
        "images best, as when all of them are classified correctly; use more of them"
    )


def _show_figures(console: Console, figures_of_runs: FiguresOfRuns) -> None:
    """Print accuracy, calibration and most confident mistakes of runs on sets of images."""
    print_line = line_printer(console)
    for run, figures in figures_of_runs:
        class_name = _only_predicted_class(figures)
        if class_name is not None:
            print_line(
                f"{run}, {figures['title']}: collapsed, every image is classified as {class_name}"
            )
    console.print(_accuracy_table(figures_of_runs))
    print_line("flips: accuracy if an image and its mirror image are classified together.")
    console.print(_metric_table(figures_of_runs))
    console.print(_calibration_table(figures_of_runs))
    print_line(
        f"ECE: expected calibration error, {BINS} bins. /T: logits divided by the temperature that "
        "fits the validation images best."
    )
    console.print(_class_table(figures_of_runs))
    for run, figures in figures_of_runs:
        for line in list_mistakes(run, figures):
            print_line(line)


def _only_predicted_class(figures: Figures) -> str | None:
    """Return the class that the network predicts for every image; None if there is no such class.

    Such a class has an accuracy of 1, and all other classes have an accuracy of 0.
    """
    accuracies = figures["class_accuracy"]
    recognised_classes = [name for name, accuracy in accuracies.items() if accuracy > 0]
    if len(accuracies) < 2 or len(recognised_classes) != 1:
        return None
    [class_name] = recognised_classes
    return class_name if accuracies[class_name] == 1 else None


def _empty_table(title: str, text_columns: Sequence[str], number_columns: Sequence[str]) -> Table:
    """Return a table without rows. Headings can have any characters; long headings are wrapped."""
    headings = [printable(heading) for heading in number_columns]
    return make_table(title, text_columns, headings, wrap_numbers=True)


def _add_row_of_run(table: Table, run: str, figures: Figures, *cells: str) -> None:
    """Add a row: the name of a run, the title of the set of images, and the other cells."""
    set_title = printable(figures["title"])
    table.add_row(Text(run), Text(set_title), *cells)


def _accuracy_table(figures_of_runs: FiguresOfRuns) -> Table:
    """Return a table of each run's accuracy on each set of images, with confidence intervals."""
    number_columns = ("number", "accuracy", "95% interval", "flips")
    table = _empty_table("Accuracy", ("run", "images"), number_columns)
    for run, figures in figures_of_runs:
        low, high = figures["interval"]
        cells = (
            f"{figures['images']:,}",
            f"{figures['accuracy']:.2%}",
            f"{100 * low:.2f}-{100 * high:.2f}",
            f"{figures['accuracy_flip']:.2%}",
        )
        _add_row_of_run(table, run, figures, *cells)
    return table


def _metric_table(figures_of_runs: FiguresOfRuns) -> Table:
    """Return a table of all metrics except accuracy and loss, which have their own tables."""
    metric_by_name: dict[str, Any] = {}
    for _, figures in figures_of_runs:
        for metric in figures.get("metrics", []):
            metric_by_name[metric["name"]] = metric
    for name in ("accuracy", "loss"):
        metric_by_name.pop(name, None)
    titles = [metric["title"] for metric in metric_by_name.values()]
    table = _empty_table("Other metrics", ("run", "images"), titles)
    for run, figures in figures_of_runs:
        value_by_name = {metric["name"]: metric["value"] for metric in figures.get("metrics", [])}
        cells = []
        for name, metric in metric_by_name.items():
            value = value_by_name.get(name)
            cells.append("" if value is None else format_value(value, metric["unit"]))
        _add_row_of_run(table, run, figures, *cells)
    return table


def _calibration_table(figures_of_runs: FiguresOfRuns) -> Table:
    """Return a table of loss and calibration error, before and after temperature scaling."""
    table = _empty_table("Calibration", ("run", "images"), ("loss", "ECE", "loss/T", "ECE/T"))
    for run, figures in figures_of_runs:
        cells = []
        for calibration in (figures["plain"], figures.get("tempered")):
            if calibration:
                cells += [f"{calibration['loss']:.4f}", f"{calibration['ece']:.2%}"]
            else:
                cells += ["", ""]
        _add_row_of_run(table, run, figures, *cells)
    return table


def _percent_or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _class_table(figures_of_runs: FiguresOfRuns) -> Table:
    """Return a table of the accuracy on each class; of many classes, only the worst are shown."""
    accuracies_of_columns = [figures["class_accuracy"] for _, figures in figures_of_runs]
    class_names = [name for accuracies in accuracies_of_columns for name in accuracies]
    classes = list(dict.fromkeys(class_names))  # each class once

    def mean_accuracy(name: str) -> float:
        accuracies = [column.get(name, np.nan) for column in accuracies_of_columns]
        return float(np.mean(accuracies))

    title = "Accuracy by class"
    shown_classes = classes
    if len(classes) > _MAX_SHOWN_CLASSES:
        title = f"{title}: the {_MAX_SHOWN_CLASSES} worst of {len(classes)}"
        worst_first = sorted(classes, key=mean_accuracy)
        shown_classes = worst_first[:_MAX_SHOWN_CLASSES]
    has_several_runs = len({run for run, _ in figures_of_runs}) > 1
    column_titles = [
        f"{run}: {figures['title']}" if has_several_runs else figures["title"]
        for run, figures in figures_of_runs
    ]
    table = _empty_table(title, ("class",), column_titles)
    for name in shown_classes:
        cells = [_percent_or_empty(accuracies.get(name)) for accuracies in accuracies_of_columns]
        table.add_row(Text(printable(name)), *cells)
    return table


def _mistake_table(evaluations: Evaluations) -> Table:
    """Return a table of the test accuracy that evaluation with each common mistake measures."""
    figures_of_run = {}
    mistakes: dict[str, None] = {}  # in order of appearance
    for run, evaluation in evaluations.items():
        if "slips" in evaluation:
            figures_of_run[run] = evaluation["slips"]
            mistakes |= dict.fromkeys(evaluation["slips"]["accuracy"])
    image_count = min(figures["images"] for figures in figures_of_run.values())
    title = f"Accuracy on {image_count:,} test images with a mistake in evaluating"
    table = _empty_table(title, ("mistake",), list(figures_of_run))
    correct_cells = [f"{figures['clean']:.2%}" for figures in figures_of_run.values()]
    table.add_row("none", *correct_cells, end_section=True)
    for mistake in mistakes:
        accuracies = [figures["accuracy"].get(mistake) for figures in figures_of_run.values()]
        cells = [_percent_or_empty(accuracy) for accuracy in accuracies]
        table.add_row(Text(printable(mistake)), *cells)
    return table


def _corruption_strength_table(run: str, corruptions: Corruptions) -> Table:
    """Return a table of a run's accuracy on corrupted test images, by kind and strength."""
    strengths = [str(level) for level in range(1, LEVELS + 1)]
    title = f"Accuracy on corrupted test images, by strength: {run}"
    table = _empty_table(title, ("corruption",), ("none", *strengths, "mean"))
    means = np.mean(list(corruptions["accuracy"].values()), axis=0)
    accuracies_by_kind: dict[str, Any] = {**corruptions["accuracy"], "mean": means}
    for kind, accuracies in accuracies_by_kind.items():
        accuracies_of_row = (corruptions["clean"], *accuracies, np.mean(accuracies))
        cells = [f"{accuracy:.2%}" for accuracy in accuracies_of_row]
        table.add_row(Text(printable(kind)), *cells)
    return table
