"""Pictures with a small panel of learning curves for each row of a study."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.report.figures import PANEL_COLUMNS, WIDTH
from jaxcifar.report.run_records import Variation
from jaxcifar.report.study_figures import LEAST_SPAN, mean_percent
from jaxcifar.runs.plots import (
    SPLITS,
    safe_title,
    shortened,
)

ROWS_ON_A_PICTURE = 40
_PANEL_HEIGHT = 1.05  # in inches
_HEIGHT_WITHOUT_PANELS = 0.8  # of the figure, in inches
_HEIGHT_OUTSIDE_AXES = 0.6  # of the figure's title and bottom margin, in inches
_BOTTOM_MARGIN = 0.05  # in inches
# The curves of a panel that is one unit wide and high; names and scale take the rest.
_CURVES_LEFT, _CURVES_WIDTH = 0.14, 0.84
_CURVES_BOTTOM, _CURVES_HEIGHT = 0.85, 0.65  # from the top, downward
_FRAME_STYLE: dict[str, Any] = {"color": "#bbbbbb", "lw": 0.6}


def plot_row_panels(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Draw the training and validation accuracy of each variation by epoch, in small panels.

    There may be up to `ROWS_ON_A_PICTURE` variations. All panels have the same range. They are
    parts of one pair of axes, because matplotlib takes seconds for many pairs of axes.
    """
    panel_rows = math.ceil(len(variations) / PANEL_COLUMNS)
    figure, axes = _make_figure(panel_rows, title)
    curves_of_rows = []
    for variation in variations:
        curves = [np.nanmean(variation.curve(f"{split}_accuracy"), 0) for split in SPLITS]
        curves_of_rows.append(curves)
    all_curves = list(itertools.chain(*curves_of_rows))
    lowest = min(float(curve.min()) for curve in all_curves)
    highest = max(float(curve.max()) for curve in all_curves)
    epochs = max(map(len, all_curves))
    for number, (variation, curves) in enumerate(zip(variations, curves_of_rows, strict=True)):
        panel_row, panel_column = divmod(number, PANEL_COLUMNS)
        panel = _RowPanel(panel_column, panel_row, epochs, lowest, highest)
        panel.draw(axes, curves, variation)
    figure.savefig(path)


def _make_figure(panel_rows: int, title: str) -> tuple[Figure, Axes]:
    """Return a figure and its only pair of axes, in which a panel is one unit wide and high."""
    height = _HEIGHT_WITHOUT_PANELS + _PANEL_HEIGHT * panel_rows
    figure = Figure(figsize=(1.4 * WIDTH, height), dpi=120)
    title_top = 1 - 0.1 / height
    figure.suptitle(safe_title(title), fontsize=10, parse_math=False, y=title_top, va="top")
    # Matplotlib wants fractions of the figure's width and height.
    axes_bottom = _BOTTOM_MARGIN / height
    axes_height = 1 - _HEIGHT_OUTSIDE_AXES / height
    axes = figure.add_axes((0.01, axes_bottom, 0.98, axes_height))
    axes.set_axis_off()
    axes.set(xlim=(0, PANEL_COLUMNS), ylim=(panel_rows, 0))
    return figure, axes


class _RowPanel(NamedTuple):
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
        left, right = self._x_of_epoch(1), self._x_of_epoch(self.epochs)
        bottom, top = self._y_of_accuracy(self.lowest), self._y_of_accuracy(self.highest)
        frame_x = [left, right, right, left, left]
        frame_y = [bottom, bottom, top, top, bottom]
        axes.plot(frame_x, frame_y, **_FRAME_STYLE)
        for (_, split_style), curve in zip(SPLITS.values(), curves, strict=True):
            style: dict[str, Any] = {name: split_style[name] for name in ("color", "linestyle")}
            x_of_curve = self._x_of_epoch(np.arange(1, len(curve) + 1))
            axes.plot(x_of_curve, self._y_of_accuracy(curve), lw=1.0, **style)
        title = f"{shortened(variation.name, 20)}  {mean_percent(variation, 'val_accuracy')}"
        title_style: dict[str, Any] = {"fontsize": 7, "parse_math": False}
        axes.text((left + right) / 2, top - 0.04, title, ha="center", va="bottom", **title_style)
        scale_style: dict[str, Any] = {"fontsize": 6, "parse_math": False, "color": "#555555"}
        axes.text(left - 0.01, top, f"{self.highest:.0%}", ha="right", va="top", **scale_style)
        axes.text(left - 0.01, bottom, f"{self.lowest:.0%}", ha="right", va="bottom", **scale_style)
        last_epoch = f"epoch {self.epochs}"
        axes.text(right, bottom + 0.02, last_epoch, ha="right", va="top", **scale_style)

    def _x_of_epoch(self, epoch: Any) -> Any:
        epoch_span = max(self.epochs - 1, 1)
        return self.left + _CURVES_LEFT + _CURVES_WIDTH * (epoch - 1) / epoch_span

    def _y_of_accuracy(self, accuracy: Any) -> Any:
        accuracy_span = max(self.highest - self.lowest, LEAST_SPAN)
        height_above_lowest = _CURVES_HEIGHT * (accuracy - self.lowest) / accuracy_span
        return self.top + _CURVES_BOTTOM - height_above_lowest
