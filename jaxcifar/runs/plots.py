"""Curves by epoch, by matplotlib, drawn without a screen; runs and reports share them.

A split has one colour wherever it is drawn: orange, dark blue and green, which the colour-blind
tell apart (after Okabe and Ito, https://jfly.uni-koeln.de/color/). The first two also differ in
lightness (L* 62 and 28), and in line and marker, for prints in grey.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jaxcifar.errors import printable

TEST = "#009e73"  # what is measured on test images
# By split: its name in the legend, and how it is drawn wherever it is drawn.
SPLITS = {
    "train": (
        "training (mean over the epoch)",
        {"color": "#e07b00", "linestyle": "--", "marker": "s"},
    ),
    "val": ("validation", {"color": "#00457c", "linestyle": "-", "marker": "o"}),
}
_MARKS = 12  # on a curve, about
_LETTERS_PER_INCH = 10  # of a title
_MOST_LETTERS, _MOST_LINES = 300, 4
_SHEET_WIDTH = 7.68  # inches
_PANEL_LETTERS = 12  # of a class's name above an image


def plot_curves(
    histories: Sequence[Sequence[Mapping[str, Any]]],
    chosen: Sequence[int],
    quantity: str,
    title: str,
    file: BinaryIO,
    size: tuple[float, float] = (7.0, 4.2),
) -> None:
    """Training and validation by epoch: the mean over runs, and the span between them.

    Args:
      histories: rows of `metrics.jsonl` of at least one run, all of the same length.
      chosen: the epoch of each run whose weights are kept, from 1; marked on its validation curve.
      quantity: "accuracy" or "loss".
      title: names network and data set.
      file: where the picture goes.
      size: width and height in inches.
    """
    figure, axes = figure_with_axes(*size, f"{quantity.capitalize()} by epoch: {title}")
    for split, (label, style) in SPLITS.items():
        key = f"{split}_{quantity}"
        if key not in histories[0][0]:  # trained on all images
            continue
        curves = np.asarray([[row[key] for row in rows] for rows in histories], np.float64)
        draw_mean(axes, curves, label, **style)
        if split == "val":
            draw_chosen(axes, curves, chosen, style["color"])
    axes.set(xlabel="epoch", ylabel=quantity)
    if quantity == "accuracy":
        in_percent(axes.yaxis)
    axes.legend(fontsize=9)
    figure.savefig(file)


def draw_chosen(axes: Axes, curves: np.ndarray, chosen: Sequence[int], color: str) -> None:
    """Mark on curves `[runs, epochs]` the epoch that each run chose, from 1."""
    where = "chosen epoch" if len(set(chosen)) > 1 else f"chosen epoch: {chosen[0]}"
    values = [curve[epoch - 1] for curve, epoch in zip(curves, chosen, strict=True)]
    style: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.8, "markersize": 9}
    axes.plot(chosen, values, "D", color=color, label=where, zorder=5, **style)


def in_percent(axis: Axis) -> None:
    """Write an axis of fractions as "80%", with digits after the point only where they differ."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}%"))


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


def draw_mean(axes: Axes, curves: np.ndarray, label: str, **style: Any) -> None:
    """The mean of curves `[runs, epochs]`, with a band from the lowest to the highest.

    Every epoch has a marker, of many epochs every few; a single epoch shows by it.
    """
    epochs = np.arange(1, curves.shape[1] + 1)
    every = -(-len(epochs) // _MARKS)
    style = {"markersize": 3.5, "markevery": every, **style}
    axes.plot(epochs, curves.mean(0), label=label, **style)
    if len(curves) > 1:
        color = style["color"]
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.15, lw=0)
    axes.set_xticks(epoch_ticks(round(axes.dataLim.xmax)))  # of the longest curve so far


def epoch_ticks(epochs: int, most: int = 8) -> list[int]:
    """The first epoch, the last and round ones between them, about `most` in all."""
    sizes = (size * 10**power for power in range(10) for size in (1, 2, 5))
    step = next(size for size in sizes if epochs <= size * most)
    between = [n for n in range(step, epochs, step) if n > 1 and epochs - n > step / 2]
    return sorted({1, *between, epochs})


def plot_mistakes(
    class_names: Sequence[str], mistakes: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """The wrong answers that a run was surest of, as images.

    Args:
      class_names: by label.
      mistakes: as in its `mistakes.npz`.
      title: names the data set.
      file: where the PNG goes.
    """
    names, columns = [shortened(name, _PANEL_LETTERS) for name in class_names], 4
    rows = max(1, -(-len(mistakes["image"]) // columns))
    figure = Figure(figsize=(_SHEET_WIDTH, 0.7 + 1.85 * rows), dpi=120, layout="constrained")
    figure.suptitle(shown(title), fontsize=11, parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, image, label, predicted, confidence in zip(
        panels, *(mistakes[k] for k in ("image", "label", "predicted", "confidence")), strict=False
    ):
        panel.imshow(image, interpolation="nearest")
        said = f"predicted {names[predicted]} {confidence:.2%}\ntrue {names[label]}"
        panel.set_title(said, fontsize=8, parse_math=False)
    figure.savefig(file, format="png")


def shortened(name: str, letters: int) -> str:
    """A name in a picture: of a long one the beginning and the end, which tell it from others."""
    name = printable(name)
    if len(name) <= letters:
        return name
    end = letters // 3
    return f"{name[: letters - end - 1].rstrip()}…{name[-end:].lstrip()}"
