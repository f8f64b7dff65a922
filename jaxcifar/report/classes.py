"""What a run gets wrong, class by class: readable for two classes and for a hundred."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.report.figures import WIDTH
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.report.wording import listed, percent, plain, quoted
from jaxcifar.runs.plots import TEST, figure_with_axes, in_percent, shortened
from jaxcifar.runs.result import only_answer

MANY = 20  # more classes than that get a table of the worst confusions, and not all a bar
_NAMED = 40  # more than that are numbered beside the matrix instead of named
_ENDS = 10  # so many worst and best classes get a bar where there are many
_PAIRS = 10  # lines of the table of confusions
_POINTS_PER_LETTER = 0.62  # width of a digit, by its font size


def plot_confusion(run: FinishedRun, title: str, path: Path) -> None:
    """The confusion matrix of a run on the test images; rows add up to the class's images.

    Counts stand in the cells where they fit, those of mistakes that never happen only in small
    matrices; names stand beside them for up to `_NAMED` classes.
    """
    matrix, classes = run.confusion, len(run.class_names)
    side = WIDTH if classes <= MANY else 1.4 * WIDTH
    figure, axes = figure_with_axes(side, 0.94 * side, title)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    cell = 0.7 * side * 72 / classes  # points
    size = min(9.0, 0.9 * cell / (_POINTS_PER_LETTER * len(str(matrix.max()))))
    if size >= 5:
        for (row, column), count in np.ndenumerate(matrix):
            if count == 0 and classes > MANY:
                continue
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, count, ha="center", va="center", color=color, fontsize=size)
    if classes <= _NAMED:
        names = [shortened(name, 18) for name in run.class_names]
        style: dict[str, Any] = {"fontsize": min(10.0, max(5.5, 0.8 * cell)), "parse_math": False}
        slant = 45 if classes <= MANY else 90
        axes.set_xticks(range(classes), names, rotation=slant, **style)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right" if slant == 45 else "center")
        axes.set_yticks(range(classes), names, **style)
    numbered = "" if classes <= _NAMED else ", by number from 0"
    axes.set(xlabel=f"predicted{numbered}", ylabel=f"true class{numbered}")
    axes.grid(False)
    figure.savefig(path)


def plot_per_class(run: FinishedRun, title: str, path: Path) -> None:
    """Test accuracy by class of a run, the worst at the bottom; of many, the worst and best."""
    accuracy, order = run.class_accuracy, ranked(run)
    if len(order) > MANY:
        left = len(order) - 2 * _ENDS
        title = f"{title}\nthe {_ENDS} worst and {_ENDS} best classes, {left} others between them"
    few = order if len(order) <= MANY else [*order[:_ENDS], *order[-_ENDS:]]
    figure, axes = figure_with_axes(WIDTH, 1.2 + 0.24 * len(few), title)
    gap = np.where(np.arange(len(few)) < _ENDS, 0, len(order) > MANY)
    bars = axes.barh(np.arange(len(few)) + gap, accuracy[few], color=TEST)
    axes.bar_label(bars, [percent(accuracy[i]) for i in few], padding=3, fontsize=9)
    names = [shortened(run.class_names[i], 24) for i in few]
    axes.set_yticks(np.arange(len(few)) + gap, names, parse_math=False)
    axes.set(xlim=(0, 1.18), xlabel="test accuracy")
    axes.set_xticks(np.linspace(0, 1, 6))
    in_percent(axes.xaxis)
    figure.savefig(path)


def ranked(run: FinishedRun) -> list[int]:
    """The labels of the classes that have test images, the worst first."""
    accuracy = run.class_accuracy
    return [int(i) for i in np.argsort(accuracy, kind="stable") if not np.isnan(accuracy[i])]


def mistakes_sentence(run: FinishedRun, name: str) -> str:
    """The hardest and the easiest class of the variation `name`, and what it confuses most."""
    names, accuracy = [plain(name) for name in run.class_names], run.class_accuracy
    of_what = f"Of {quoted(name)}, seed {run.config.seed}."
    if (answer := only_answer(run.confusion)) is not None:
        return (
            f"{of_what} It collapsed: it says {names[answer]} for every image, so no class is "
            "harder or easier than another, and the figures by class say nothing."
        )
    order = ranked(run)
    least, most = (accuracy[order[end]] for end in (0, -1))
    if least == most:
        return f"{of_what} All classes are equally hard ({percent(least)} right)."
    hardest, easiest = (
        listed(names[i] for i in order if accuracy[i] == value) for value in (least, most)
    )
    return (
        f"{of_what} The hardest class is {hardest} ({percent(least)} right), the easiest "
        f"{easiest} ({percent(most)}). {_confusion_sentence(run.confusion, names)}"
    )


def _confusion_sentence(matrix: np.ndarray, names: list[str]) -> str:
    """The most frequent confusion of two classes, both ways."""
    both = np.triu(matrix + matrix.T, 1)
    first, second = np.unravel_index(both.argmax(), both.shape)
    wrong = matrix.sum() - np.trace(matrix)
    if not wrong:
        return "It makes no mistake."
    return (
        f"It mistakes {names[first]} and {names[second]} for each other most often: "
        f"{both.max():,} of its {wrong:,} mistakes."
    )


def worst_confusions(run: FinishedRun) -> list[dict[str, str]]:
    """The cells of a table of the most frequent mistakes; none where the matrix shows them."""
    matrix, names = run.confusion, [plain(name) for name in run.class_names]
    if len(names) <= MANY:
        return []
    wrong = matrix - np.diag(np.diag(matrix))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = zip(*np.unravel_index(worst, wrong.shape), strict=True)
    return [
        {
            "true": names[row],
            "predicted": names[column],
            "count": f"{wrong[row, column]:,} of {matrix[row].sum():,}",
        }
        for row, column in pairs
        if wrong[row, column]
    ]
