"""Pictures, sentences and a table about the test images that a run classifies wrongly."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxcifar.report.figures import WIDTH
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.report.wording import escape_markdown, join_names, percent, quoted_name
from jaxcifar.runs.plots import TEST, figure_with_axes, format_as_percent, shortened
from jaxcifar.training.metrics import only_predicted_class

MANY_CLASSES = 20  # with more classes, pictures are simpler and confusions get a table
_MAX_NAMED_CLASSES = 40  # with more classes, the matrix shows class numbers instead of names
_CLASSES_AT_EACH_END = 10  # number of worst classes and of best classes drawn
_MAX_CONFUSIONS = 10  # lines of the table of confusions
_MATRIX_SHARE_OF_WIDTH = 0.7  # of the picture; names and the title take the rest
_HEIGHT_TO_WIDTH = 0.94  # of the picture
_POINTS_PER_INCH = 72
_DIGIT_WIDTH = 0.62  # as a fraction of the font size
_LEAST_FONT_SIZE = 5  # points; smaller counts can't be read
_MAX_COUNT_FONT_SIZE, _MAX_NAME_FONT_SIZE = 9.0, 10.0  # points, also in large cells


def plot_confusion(run: FinishedRun, title: str, path: Path) -> None:
    """Draw a run's confusion matrix into the picture file `path`.

    The colour of a cell shows its share of the test images of the true class. Each cell contains
    its count if the counts fit. With more than `MANY_CLASSES` classes, counts of 0 are left out.
    """
    matrix, class_count = run.confusion, len(run.class_names)
    figure_width = 1.4 * WIDTH if class_count > MANY_CLASSES else WIDTH
    figure, axes = figure_with_axes(figure_width, _HEIGHT_TO_WIDTH * figure_width, title)
    images_of_class = matrix.sum(1, keepdims=True)
    shares = matrix / np.maximum(images_of_class, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    cell_width = _MATRIX_SHARE_OF_WIDTH * figure_width * _POINTS_PER_INCH / class_count
    count_font_size = _font_size_of_counts(matrix, cell_width)
    if count_font_size >= _LEAST_FONT_SIZE:
        _write_counts(axes, matrix, shares, count_font_size)
    if class_count <= _MAX_NAMED_CLASSES:
        name_font_size = min(_MAX_NAME_FONT_SIZE, max(5.5, 0.8 * cell_width))
        _label_classes(axes, run.class_names, name_font_size)
        axes.set(xlabel="predicted", ylabel="true class")
    else:
        axes.set(xlabel="predicted, by number from 0", ylabel="true class, by number from 0")
    axes.grid(False)
    figure.savefig(path)


def _font_size_of_counts(matrix: np.ndarray, cell_width: float) -> float:
    """Return the font size in which the largest count of a confusion matrix fits into a cell.

    The font size and `cell_width` are in points.
    """
    digits = len(str(matrix.max()))
    room_for_text = 0.9 * cell_width
    return min(_MAX_COUNT_FONT_SIZE, room_for_text / (_DIGIT_WIDTH * digits))


def _write_counts(axes: Axes, matrix: np.ndarray, shares: np.ndarray, font_size: float) -> None:
    """Write the counts of a confusion matrix into its cells, in a font size of `font_size` points.

    `shares`, from 0 to 1, are the cells' colours: light text is written on dark cells.
    """
    has_many_classes = len(matrix) > MANY_CLASSES
    for (row, column), count in np.ndenumerate(matrix):
        if count == 0 and has_many_classes:
            continue
        cell_is_dark = shares[row, column] > 0.5
        color = "white" if cell_is_dark else "black"
        center: dict[str, Any] = {"ha": "center", "va": "center"}
        text = axes.text(column, row, count, color=color, fontsize=font_size, **center)
        text.set_in_layout(False)  # measuring each text takes long, and all are inside the axes


def _label_classes(axes: Axes, class_names: list[str], font_size: float) -> None:
    """Write the class names along both axes of a confusion matrix; `font_size` is in points."""
    class_count = len(class_names)
    has_many_classes = class_count > MANY_CLASSES
    names = [shortened(name, 18) for name in class_names]
    style: dict[str, Any] = {"fontsize": font_size, "parse_math": False}
    axes.set_xticks(range(class_count), names, rotation=90 if has_many_classes else 45, **style)
    for tick_label in axes.get_xticklabels():
        tick_label.set_horizontalalignment("center" if has_many_classes else "right")
    axes.set_yticks(range(class_count), names, **style)


def plot_per_class(run: FinishedRun, title: str, path: Path) -> None:
    """Draw a bar chart of the test accuracy of each class into the picture file `path`.

    The worst class is at the bottom. With more than `MANY_CLASSES` classes, only the worst and the
    best classes are drawn.
    """
    accuracy = run.class_accuracy
    worst_first = classes_by_accuracy(run)
    has_many_classes = len(worst_first) > MANY_CLASSES
    shown_classes = worst_first
    if has_many_classes:
        count = _CLASSES_AT_EACH_END
        shown_classes = [*worst_first[:count], *worst_first[-count:]]
        other_count = len(worst_first) - len(shown_classes)
        title += f"\nthe {count} worst and {count} best classes, {other_count} others between them"
    bar_positions = np.arange(len(shown_classes), dtype=float)
    if has_many_classes:
        gap_between_worst_and_best = 1
        bar_positions[_CLASSES_AT_EACH_END:] += gap_between_worst_and_best
    figure, axes = figure_with_axes(WIDTH, 1.2 + 0.24 * len(shown_classes), title)
    bars = axes.barh(bar_positions, accuracy[shown_classes], color=TEST)
    percentages = [percent(accuracy[label]) for label in shown_classes]
    axes.bar_label(bars, percentages, padding=3, fontsize=9)
    names = [shortened(run.class_names[label], 24) for label in shown_classes]
    axes.set_yticks(bar_positions, names, parse_math=False)
    axes.set(xlim=(0, 1.18), xlabel="test accuracy")
    axes.set_xticks(np.linspace(0, 1, 6))
    format_as_percent(axes.xaxis)
    figure.savefig(path)


def classes_by_accuracy(run: FinishedRun) -> list[int]:
    """Return the labels of the classes that have test images, lowest test accuracy first."""
    accuracy = run.class_accuracy
    labels = np.argsort(accuracy, kind="stable")
    return [int(label) for label in labels if not np.isnan(accuracy[label])]


def hardest_and_easiest_class_text(run: FinishedRun, variation_name: str) -> str:
    """Return sentences on a run's hardest and easiest class and its most frequent confusion."""
    names = [escape_markdown(name) for name in run.class_names]
    accuracy = run.class_accuracy
    subject = f"Of {quoted_name(variation_name)}, {run.label}."
    only_class = only_predicted_class(run.confusion)
    if only_class is not None:
        return (
            f"{subject} It collapsed: it says {names[only_class]} for every image, so no class is "
            "harder or easier than another, and the figures by class say nothing."
        )
    labels = classes_by_accuracy(run)
    lowest, highest = accuracy[labels[0]], accuracy[labels[-1]]
    if lowest == highest:
        return f"{subject} All classes are equally hard ({percent(lowest)} right)."
    hardest = join_names(names[label] for label in labels if accuracy[label] == lowest)
    easiest = join_names(names[label] for label in labels if accuracy[label] == highest)
    return (
        f"{subject} The hardest class is {hardest} ({percent(lowest)} right), the easiest "
        f"{easiest} ({percent(highest)}). {_confusion_sentence(run.confusion, names)}"
    )


