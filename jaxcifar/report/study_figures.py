"""Pictures of all rows of a study: test accuracies, and curves of validation accuracy."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.report.figures import COLORS, PANEL_COLUMNS, WIDTH, add_legend
from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import Sample
from jaxcifar.report.wording import percent
from jaxcifar.runs.plots import (
    SPLITS,
    TEST,
    draw_mean,
    figure_with_axes,
    format_as_percent,
    safe_title,
    shortened,
)

MANY_ROWS = len(COLORS)  # a study with more rows has simpler pictures
ROWS_ON_A_PAGE = 40
_COLORED_ROWS = 10  # of many rows, the best ones are coloured
_OTHER_COLOR = "#b8b8b8"
_REFERENCE_COLOR = "#777777"
_LINES, _MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v")
_FRAME: dict[str, Any] = {"color": "#bbbbbb", "lw": 0.6}
_OUTLIER = 3.0  # rows this many times the span of the middle rows below them are outside the axis
_LEAST_SPAN = 0.004  # of the axis, as a fraction


def plot_all_validation(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Draw the validation accuracy of each variation by epoch; the best is first in the legend.

    Each line has a colour of its own. Of more than `MANY_ROWS` variations, only the best are
    coloured.
    """
    title = f"Validation accuracy by epoch: all {len(variations)} rows\n{title}"
    best_first = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    colored = list(variations)
    if len(variations) > MANY_ROWS:
        colored = best_first[:_COLORED_ROWS]
    style_numbers = {id(variation): number for number, variation in enumerate(colored)}
    figure, axes = figure_with_axes(WIDTH, 4.6 + 0.1 * len(colored), title)
    others = [variation for variation in best_first if id(variation) not in style_numbers]
    for variation in others:
        label = f"the other {len(others)} rows" if variation is others[0] else ""
        curve = np.nanmean(variation.curve("val_accuracy"), 0, keepdims=True)
        draw_mean(axes, curve, label, color=_OTHER_COLOR, linewidth=0.8)
    for variation in best_first:
        if id(variation) in style_numbers:
            style = _style(style_numbers[id(variation)])
            draw_mean(axes, variation.curve("val_accuracy"), _label(variation), **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    format_as_percent(axes.yaxis)
    add_legend(figure, font_size=9, title="of the chosen epoch")
    figure.savefig(path)


def _style(number: int) -> dict[str, Any]:
    """Return the colour, line and marker of a curve with a number from 0.

    Curves with numbers below `MANY_ROWS` differ in colour.
    """
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": _LINES[number % len(_LINES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def _label(variation: Variation) -> str:
    """Return a variation's name, shortened, and its mean validation accuracy."""
    return f"{shortened(variation.name, 40)}  {_percent_of(variation, 'val_accuracy')}"


def _percent_of(variation: Variation, key: str) -> str:
    return percent(float(variation.values(key).mean()))


def plot_row_panels(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Draw the training and validation accuracy of each variation by epoch, in small panels.

    There may be up to `ROWS_ON_A_PAGE` variations. All panels have the same range. They are parts
    of one pair of axes, because matplotlib takes seconds for many pairs of axes.
    """
    rows = math.ceil(len(variations) / PANEL_COLUMNS)
    height = 0.8 + 1.05 * rows
    figure = Figure(figsize=(1.4 * WIDTH, height), dpi=120)
    figure.suptitle(safe_title(title), fontsize=10, parse_math=False, y=1 - 0.1 / height, va="top")
    axes = figure.add_axes((0.01, 0.05 / height, 0.98, 1 - 0.6 / height))
    axes.set_axis_off()
    axes.set(xlim=(0, PANEL_COLUMNS), ylim=(rows, 0))
    curve_pairs = []  # of training and of validation
    for variation in variations:
        pair = [np.nanmean(variation.curve(f"{split}_accuracy"), 0) for split in SPLITS]
        curve_pairs.append(pair)
    all_curves = list(itertools.chain(*curve_pairs))
    lowest = min(float(curve.min()) for curve in all_curves)
    highest = max(float(curve.max()) for curve in all_curves)
    epochs = max(map(len, all_curves))
    for number, (variation, pair) in enumerate(zip(variations, curve_pairs, strict=True)):
        row, column = divmod(number, PANEL_COLUMNS)
        panel = _Panel(column, row, epochs, lowest, highest)
        panel.draw(axes, pair, variation)
    figure.savefig(path)


class _Panel(NamedTuple):
    """A part of a pair of axes, one unit wide and high, with its own scale of epochs and accuracy.

    Attributes:
      left: the panel's left end.
      top: the panel's upper end; the axis points downward.
      epochs: the last epoch of the scale.
      lowest: the lower end of the scale of accuracy.
      highest: the upper end of the scale of accuracy.
    """

    left: float
    top: float
    epochs: int
    lowest: float
    highest: float

    def draw(self, axes: Axes, curves: Sequence[np.ndarray], variation: Variation) -> None:
        """Draw a frame with its scale, the training curve, the validation curve, and a title.

        `curves` has the accuracies of training and of validation, by epoch.
        """
        left, right = self._x(1), self._x(self.epochs)
        bottom, top = self._y(self.lowest), self._y(self.highest)
        axes.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], **_FRAME)
        for (_, style), curve in zip(SPLITS.values(), curves, strict=True):
            line: dict[str, Any] = {name: style[name] for name in ("color", "linestyle")}
            axes.plot(self._x(np.arange(1, len(curve) + 1)), self._y(curve), lw=1.0, **line)
        name = f"{shortened(variation.name, 20)}  {_percent_of(variation, 'val_accuracy')}"
        text: dict[str, Any] = {"fontsize": 7, "parse_math": False}
        axes.text((left + right) / 2, top - 0.04, name, ha="center", va="bottom", **text)
        text |= {"fontsize": 6, "color": "#555555"}
        axes.text(left - 0.01, top, f"{self.highest:.0%}", ha="right", va="top", **text)
        axes.text(left - 0.01, bottom, f"{self.lowest:.0%}", ha="right", va="bottom", **text)
        axes.text(right, bottom + 0.02, f"epoch {self.epochs}", ha="right", va="top", **text)

    def _x(self, epoch: Any) -> Any:
        return self.left + 0.14 + 0.84 * (epoch - 1) / max(self.epochs - 1, 1)

    def _y(self, accuracy: Any) -> Any:
        span = max(self.highest - self.lowest, _LEAST_SPAN)
        return self.top + 0.85 - 0.65 * (accuracy - self.lowest) / span


def plot_test_accuracies(
    variations: Sequence[Variation], reference: str, title: str, path: Path
) -> None:
    """Draw each variation's mean test accuracy as a dot, with its 95% interval and its seeds.

    The axis shows the range of most accuracies. An accuracy outside of this range is an arrow at
    the edge of the axis. The label of each variation has its accuracy. `reference` is the name of
    the source of reference accuracies, for the legend.
    """
    title = f"Test accuracy of all rows, each of its chosen epoch\n{title}"
    row_height = 0.3 if len(variations) <= MANY_ROWS else 0.18
    figure, axes = figure_with_axes(WIDTH, 1.7 + row_height * len(variations), title)
    limits = _axis_limits([Sample.of(v, "test_accuracy") for v in variations])
    for row, variation in enumerate(variations):
        sample = Sample.of(variation, "test_accuracy")
        axes.plot(sample.interval, [row, row], color=TEST, lw=2, alpha=0.6, zorder=2)
        count = len(sample.values)
        if count > 1:
            axes.plot(sample.values, [row] * count, "k|", markersize=7, zorder=3)
        _draw_dot(axes, sample.mean, row, limits, {"color": TEST, "marker": "o", "markersize": 7})
        if variation.reference:
            style = {"color": _REFERENCE_COLOR, "marker": "D", "markersize": 5}
            style["markerfacecolor"] = "none"
            _draw_dot(axes, float(np.mean(variation.reference)), row, limits, style)
    axes.set(xlim=limits, xlabel="test accuracy", ylim=(len(variations) - 0.4, -0.6))
    names = [f"{shortened(v.name, 24)}  {_percent_of(v, 'test_accuracy')}" for v in variations]
    font_size = 9 if len(variations) <= MANY_ROWS else 7.5
    axes.set_yticks(range(len(variations)), names, fontsize=font_size, parse_math=False)
    format_as_percent(axes.xaxis)
    _add_marker_legend(figure, axes, variations, reference)
    figure.savefig(path)


def _axis_limits(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the lowest and the highest accuracy of an axis for samples of accuracies.

    The axis shows all accuracies except samples that are far below the others. It also shows their
    confidence intervals, up to the width of the range on each side.
    """
    means = [sample.mean for sample in samples]
    low_quartile, high_quartile = np.quantile(means, [0.25, 0.75])
    least_mean = low_quartile - _OUTLIER * max(high_quartile - low_quartile, _LEAST_SPAN)
    shown = [sample for sample in samples if sample.mean >= least_mean]
    values = [value for sample in shown for value in sample.values]
    lowest, highest = min(values), max(values)
    span = max(highest - lowest, _LEAST_SPAN)
    interval_low = max(min(sample.interval[0] for sample in shown), lowest - span)
    interval_high = min(max(sample.interval[1] for sample in shown), highest + span)
    margin = 0.08 * span
    low_end = max(0.0, min(lowest, interval_low) - margin)
    high_end = min(1.0 + margin, max(highest, interval_high) + margin)
    return low_end, high_end


def _draw_dot(
    axes: Axes, value: float, row: int, limits: tuple[float, float], style: dict[str, Any]
) -> None:
    """Draw a dot at an accuracy, or an arrow at the edge of the axis if it is outside of the axis.

    Args:
      axes: the axes.
      value: the accuracy.
      row: the vertical position.
      limits: the lowest and the highest accuracy on the axis.
      style: matplotlib's settings for the dot.
    """
    low, high = limits
    if value < low:
        style = {**style, "marker": "<"}
    elif value > high:
        style = {**style, "marker": ">"}
    position = min(max(value, low), high)
    axes.plot([position], [row], linestyle="none", clip_on=False, zorder=4, **style)


def _add_marker_legend(
    figure: Figure, axes: Axes, variations: Sequence[Variation], reference: str
) -> None:
    """Add a legend that explains the markers of means, seeds or folds, and reference accuracies.

    `reference` is the name of the source of the reference accuracies.
    """
    nothing: list[float] = []
    axes.plot(nothing, nothing, "o-", color=TEST, lw=2, label="mean, with its 95% interval")
    if any(len(v.runs) > 1 for v in variations):
        label = "one fold" if any(len(v.folds) > 1 for v in variations) else "one seed"
        axes.plot(nothing, nothing, "k|", markersize=7, label=label)
    if any(v.reference for v in variations):
        style: dict[str, Any] = {"color": _REFERENCE_COLOR, "markerfacecolor": "none"}
        label = f"reference: {shortened(reference, 50)}"
        axes.plot(nothing, nothing, "D", markersize=5, label=label, **style)
    add_legend(figure, font_size=9)
