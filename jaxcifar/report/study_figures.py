"""Pictures of all rows of a study: test accuracies, and curves of validation accuracy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.report.figures import COLORS, WIDTH, add_legend
from jaxcifar.report.repeat_words import words_for_repeats
from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import Sample
from jaxcifar.report.wording import percent
from jaxcifar.runs.plots import (
    TEST,
    draw_mean,
    figure_with_axes,
    format_as_percent,
    shortened,
)

MANY_ROWS = len(COLORS)  # a study with more rows has simpler pictures
_COLORED_ROWS = 10  # of many rows, the best ones are coloured
_OTHER_COLOR = "#b8b8b8"
_REFERENCE_COLOR = "#777777"
_TEST_DOT_STYLE: dict[str, Any] = {"color": TEST, "marker": "o", "markersize": 7}
_REFERENCE_DOT_STYLE: dict[str, Any] = {
    "color": _REFERENCE_COLOR,
    "marker": "D",
    "markersize": 5,
    "markerfacecolor": "none",
}
_LINE_STYLES, _MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v")
# Rows this many times the span of the middle rows below them are outside the axis.
_OUTLIER_SPANS = 3.0
LEAST_SPAN = 0.004  # of the axis, as a fraction


def plot_all_validation(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Draw the validation accuracy of each variation by epoch; the best is first in the legend.

    Each line has a colour of its own. Of more than `MANY_ROWS` variations, only the best are
    coloured.
    """
    title = f"Validation accuracy by epoch: all {len(variations)} rows\n{title}"
    best_first = sorted(variations, key=lambda variation: -variation.mean("val_accuracy"))
    colored_rows = list(variations)
    if len(variations) > MANY_ROWS:
        colored_rows = best_first[:_COLORED_ROWS]
    # By identity, because variations are not hashable.
    style_of_row_id = {id(row): _curve_style(number) for number, row in enumerate(colored_rows)}
    figure, axes = figure_with_axes(WIDTH, 4.6 + 0.1 * len(colored_rows), title)
    grey_rows = [variation for variation in best_first if id(variation) not in style_of_row_id]
    for variation in grey_rows:
        is_named_in_legend = variation is grey_rows[0]
        label = f"the other {len(grey_rows)} rows" if is_named_in_legend else ""
        mean_curve = np.nanmean(variation.curve("val_accuracy"), 0, keepdims=True)
        draw_mean(axes, mean_curve, label, color=_OTHER_COLOR, linewidth=0.8)
    for variation in best_first:
        style = style_of_row_id.get(id(variation))
        if style is not None:
            draw_mean(axes, variation.curve("val_accuracy"), _curve_label(variation), **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    format_as_percent(axes.yaxis)
    add_legend(figure, font_size=9, title="of the chosen epoch")
    figure.savefig(path)


def _curve_style(number: int) -> dict[str, Any]:
    """Return the colour, line and marker of a curve with a number from 0.

    Curves with numbers below `MANY_ROWS` differ in colour.
    """
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": _LINE_STYLES[number % len(_LINE_STYLES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def _curve_label(variation: Variation) -> str:
    """Return a variation's name, shortened, and its mean validation accuracy."""
    return f"{shortened(variation.name, 40)}  {mean_percent(variation, 'val_accuracy')}"


def mean_percent(variation: Variation, key: str) -> str:
    return percent(variation.mean(key))


def plot_test_accuracies(
    variations: Sequence[Variation], reference_name: str, title: str, path: Path
) -> None:
    """Draw each variation's mean test accuracy, its 95% interval, and the accuracies of its runs.

    The axis shows the range of most accuracies. An accuracy outside of this range is an arrow at
    the edge of the axis. The label of each variation has its accuracy. `reference_name` names the
    source of reference accuracies, for the legend.
    """
    title = f"Test accuracy of all rows, each of its chosen epoch\n{title}"
    row_height = 0.3 if len(variations) <= MANY_ROWS else 0.18
    figure, axes = figure_with_axes(WIDTH, 1.7 + row_height * len(variations), title)
    limits = _find_axis_limits([Sample.of(variation, "test_accuracy") for variation in variations])
    for row, variation in enumerate(variations):
        sample = Sample.of(variation, "test_accuracy")
        axes.plot(sample.interval, [row, row], color=TEST, lw=2, alpha=0.6, zorder=2)
        repeat_count = len(sample.values)
        if repeat_count > 1:
            axes.plot(sample.values, [row] * repeat_count, "k|", markersize=7, zorder=3)
        _draw_accuracy_dot(axes, sample.mean, row, limits, _TEST_DOT_STYLE)
        if variation.reference_accuracies:
            reference_mean = float(np.mean(variation.reference_accuracies))
            _draw_accuracy_dot(axes, reference_mean, row, limits, _REFERENCE_DOT_STYLE)
    axes.set(xlim=limits, xlabel="test accuracy", ylim=(len(variations) - 0.4, -0.6))
    names = [
        f"{shortened(variation.name, 24)}  {mean_percent(variation, 'test_accuracy')}"
        for variation in variations
    ]
    font_size = 9 if len(variations) <= MANY_ROWS else 7.5
    axes.set_yticks(range(len(variations)), names, fontsize=font_size, parse_math=False)
    format_as_percent(axes.xaxis)
    _add_marker_legend(figure, axes, variations, reference_name)
    figure.savefig(path)


def _find_axis_limits(samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the lowest and the highest accuracy of an axis for samples of accuracies.

    The axis shows all accuracies except samples that are far below the others. Confidence intervals
    can make the axis longer at each end, but by no more than the range of the accuracies.
    """
    shown_samples = _without_low_outliers(samples)
    lowest_accuracy = min(min(sample.values) for sample in shown_samples)
    highest_accuracy = max(max(sample.values) for sample in shown_samples)
    span = max(highest_accuracy - lowest_accuracy, LEAST_SPAN)
    lower_interval_ends, upper_interval_ends = zip(
        *(sample.interval for sample in shown_samples), strict=True
    )
    # Show the intervals too, unless that would more than triple the range.
    limited_lower_end = max(min(lower_interval_ends), lowest_accuracy - span)
    limited_upper_end = min(max(upper_interval_ends), highest_accuracy + span)
    lowest_shown = min(lowest_accuracy, limited_lower_end)
    highest_shown = max(highest_accuracy, limited_upper_end)
    margin = 0.08 * span
    return max(0.0, lowest_shown - margin), min(1.0 + margin, highest_shown + margin)


def _without_low_outliers(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples whose mean is not far below the others, measured by quartiles."""
    means = [sample.mean for sample in samples]
    low_quartile, high_quartile = np.quantile(means, [0.25, 0.75])
    distance_of_quartiles = max(high_quartile - low_quartile, LEAST_SPAN)
    least_mean = low_quartile - _OUTLIER_SPANS * distance_of_quartiles
    return [sample for sample in samples if sample.mean >= least_mean]


def _draw_accuracy_dot(
    axes: Axes, accuracy: float, row: int, limits: tuple[float, float], style: dict[str, Any]
) -> None:
    """Draw a dot at an accuracy, or an arrow at the edge of the axis if it is outside of the axis.

    Args:
      axes: the axes.
      accuracy: the accuracy.
      row: the vertical position.
      limits: the lowest and the highest accuracy on the axis.
      style: matplotlib's settings for the dot.
    """
    low, high = limits
    if accuracy < low:
        style = {**style, "marker": "<"}
    elif accuracy > high:
        style = {**style, "marker": ">"}
    position_on_axis = min(max(accuracy, low), high)
    axes.plot([position_on_axis], [row], linestyle="none", clip_on=False, zorder=4, **style)


def _add_marker_legend(
    figure: Figure, axes: Axes, variations: Sequence[Variation], reference_name: str
) -> None:
    """Add a legend that explains the markers of means, seeds or folds, and reference accuracies.

    `reference_name` names the source of the reference accuracies.
    """
    no_points: list[float] = []
    axes.plot(no_points, no_points, "o-", color=TEST, lw=2, label="mean, with its 95% interval")
    words = words_for_repeats(variations)
    if words:
        label = " or ".join(f"one {word.removesuffix('s')}" for word in sorted(words, reverse=True))
        axes.plot(no_points, no_points, "k|", markersize=7, label=label)
    if any(variation.reference_accuracies for variation in variations):
        style: dict[str, Any] = {"color": _REFERENCE_COLOR, "markerfacecolor": "none"}
        label = f"reference: {shortened(reference_name, 50)}"
        axes.plot(no_points, no_points, "D", markersize=5, label=label, **style)
    add_legend(figure, font_size=9)
