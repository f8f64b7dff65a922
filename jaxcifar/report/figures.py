"""The report's pictures of many rows; each names its data set, and none shows a time."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from jaxcifar.report.pictures import Draw
from jaxcifar.report.records import RunRecord, Variation
from jaxcifar.report.wording import shortened
from jaxcifar.runs.plots import draw_mean, figure_with_axes, plot_curves

WIDTH = 6.4  # inches: text stays readable when a phone scales the picture to its width
_HALF = (4.6, 3.0)  # of a picture that stands beside another
OURS, _THEIRS = "#0072b2", "#999999"
# Okabe and Ito's colours without the yellow, which is faint on white; with lines in turn, 28 rows
# look different.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LINES, _MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v")


def draw_curves(
    draw: Draw, runs: Sequence[RunRecord], title: str, prefix: str = ""
) -> dict[str, str]:
    """Draw accuracy and loss of runs that differ in seed, to stand side by side.

    Returns:
      "accuracy" and "loss" -> path of the picture, named `prefix` and that.
    """
    plot = functools.partial(plot_curves, size=_HALF)
    histories = [run.history for run in runs]
    return {
        quantity: draw(f"{prefix}{quantity}", plot, histories, quantity, title)
        for quantity in ("accuracy", "loss")
    }


def plot_all_validation(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Validation accuracy of all variations by epoch, the best at the top of the legend."""
    figure, axes = figure_with_axes(WIDTH, 4.6 + 0.1 * len(variations), title)
    styles = {
        v.name: {
            "color": COLORS[row % len(COLORS)],
            "linestyle": _LINES[row % len(_LINES)],
            "marker": _MARKERS[row % len(_MARKERS)],
        }
        for row, v in enumerate(variations)
    }
    for variation in sorted(variations, key=lambda v: -v.curve("val_accuracy").mean(0)[-1]):
        curve = variation.curve("val_accuracy")
        label = f"{variation.name}  {curve.mean(0)[-1]:.1%}"
        draw_mean(axes, curve, label, **styles[variation.name])
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside lower center", ncols=2, title="after the last epoch", fontsize=9)
    figure.savefig(path)


def plot_bars(variations: Sequence[Variation], reference: str, title: str, path: Path) -> None:
    """Test accuracy of each variation, a dot a seed, beside its reference.

    Args:
      variations: from top to bottom.
      reference: what the references are called.
      title: names the data set.
      path: of the PNG.
    """
    figure, axes = figure_with_axes(WIDTH, 1.4 + 0.5 * len(variations), title)
    rows = np.arange(len(variations))
    means = [v.values("test_accuracy").mean() for v in variations]
    axes.barh(rows - 0.2, means, 0.38, color=OURS, label="ours")
    theirs = [np.mean(v.reference) if v.reference else 0 for v in variations]
    if any(theirs):
        axes.barh(rows + 0.2, theirs, 0.38, color=_THEIRS, label=shortened(reference, 60))
    for row, variation in zip(rows, variations, strict=True):
        if len(variation.runs) > 1:
            values = variation.values("test_accuracy")
            axes.plot(values, np.full(len(values), row - 0.2), "k|", markersize=7)
        for offset, value in ((-0.2, means[row]), (0.2, theirs[row])):
            if value:
                axes.text(value + 0.01, row + offset, f"{value:.1%}", va="center", fontsize=9)
    axes.set(xlim=(0, 1.12), xlabel="test accuracy")
    axes.set_yticks(rows, [v.name for v in variations])
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.invert_yaxis()
    legend = figure.legend(loc="outside lower center", ncols=2)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path)
