"""Pictures that compare several runs or variations, such as learning curves and bar charts."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.wording import percent
from jaxcifar.runs.plots import (
    SPLITS,
    TEST,
    draw_chosen_epochs,
    draw_mean,
    epoch_ticks,
    figure_with_axes,
    format_as_percent,
    plot_curves,
    safe_title,
    shortened,
)

WIDTH = 6.4  # inches; text stays readable when a phone scales the picture to its width
_HALF_SIZE = (4.6, 3.0)  # inches, of one of two pictures side by side
_REFERENCE_COLOR = "#999999"
# Okabe and Ito's colours without yellow, which is faint on white. Lines and markers differ too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LINES, _MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v")
_MAX_LINES = 10  # in one picture; more variations get a panel each
PANEL_COLUMNS = 4


def draw_curves(
    draw: DrawPicture, runs: Sequence[FinishedRun], title: str, prefix: str = ""
) -> dict[str, str]:
    """Draw the learning curves of runs that differ only in seed, as two pictures.

    Returns:
      the paths of the two pictures; the keys are "accuracy" and "loss".
    """
    plot = functools.partial(plot_curves, size=_HALF_SIZE)
    histories = [run.history for run in runs]
    chosen = [run.result["selected_epoch"] for run in runs]
    return {
        quantity: draw(f"{prefix}{quantity}", plot, histories, chosen, quantity, title)
        for quantity in ("accuracy", "loss")
    }


def plot_all_validation(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Draw the validation accuracy of each variation by epoch; the best is first in the legend."""
    title = f"Validation accuracy by epoch: all {len(variations)} rows\n{title}"
    ranked = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    if len(variations) > _MAX_LINES:
        _plot_panels(ranked, title, path)
        return
    figure, axes = figure_with_axes(WIDTH, 4.6 + 0.1 * len(variations), title)
    for variation in ranked:
        row = variations.index(variation)
        style = {
            "color": COLORS[row % len(COLORS)],
            "linestyle": _LINES[row % len(_LINES)],
            "marker": _MARKERS[row % len(_MARKERS)],
        }
        draw_mean(axes, variation.curve("val_accuracy"), _label(variation, 40), **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    format_as_percent(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=2, title="of the chosen epoch", fontsize=9)
    figure.savefig(path)


def panel_grid(
    count: int, title: str, heights: tuple[float, float]
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure and its `count` panels, which stand in rows of `PANEL_COLUMNS`.

    `heights` has two heights in inches: that of one row of panels, and that of the rest.
    """
    rows = -(-count // PANEL_COLUMNS)
    panel_height, other_height = heights
    height = other_height + panel_height * rows
    figure = Figure(figsize=(1.4 * WIDTH, height), dpi=120, layout="constrained")
    figure.suptitle(safe_title(title), fontsize=10, parse_math=False)
    grid: Any = figure.subplots(rows, PANEL_COLUMNS, squeeze=False, sharex=True, sharey=True)
    panels = grid.ravel()
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def _plot_panels(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Draw a panel per variation: its validation accuracy, on a band that spans all variations."""
    figure, panels = panel_grid(len(variations), title, heights=(1.7, 0.9))
    means = _padded([v.curve("val_accuracy").mean(0) for v in variations])
    lowest, highest = np.nanmin(means, axis=0), np.nanmax(means, axis=0)
    epochs = len(lowest)
    for panel, variation in zip(panels, variations, strict=True):
        panel.fill_between(range(1, epochs + 1), lowest, highest, color="#e2e2e2", lw=0)
        _draw_panel(panel, variation)
    panels[0].set_xticks(epoch_ticks(epochs, most=4))  # the panels share their axes
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("validation accuracy", fontsize=10)
    figure.savefig(path)


def _padded(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Return curves of different lengths as `[curves, epochs]`, padded at the end with NaN."""
    padded = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    return padded


def _draw_panel(panel: Axes, variation: Variation) -> None:
    curve, color = variation.curve("val_accuracy"), SPLITS["val"][1]["color"]
    draw_mean(panel, curve, "", color=color)
    draw_chosen_epochs(
        panel, curve, [run.result["selected_epoch"] for run in variation.runs], color
    )
    panel.set_title(_label(variation, 16), fontsize=9, parse_math=False)
    panel.grid(alpha=0.3)
    format_as_percent(panel.yaxis)


def _label(variation: Variation, letters: int) -> str:
    """Return a variation's name, cut to `letters` characters, and its mean validation accuracy."""
    name = shortened(variation.name, letters)
    return f"{name}  {percent(variation.values('val_accuracy').mean())}"


def plot_bars(variations: Sequence[Variation], reference: str, title: str, path: Path) -> None:
    """Draw bars for each variation's test accuracy and reference accuracy, with a mark per seed.

    `reference` names the source of the reference accuracies in the legend.
    """
    title = f"Test accuracy of all rows, each of its chosen epoch\n{title}"
    figure, axes = figure_with_axes(WIDTH, 1.4 + 0.4 * len(variations), title)
    rows = np.arange(len(variations))
    means = [float(v.values("test_accuracy").mean()) for v in variations]
    axes.barh(rows - 0.2, means, 0.38, color=TEST, label="ours")
    references = [float(np.mean(v.reference)) if v.reference else 0.0 for v in variations]
    if any(references):
        label = f"reference: {shortened(reference, 50)}"
        axes.barh(rows + 0.2, references, 0.38, color=_REFERENCE_COLOR, label=label)
    for row, variation in zip(rows, variations, strict=True):
        if len(variation.runs) > 1:
            values = variation.values("test_accuracy")
            axes.plot(values, np.full(len(values), row - 0.2), "k|", markersize=7)
        for offset, value in ((-0.2, means[row]), (0.2, references[row])):
            if value:
                axes.text(value + 0.01, row + offset, percent(value), va="center", fontsize=9)
    axes.set(xlim=(0, 1.18), xlabel="test accuracy")
    axes.set_yticks(rows, [v.name for v in variations])
    axes.set_xticks(np.linspace(0, 1, 6))
    format_as_percent(axes.xaxis)
    axes.invert_yaxis()
    add_legend(figure)
    figure.savefig(path)


def add_legend(figure: Figure, font_size: int = 10) -> None:
    """Add a legend below the axes; a "$" in its texts is shown as "$" and starts no formula."""
    legend = figure.legend(loc="outside lower center", ncols=2, fontsize=font_size)
    for text in legend.get_texts():
        text.set_parse_math(False)