def _confusion_sentence(matrix: np.ndarray, names: list[str]) -> str:
    """Return a sentence on the two classes that the network most often mistakes for each other.

    `matrix` is the confusion matrix, and `names` are the names of the classes.
    """
    mistake_count = matrix.sum() - np.trace(matrix)
    if not mistake_count:
        return "It makes no mistake."
    pair_counts = np.triu(matrix + matrix.T, 1)  # mistakes in either direction
    first, second = np.unravel_index(pair_counts.argmax(), pair_counts.shape)
    return (
        f"It mistakes {names[first]} and {names[second]} for each other most often: "
        f"{pair_counts.max():,} of its {mistake_count:,} mistakes."
    )


def most_frequent_confusions(run: FinishedRun) -> list[dict[str, str]]:
    """Return table rows of the most frequent wrong pairs of true and predicted class.

    The list is empty for at most `MANY_CLASSES` classes: the confusion matrix then shows all
    counts.

    Returns:
      rows with the keys "true", "predicted" and "count", most frequent mistake first.
    """
    names = [escape_markdown(name) for name in run.class_names]
    if len(names) <= MANY_CLASSES:
        return []
    image_counts = run.confusion.sum(1)
    mistake_counts = run.confusion.copy()
    np.fill_diagonal(mistake_counts, 0)  # the diagonal has the correct predictions
    cells_by_count = np.argsort(-mistake_counts, axis=None, kind="stable")  # highest count first
    table_rows = []
    for cell in cells_by_count[:_MAX_CONFUSIONS]:
        label, predicted_label = np.unravel_index(cell, mistake_counts.shape)
        count = mistake_counts[label, predicted_label]
        if count > 0:
            row = {
                "true": names[label],
                "predicted": names[predicted_label],
                "count": f"{count:,} of {image_counts[label]:,}",
            }
            table_rows.append(row)
    return table_rows
