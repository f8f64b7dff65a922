"""Curves by epoch, by matplotlib, drawn without a screen; runs and reports share them.

The colours are of Okabe and Ito's palette, which the colour-blind tell apart
(https://jfly.uni-koeln.de/color/); line and marker differ as well, for prints in grey.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxcifar.errors import printable
from jaxcifar.runs.saved import Row

# By split: its name in the legend, and how it is drawn wherever it is drawn.
SPLITS = {
    "train": (
        "training (mean over the epoch)",
        {"color": "#d55e00", "linestyle": "--", "marker": "s"},
    ),
    "val": ("validation", {"color": "#0072b2", "linestyle": "-", "marker": "o"}),
}
_MARKED = 25  # with more epochs than that, markers would run into each other
_LETTERS_PER_INCH = 10  # of a title
_MOST_LETTERS, _MOST_LINES = 300, 4


def plot_curves(
    histories: Sequence[Sequence[Row]],
    quantity: str,
    title: str,
    file: BinaryIO,
    size: tuple[float, float] = (7.0, 4.2),
) -> None:
    """Training and validation by epoch: the mean over runs, and the span between them.

    Args:
      histories: rows of `metrics.jsonl` of at least one run, all of the same length.
      quantity: "accuracy" or "loss".
      title: names network and data set.
      file: where the PNG goes.
      size: width and height in inches.
    """
    figure, axes = figure_with_axes(*size, title)
    for split, (label, style) in SPLITS.items():
        key = f"{split}_{quantity}"
        if key not in histories[0][0]:  # trained on all images
            continue
        curves = np.asarray([[row[key] for row in rows] for rows in histories], np.float64)
        draw_mean(axes, curves, label, **style)
    axes.set(xlabel="epoch", ylabel=quantity)
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend()
    figure.savefig(file)


def figure_with_axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """An empty picture of so many inches, its title broken into lines that fit.

    A "$" in the title is a "$": what users name is no formula.
    """
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    letters = int(_LETTERS_PER_INCH * width)
    lines = [textwrap.fill(line, letters) for line in shown(title).splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    return figure, axes


def shown(title: str) -> str:
    """A title whose lines have only what a font has, and not too much of it."""
    return "\n".join(printable(line, _MOST_LETTERS) for line in title.splitlines()[:_MOST_LINES])


def draw_mean(axes: Axes, curves: np.ndarray, label: str, marker: str, **style: Any) -> None:
    """The mean of curves `[runs, epochs]`, with a band from the lowest to the highest."""
    epochs = np.arange(1, curves.shape[1] + 1)
    shown = marker if len(epochs) < _MARKED else None  # a single epoch must show, too
    axes.plot(epochs, curves.mean(0), label=label, marker=shown, markersize=3.5, **style)
    if len(curves) > 1:
        color = style["color"]
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.15, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
