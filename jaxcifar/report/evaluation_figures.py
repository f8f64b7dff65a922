"""Pictures of an evaluation: calibration, and accuracy on corrupted images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxcifar.report.figures import COLORS, PANEL_COLUMNS, WIDTH, add_legend, make_panel_grid
from jaxcifar.runs.evaluation_file import (
    BINS,
    LEVELS,
    AnyCorruptions,
    Calibration,
    Figures,
)
from jaxcifar.runs.plots import TEST, figure_with_axes, format_as_percent, shortened

_TEMPERED_COLOR = "#d55e00"
_MARKERS = "os^Dv"
_LEAST_IMAGES_TO_DRAW = 10  # the accuracy of fewer images is too uncertain to draw


def plot_reliability(results: Figures, temperature: float | None, title: str, path: Path) -> None:
    """Draw a reliability diagram: the accuracy, and the share of the images, by confidence.

    Args:
      results: results on one set of images. "plain" is from the network's logits, "tempered", if
        present, from these logits divided by a temperature.
      temperature: this temperature; None if it is not known.
      title: title of the picture.
      path: the picture file.
    """
    figure, axes = figure_with_axes(WIDTH, 4.6, title)
    bin_middles = (np.arange(BINS) + 0.5) / BINS
    bar_width = 0.92 / BINS
    shares = [one_bin["images"] / results["images"] for one_bin in results["plain"]["bins"]]
    axes.bar(bin_middles, shares, bar_width, color="#dddddd", label="share of the images")
    axes.plot([0, 1], [0, 1], color="black", lw=1, ls=":", label="perfectly calibrated")
    _plot_confidence_bins(axes, results["plain"], "unchanged", TEST, "o-")
    if "tempered" in results:
        name = "at temperature" if temperature is None else f"at temperature {temperature:.3g}"
        _plot_confidence_bins(axes, results["tempered"], name, _TEMPERED_COLOR, "s--")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of its answer", ylabel="accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        format_as_percent(axis)
    axes.legend(loc="upper left")
    figure.savefig(path)


def _plot_confidence_bins(
    axes: Axes, calibration: Calibration, name: str, color: str, style: str
) -> None:
    """Plot accuracy by confidence, with a point for each bin that has enough images.

    If no bin has enough images, only the largest bin is drawn.
    """
    filled_bins = [one_bin for one_bin in calibration["bins"] if one_bin["images"] > 0]
    drawn_bins = [one_bin for one_bin in filled_bins if one_bin["images"] >= _LEAST_IMAGES_TO_DRAW]
    if not drawn_bins:
        most_images = max((one_bin["images"] for one_bin in filled_bins), default=0)
        drawn_bins = [one_bin for one_bin in filled_bins if one_bin["images"] == most_images]
    confidences = [one_bin["confidence"] for one_bin in drawn_bins]
    accuracies = [one_bin["accuracy"] for one_bin in drawn_bins]
    label = f"{name}: error {calibration['ece']:.2%}"
    axes.plot(confidences, accuracies, style, color=color, label=label, markersize=4)


def plot_corruptions(
    corruptions_of_run: Mapping[str, AnyCorruptions], title: str, path: Path
) -> None:
    """Draw one panel per kind of corruption, with the accuracy by strength; 0 is no corruption.

    `corruptions_of_run` maps names of runs to their results, which have the same kinds of
    corruption. Results without an accuracy on clean images have no point at strength 0.
    """
    first_results = next(iter(corruptions_of_run.values()))
    kinds = list(first_results["accuracy"])
    figure, panels = make_panel_grid(len(kinds), title, panel_height=2.1, other_height=1.0)
    for panel, kind in zip(panels, kinds, strict=True):
        is_first_panel = kind == kinds[0]
        _draw_corruption_panel(panel, kind, corruptions_of_run, names_runs=is_first_panel)
    panels_with_no_panel_below = panels[-PANEL_COLUMNS:]
    for panel in panels_with_no_panel_below:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("strength")
    figure.supylabel("accuracy", fontsize=10)
    if len(corruptions_of_run) > 1:
        add_legend(figure, font_size=9)
    figure.savefig(path)


def _draw_corruption_panel(
    panel: Axes, kind: str, corruptions_of_run: Mapping[str, AnyCorruptions], names_runs: bool
) -> None:
    """Draw the accuracy of each run by the strength of one kind of corruption.

    If `names_runs` is True, the legend takes the names of the runs from this panel.
    """
    for number, (run_name, results) in enumerate(corruptions_of_run.items()):
        clean_accuracy: Any = results.get("clean", np.nan)  # matplotlib draws no point for NaN
        accuracy_by_strength = [clean_accuracy, *results["accuracy"].get(kind, [])]
        color, marker = COLORS[number % len(COLORS)], _MARKERS[number % len(_MARKERS)]
        label = shortened(run_name, 40) if names_runs else None
        panel.plot(accuracy_by_strength, f"{marker}-", color=color, label=label, markersize=3.5)
    panel.set_title(shortened(kind, 20), fontsize=10, parse_math=False)
    panel.grid(alpha=0.3)
    panel.set(ylim=(0, 1), xticks=range(LEVELS + 1))
    format_as_percent(panel.yaxis)
