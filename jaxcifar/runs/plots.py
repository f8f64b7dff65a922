"""Plots by matplotlib, for runs and reports: curves by epoch, and wrongly classified images.

Each split has one colour in all plots: orange, dark blue or green. Colour-blind people can
distinguish these colours (after Okabe and Ito, https://jfly.uni-koeln.de/color/). Training and
validation also differ in lightness (L* 62 and 28), line and marker, even in grey prints.
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
_MARKERS = 12  # approximate number of markers on a curve
_LETTERS_PER_INCH = 10  # in a title
_MAX_TITLE_LETTERS, _MAX_TITLE_LINES = 300, 4
_SHEET_WIDTH = 7.68  # inches
_PANEL_LETTERS = 12  # length of a class name above an image


def plot_curves(
    histories: Sequence[Sequence[Mapping[str, Any]]],
    chosen: Sequence[int],
    quantity: str,
    title: str,
    file: BinaryIO,
    size: tuple[float, float] = (7.0, 4.2),
) -> None:
    """Plot curves of training and validation: the mean of all runs, and a band for their range.

    Args:
      histories: for each run the rows of its `metrics.jsonl`.
      chosen: for each run the epoch, from 1, whose weights are kept; marked on the curve.
      quantity: "accuracy" or "loss".
      title: network and data set, for the plot's title.
      file: open file that the picture is written to.
      size: width and height in inches.
    """
    figure, axes = figure_with_axes(*size, f"{quantity.capitalize()} by epoch: {title}")
    for split, (label, style) in SPLITS.items():
        key = f"{split}_{quantity}"
        if key not in histories[0][0]:  # a run without validation images
            continue
        curves = stack_curves(histories, key)
        draw_mean(axes, curves, label, **style)
        if split == "val":
            draw_chosen_epochs(axes, curves, chosen, style["color"])
    axes.set(xlabel="epoch", ylabel=quantity)
    if quantity == "accuracy":
        format_as_percent(axes.yaxis)
    axes.legend(fontsize=9)
    figure.savefig(file)


def draw_chosen_epochs(axes: Axes, curves: np.ndarray, chosen: Sequence[int], color: str) -> None:
    """Mark on each curve `[runs, epochs]` the epoch, from 1, whose weights the run keeps."""
    label = "chosen epoch" if len(set(chosen)) > 1 else f"chosen epoch: {chosen[0]}"
    values = [curve[epoch - 1] for curve, epoch in zip(curves, chosen, strict=True)]
    style: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.8, "markersize": 9}
    axes.plot(chosen, values, "D", color=color, label=label, zorder=5, **style)


def format_as_percent(axis: Axis) -> None:
    """Label an axis of fractions in percent, such as "80%" or "97.5%"."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}%"))


