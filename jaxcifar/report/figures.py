"""The report's pictures of many rows; each names its data set, and none shows a time."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.report.pictures import Draw
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.wording import percent
from jaxcifar.runs.plots import (
    SPLITS,
    TEST,
    draw_chosen,
    draw_mean,
    epoch_ticks,
    figure_with_axes,
    in_percent,
    plot_curves,
    shortened,
    shown,
)

WIDTH = 6.4  # inches: text stays readable when a phone scales the picture to its width
_HALF = (4.6, 3.0)  # of a picture that stands beside another
_THEIRS = "#999999"
# Okabe and Ito's colours without the yellow, which is faint on white; line and marker differ, too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LINES, _MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v")
MOST_LINES = 10  # in one picture; more rows get a panel each
_COLUMNS = 4  # of panels


def draw_curves(
    draw: Draw, runs: Sequence[FinishedRun], title: str, prefix: str = ""
) -> dict[str, str]:
    """Draw accuracy and loss of runs that differ in seed, to stand side by side.

    Returns:
      "accuracy" and "loss" -> path of the picture, named `prefix` and that.
    """
    plot = functools.partial(plot_curves, size=_HALF)
    histories = [run.history for run in runs]
    chosen = [run.result["selected_epoch"] for run in runs]
    return {
        quantity: draw(f"{prefix}{quantity}", plot, histories, chosen, quantity, title)
        for quantity in ("accuracy", "loss")
    }


def plot_all_validation(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Validation accuracy of all variations by epoch, with the figures that the table has."""
    title = f"Validation accuracy by epoch: all {len(variations)} rows\n{title}"
    ranked = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    if len(variations) > MOST_LINES:
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
        draw_mean(axes, variation.curve("val_accuracy"), _with_figure(variation, 40), **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    in_percent(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=2, title="of the chosen epoch", fontsize=9)
    figure.savefig(path)


def _plot_panels(variations: Sequence[Variation], title: str, path: Path) -> None:
    """A panel for each variation; grey is the span from the lowest to the highest of all."""
    rows = -(-len(variations) // _COLUMNS)
    figure = Figure(figsize=(1.4 * WIDTH, 0.9 + 1.7 * rows), dpi=120, layout="constrained")
    figure.suptitle(shown(title), fontsize=10, parse_math=False)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    means = _padded([v.curve("val_accuracy").mean(0) for v in variations])
    span = np.nanmin(means, axis=0), np.nanmax(means, axis=0)
    for panel, variation in zip(panels, variations, strict=False):
        panel.fill_between(range(1, len(means[0]) + 1), *span, color="#e2e2e2", lw=0)
        _draw_panel(panel, variation)
    panels[0].set_xticks(epoch_ticks(len(means[0]), most=4))  # of all: they share their axis
    for panel in panels[len(variations) :]:
        panel.set_axis_off()
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("validation accuracy", fontsize=10)
    figure.savefig(path)


def _padded(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Curves of any lengths as `[curves, epochs]`, NaN behind the end of a shorter one."""
    padded = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
    return padded


def _draw_panel(panel: Axes, variation: Variation) -> None:
    curve, color = variation.curve("val_accuracy"), SPLITS["val"][1]["color"]
    draw_mean(panel, curve, "", color=color)
    draw_chosen(panel, curve, [run.result["selected_epoch"] for run in variation.runs], color)
    panel.set_title(_with_figure(variation, 16), fontsize=9, parse_math=False)
    panel.grid(alpha=0.3)
    in_percent(panel.yaxis)


def _with_figure(variation: Variation, letters: int) -> str:
    """Its name and the validation accuracy that the tables have."""
    name = shortened(variation.name, letters)
    return f"{name}  {percent(variation.values('val_accuracy').mean())}"


def plot_bars(variations: Sequence[Variation], reference: str, title: str, path: Path) -> None:
    """Test accuracy of each variation, a dot a seed, beside its reference.

    Args:
      variations: from top to bottom.
      reference: what the references are called.
      title: names the data set.
      path: of the PNG.
    """
    title = f"Test accuracy of all rows, each of its chosen epoch\n{title}"
    figure, axes = figure_with_axes(WIDTH, 1.4 + 0.4 * len(variations), title)
    rows = np.arange(len(variations))
    means = [float(v.values("test_accuracy").mean()) for v in variations]
    axes.barh(rows - 0.2, means, 0.38, color=TEST, label="ours")
    theirs = [float(np.mean(v.reference)) if v.reference else 0.0 for v in variations]
    if any(theirs):
        label = f"reference: {shortened(reference, 50)}"
        axes.barh(rows + 0.2, theirs, 0.38, color=_THEIRS, label=label)
    for row, variation in zip(rows, variations, strict=True):
        if len(variation.runs) > 1:
            values = variation.values("test_accuracy")
            axes.plot(values, np.full(len(values), row - 0.2), "k|", markersize=7)
        for offset, value in ((-0.2, means[row]), (0.2, theirs[row])):
            if value:
                axes.text(value + 0.01, row + offset, percent(value), va="center", fontsize=9)
    axes.set(xlim=(0, 1.18), xlabel="test accuracy")
    axes.set_yticks(rows, [v.name for v in variations])
    axes.set_xticks(np.linspace(0, 1, 6))
    in_percent(axes.xaxis)
    axes.invert_yaxis()
    legend = figure.legend(loc="outside lower center", ncols=2)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.savefig(path)
