"""The tables of accuracy, calibration and other metrics that `jaxcifar evaluate` prints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.output import make_table
from jaxcifar.errors import printable
from jaxcifar.runs.evaluation_file import Figures, MistakeResults
from jaxcifar.runs.metric_fields import format_value

ResultsOfRuns = Sequence[tuple[str, Figures]]  # (name of the run, its results on one set of images)
_MAX_SHOWN_CLASSES = 20  # rows of the table by class; the worst classes are shown
_METRICS_IN_OTHER_TABLES = ("accuracy", "loss")


def _empty_table(title: str, text_columns: Sequence[str], number_columns: Sequence[str]) -> Table:
    """Return a table without rows. Headings can have any characters; long headings are wrapped."""
    headings = [printable(heading) for heading in number_columns]
    return make_table(title, text_columns, headings, wrap_numbers=True)


def _add_row_of_run(table: Table, run: str, results: Figures, *cells: str) -> None:
    """Add a row: the name of a run, the title of the set of images, and the other cells."""
    set_title = printable(results["title"])
    table.add_row(Text(run), Text(set_title), *cells)


def accuracy_table(results_of_runs: ResultsOfRuns) -> Table:
    """Return a table of each run's accuracy on each set of images, with confidence intervals."""
    number_columns = ("number", "accuracy", "95% interval", "flips")
    table = _empty_table("Accuracy", ("run", "images"), number_columns)
    for run, results in results_of_runs:
        low, high = results["interval"]
        cells = (
            f"{results['images']:,}",
            f"{results['accuracy']:.2%}",
            f"{100 * low:.2f}-{100 * high:.2f}",
            f"{results['accuracy_flip']:.2%}",
        )
        _add_row_of_run(table, run, results, *cells)
    return table


def metric_table(results_of_runs: ResultsOfRuns) -> Table:
    """Return a table of all metrics except accuracy and loss, which have their own tables."""
    metric_by_name: dict[str, Any] = {}
    for _, results in results_of_runs:
        for metric in results.get("metrics", []):
            if metric["name"] not in _METRICS_IN_OTHER_TABLES:
                metric_by_name[metric["name"]] = metric
    headings = [metric["title"] for metric in metric_by_name.values()]
    table = _empty_table("Other metrics", ("run", "images"), headings)
    for run, results in results_of_runs:
        value_by_name = {metric["name"]: metric["value"] for metric in results.get("metrics", [])}
        cells = []
        for name, metric in metric_by_name.items():
            value = value_by_name.get(name)
            cells.append("" if value is None else format_value(value, metric["unit"]))
        _add_row_of_run(table, run, results, *cells)
    return table


def calibration_table(results_of_runs: ResultsOfRuns) -> Table:
    """Return a table of loss and calibration error, before and after temperature scaling."""
    table = _empty_table("Calibration", ("run", "images"), ("loss", "ECE", "loss/T", "ECE/T"))
    for run, results in results_of_runs:
        cells = []
        before_scaling = results["plain"]
        after_scaling = results.get("tempered")
        for calibration in (before_scaling, after_scaling):
            if calibration:
                cells += [f"{calibration['loss']:.4f}", f"{calibration['ece']:.2%}"]
            else:
                cells += ["", ""]
        _add_row_of_run(table, run, results, *cells)
    return table


def _percent_or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def class_table(results_of_runs: ResultsOfRuns) -> Table:
    """Return a table of the accuracy on each class; of many classes, only the worst are shown."""
    columns = [results["class_accuracy"] for _, results in results_of_runs]
    classes = _distinct_names(columns)
    title = "Accuracy by class"
    if len(classes) > _MAX_SHOWN_CLASSES:
        title = f"{title}: the {_MAX_SHOWN_CLASSES} worst of {len(classes)}"
        classes = _classes_worst_first(classes, columns)[:_MAX_SHOWN_CLASSES]
    has_several_runs = len({run for run, _ in results_of_runs}) > 1
    headings = [
        f"{run}: {results['title']}" if has_several_runs else results["title"]
        for run, results in results_of_runs
    ]
    table = _empty_table(title, ("class",), headings)
    for class_name in classes:
        cells = [
            _percent_or_empty(accuracy_by_class.get(class_name)) for accuracy_by_class in columns
        ]
        table.add_row(Text(printable(class_name)), *cells)
    return table


def _classes_worst_first(
    classes: Sequence[str], columns: Sequence[Mapping[str, float]]
) -> list[str]:
    """Return classes in order of their accuracies, averaged over columns of (class -> accuracy)."""

    def mean_accuracy(class_name: str) -> float:
        accuracies = [accuracy_by_class.get(class_name, np.nan) for accuracy_by_class in columns]
        return float(np.mean(accuracies))

    return sorted(classes, key=mean_accuracy)


def _distinct_names(lists_of_names: Iterable[Iterable[str]]) -> list[str]:
    """Return the names in all lists, each once, in the order in which they first appear."""
    return list(dict.fromkeys(name for names in lists_of_names for name in names))


def mistake_table(results_by_run: Mapping[str, MistakeResults]) -> Table:
    """Return a table of the test accuracy that evaluation code with each common mistake measures.

    `results_by_run` has the test accuracy without a mistake and with each mistake.
    """
    image_count = min(results["images"] for results in results_by_run.values())
    title = f"Accuracy on {image_count:,} test images with a mistake in evaluating"
    table = _empty_table(title, ("mistake",), list(results_by_run))
    correct_cells = [f"{results['clean']:.2%}" for results in results_by_run.values()]
    table.add_row("none", *correct_cells, end_section=True)
    columns = [results["accuracy"] for results in results_by_run.values()]
    for mistake in _distinct_names(columns):
        cells = [
            _percent_or_empty(accuracy_by_mistake.get(mistake)) for accuracy_by_mistake in columns
        ]
        table.add_row(Text(printable(mistake)), *cells)
    return table