def figure_with_axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches with a wrapped title, and the figure's axes.

    A "$" in the title is printed as "$", because names given by users are not formulas.
    """
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    letters = int(_LETTERS_PER_INCH * width)
    lines = [textwrap.fill(line, letters) for line in safe_title(title).splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    return figure, axes


def safe_title(title: str) -> str:
    """Return a title cut to 4 lines of 300 letters, in which all characters are printable."""
    lines = title.splitlines()[:_MAX_TITLE_LINES]
    return "\n".join(printable(line, _MAX_TITLE_LETTERS) for line in lines)


def draw_mean(axes: Axes, curves: np.ndarray, label: str, **style: Any) -> None:
    """Draw the mean of curves `[runs, epochs]`, with a band from lowest to highest value.

    Curves of runs that ended early have NaN at their end, which is left out.
    """
    epochs = np.arange(1, curves.shape[1] + 1)
    every = -(-len(epochs) // _MARKERS)  # rounded up
    style = {"markersize": 3.5, "markevery": every, **style}
    axes.plot(epochs, np.nanmean(curves, 0), label=label, **style)
    if len(curves) > 1:
        lowest, highest = np.nanmin(curves, 0), np.nanmax(curves, 0)
        axes.fill_between(epochs, lowest, highest, color=style["color"], alpha=0.15, lw=0)
    axes.set_xticks(epoch_ticks(round(axes.dataLim.xmax)))  # the longest curve so far


def epoch_ticks(epochs: int, most: int = 8) -> list[int]:
    """Return about `most` epochs as ticks of an axis: the first, the last and round numbers."""
    sizes = (size * 10**power for power in range(10) for size in (1, 2, 5))
    step = next(size for size in sizes if epochs <= size * most)
    between = [n for n in range(step, epochs, step) if n > 1 and epochs - n > step / 2]
    return sorted({1, *between, epochs})


def plot_mistakes(
    class_names: Sequence[str], mistakes: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """Draw wrongly classified images (`mistakes.npz`) as a PNG, with predicted and true class."""
    names = [shortened(name, _PANEL_LETTERS) for name in class_names]
    texts = [
        f"predicted {names[predicted]} {confidence:.2%}\ntrue {names[label]}"
        for predicted, confidence, label in zip(
            mistakes["predicted"], mistakes["confidence"], mistakes["label"], strict=True
        )
    ]
    _plot_sheet(mistakes["image"], texts, title, file)


def plot_label_errors(
    class_names: Sequence[str], errors: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """Draw images that may have a wrong label as a PNG, with their labels and predicted classes.

    `errors` has the arrays of `likely_label_errors`.
    """
    names = [shortened(name, _PANEL_LETTERS) for name in class_names]
    texts = [
        f"labelled {names[label]} {probability:.2%}\npredicted {names[predicted]} {confidence:.2%}"
        for label, probability, predicted, confidence in zip(
            errors["label"],
            errors["label_probability"],
            errors["predicted"],
            errors["confidence"],
            strict=True,
        )
    ]
    _plot_sheet(errors["image"], texts, title, file)


def _plot_sheet(
    images: np.ndarray, texts: Sequence[str], title: str, file: BinaryIO | Path
) -> None:
    """Draw images in rows of four as a PNG, each with a text above it."""
    columns = 4
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(_SHEET_WIDTH, 0.7 + 1.85 * rows), dpi=120, layout="constrained")
    figure.suptitle(safe_title(title), fontsize=11, parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, image, text in zip(panels, images, texts, strict=False):
        panel.imshow(image, interpolation="nearest")
        panel.set_title(text, fontsize=8, parse_math=False)
    figure.savefig(file, format="png")


def plot_training_images(
    class_names: Sequence[str], sample: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """Draw training images (`training_images.npz`) as a PNG: as stored, and augmented."""
    names = [shortened(name, _PANEL_LETTERS) for name in class_names]
    columns = max(1, len(sample["image"]))
    versions = [sample["image"], *np.moveaxis(sample["augmented"], 1, 0)]
    labels = ["as stored", *(f"augmented {number}" for number in range(1, len(versions)))]
    size = (_SHEET_WIDTH, 0.7 + 0.95 * len(versions))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    figure.suptitle(safe_title(title), fontsize=11, parse_math=False)
    grid = figure.subplots(len(versions), columns, squeeze=False)
    for row, (label, images) in enumerate(zip(labels, versions, strict=True)):
        grid[row, 0].set_ylabel(label, fontsize=8)
        for panel in grid[row]:
            panel.set(xticks=[], yticks=[])
            panel.set_frame_on(False)
        for panel, image in zip(grid[row], images, strict=False):
            panel.imshow(image, interpolation="nearest")
    for panel, label in zip(grid[0], sample["label"], strict=False):
        panel.set_title(names[label], fontsize=8, parse_math=False)
    figure.savefig(file, format="png")


def shortened(name: str, letters: int) -> str:
    """Return a name of at most `letters` letters; "…" replaces the middle of a long name."""
    name = printable(name)
    if len(name) <= letters:
        return name
    end = letters // 3
    return f"{name[: letters - end - 1].rstrip()}…{name[-end:].lstrip()}"
