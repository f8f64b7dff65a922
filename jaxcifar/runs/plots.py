"""Plots by matplotlib, for runs and reports: curves by epoch, and what all plots share.

Each split has one colour in all plots: orange, dark blue or green. Colour-blind people can
distinguish these colours (after Okabe and Ito, https://jfly.uni-koeln.de/color/). Training and
validation also differ in lightness (L* 62 and 28), line and marker, even in grey prints.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jaxcifar.errors import printable
from jaxcifar.runs.curves import stack_curves

TEST = "#009e73"  # colour of results on test images
# Split -> name in the legend, and matplotlib's style of the curves.
SPLITS = {
    "train": (
        "training (mean over the epoch)",
        {"color": "#e07b00", "linestyle": "--", "marker": "s"},
    ),
    "val": ("validation", {"color": "#00457c", "linestyle": "-", "marker": "o"}),
}
_MARKERS_PER_CURVE = 12  # approximate number of markers on a curve
_LETTERS_PER_INCH = 10  # in a title
_MAX_TITLE_LETTERS, _MAX_TITLE_LINES = 300, 4


def plot_curves(
    histories: Sequence[Sequence[Mapping[str, Any]]],
    chosen_epochs: Sequence[int],
    quantity: str,
    title: str,
    file: BinaryIO,
    size: tuple[float, float] = (7.0, 4.2),
) -> None:
    """Plot a metric on training and validation images by epoch, and write the picture to a file.

    A curve is the mean of all runs, with a band from the lowest to the highest run.

    Args:
      histories: for each run the rows of its `metrics.jsonl`.
      chosen_epochs: for each run the epoch, from 1, whose weights are kept; it is marked.
      quantity: "accuracy" or "loss".
      title: network and data set, for the plot's title.
      file: open file that the picture is written to.
      size: width and height in inches.
    """
    figure, axes = figure_with_axes(*size, f"{quantity.capitalize()} by epoch: {title}")
    for split, (label, style) in SPLITS.items():
        field = f"{split}_{quantity}"
        if field not in histories[0][0]:  # a run without validation images
            continue
        curves = stack_curves(histories, field)
        draw_mean(axes, curves, label, **style)
        if split == "val":
            draw_chosen_epochs(axes, curves, chosen_epochs, style["color"])
    axes.set(xlabel="epoch", ylabel=quantity)
    if quantity == "accuracy":
        format_as_percent(axes.yaxis)
    axes.legend(fontsize=9)
    figure.savefig(file)


def draw_chosen_epochs(
    axes: Axes, curves: np.ndarray, chosen_epochs: Sequence[int], color: str
) -> None:
    """Mark on each run's curve the epoch whose weights the run keeps.

    Args:
      axes: the axes with the curves.
      curves: the metric's values, `[runs, epochs]`.
      chosen_epochs: for each run the epoch, from 1.
      color: the colour of the marks.
    """
    label = "chosen epoch" if len(set(chosen_epochs)) > 1 else f"chosen epoch: {chosen_epochs[0]}"
    values = [curve[epoch - 1] for curve, epoch in zip(curves, chosen_epochs, strict=True)]
    style: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.8, "markersize": 9}
    axes.plot(chosen_epochs, values, "D", color=color, label=label, zorder=5, **style)


def format_as_percent(axis: Axis) -> None:
    """Label an axis of fractions in percent, such as "80%" or "97.5%"."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}%"))


def figure_with_axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """Return a new figure with a title, and the figure's axes; `width` and `height` are in inches.

    A "$" in the title is printed as it is: users' names are not formulas.
    """
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    letters_in_line = int(_LETTERS_PER_INCH * width)
    lines = [textwrap.fill(line, letters_in_line) for line in safe_title(title).splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    return figure, axes


def safe_title(title: str) -> str:
    """Return a title cut to 4 lines of 300 characters, without unprintable characters."""
    lines = title.splitlines()[:_MAX_TITLE_LINES]
    return "\n".join(printable(line, _MAX_TITLE_LETTERS) for line in lines)


def draw_mean(axes: Axes, curves: np.ndarray, label: str, **style: Any) -> None:
    """Draw the mean of curves `[runs, epochs]`, with a band from lowest to highest value.

    Curves of runs that ended early have NaN at their end, which is left out. `label` is the curve's
    name in the legend, and `style` has arguments of matplotlib's `plot`.
    """
    epochs = np.arange(1, curves.shape[1] + 1)
    epochs_between_markers = math.ceil(len(epochs) / _MARKERS_PER_CURVE)
    style = {"markersize": 3.5, "markevery": epochs_between_markers, **style}
    axes.plot(epochs, np.nanmean(curves, 0), label=label, **style)
    if len(curves) > 1:
        lowest, highest = np.nanmin(curves, 0), np.nanmax(curves, 0)
        axes.fill_between(epochs, lowest, highest, color=style["color"], alpha=0.15, lw=0)
    last_epoch = round(axes.dataLim.xmax)  # of the longest curve that was drawn
    axes.set_xticks(epoch_ticks(last_epoch))


def epoch_ticks(epochs: int, max_ticks: int = 8) -> list[int]:
    """Return the first, the last and round epochs, about `max_ticks` of them, for an axis."""
    round_steps = [digit * 10**power for power in range(10) for digit in (1, 2, 5)]
    step = min(round_step for round_step in round_steps if epochs <= round_step * max_ticks)
    round_epochs = range(step, epochs, step)
    ticks_between = [epoch for epoch in round_epochs if epoch > 1 and epochs - epoch > step / 2]
    return sorted({1, *ticks_between, epochs})


def shortened(name: str, max_letters: int) -> str:
    """Return a name of at most `max_letters` characters; "…" replaces the middle of a long name."""
    name = printable(name)
    if len(name) <= max_letters:
        return name
    letters_at_end = max_letters // 3
    letters_at_start = max_letters - letters_at_end - 1
    return f"{name[:letters_at_start].rstrip()}…{name[-letters_at_end:].lstrip()}"
