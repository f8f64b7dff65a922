"""The report's section on the evaluation of a trained network, with its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jaxcifar.errors import RunError
from jaxcifar.report.figures import COLORS, PANEL_COLUMNS, WIDTH, add_legend, panel_grid
from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.published_corruptions import corruption_set_contexts
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.report.wording import escape_markdown, join_names, percent, points
from jaxcifar.runs.evaluation_file import (
    BINS,
    LEVELS,
    AnyCorruptions,
    Calibration,
    Corruptions,
    Evaluation,
    Figures,
    Slips,
    Value,
    read_evaluation,
    read_looks,
)
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import format_value
from jaxcifar.runs.plots import TEST, figure_with_axes, format_as_percent, shortened

_TEMPERED_COLOR = "#d55e00"
_MARKERS = "os^Dv"
_MAX_SETS = 20  # most sets of images in the table
_FEW_IMAGES = 10  # the accuracy of fewer images is too uncertain to draw
_SMALL_ECE = 0.01  # a smaller expected calibration error is not worth correcting


def evaluation_context(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, Any] | None:
    """Draw the pictures of a run's evaluation, and return the values for the report's template.

    `title` names the network. `draw` draws a picture and returns its path. Return None if the run
    was not evaluated. If results can't be read, "missing" says why.
    """
    folder = RunFolder(run.path)
    try:
        evaluation, looks = read_evaluation(folder), read_looks(folder)
    except RunError as error:
        return {"missing": str(error).removeprefix(f"{run.path}/"), "looks": 0}
    if evaluation is None and not looks:
        return None
    evaluation = evaluation or {"sets": {}}
    sets = dict(list(evaluation["sets"].items())[:_MAX_SETS])
    calibrated = sets.get("test") or next(iter(sets.values()), None)
    corrupted, slips = evaluation.get("corruptions"), evaluation.get("slips")
    pictures: dict[str, str] = {}
    if calibrated:
        headline = f"How often it is right: {title}\n{calibrated['title']}"
        arguments = calibrated, evaluation.get("temperature"), headline
        pictures["reliability"] = draw("reliability", plot_reliability, *arguments)
    if corrupted:
        headline = f"Accuracy on corrupted test images: {title}"
        pictures["corruptions"] = draw("corruptions", plot_corruptions, {"": corrupted}, headline)
    return {
        "missing": "",
        "corruption_sets": corruption_set_contexts(evaluation, title, draw, plot_corruptions),
        "looks": len(looks),
        "sets": [_table_cells(figures) for figures in sets.values()],
        "calibration": _calibration_text(calibrated, evaluation) if calibrated else "",
        "calibration_error": percent(calibrated["plain"]["ece"]) if calibrated else "",
        "shifts": _shift_sentences(sets),
        "metrics": _metric_sentences(sets),
        "corruptions": _corruption_cells(corrupted) if corrupted else [],
        "corruption_text": _corruption_text(corrupted) if corrupted else "",
        "slips": _slip_cells(slips) if slips else [],
        "slip_images": f"{slips['images']:,}" if slips else "",
        "pictures": pictures,
    }


def _table_cells(figures: Figures) -> dict[str, str]:
    """Return the table cells, by column, of the results on one set of images."""
    low, high = figures["interval"]
    tempered = figures.get("tempered")
    return {
        "title": escape_markdown(figures["title"]),
        "images": f"{figures['images']:,}",
        "accuracy": f"{percent(figures['accuracy'])} ({100 * low:.2f} to {100 * high:.2f})",
        "flip": percent(figures["accuracy_flip"]),
        "loss": f"{figures['plain']['loss']:.4f}",
        "ece": percent(figures["plain"]["ece"]),
        "tempered_loss": f"{tempered['loss']:.4f}" if tempered else "–",
        "tempered_ece": percent(tempered["ece"]) if tempered else "–",
    }


def _metric_sentences(sets: Mapping[str, Figures]) -> list[str]:
    """Return a sentence for each set of images, with all metrics except accuracy and loss."""
    sentences = []
    for figures in sets.values():
        metrics: list[Value] = figures.get("metrics", [])
        texts = [
            escape_markdown(f"{metric['title']} {format_value(metric['value'], metric['unit'])}")
            for metric in metrics
            if metric["name"] not in ("accuracy", "loss")
        ]
        if texts:
            sentences.append(f"On {escape_markdown(figures['title'])}: {join_names(texts)}.")
    return sentences


def mean_confidence(calibration: Calibration) -> float:
    """Return the mean probability, from 0 to 1, that a network gives to its predicted classes."""
    bins = calibration["bins"]
    images = sum(one_bin["images"] for one_bin in bins)
    confidence_sum = sum(one_bin["images"] * one_bin["confidence"] for one_bin in bins)
    return confidence_sum / max(images, 1)


def _calibration_text(figures: Figures, evaluation: Evaluation) -> str:
    """Return sentences on how well the network's probabilities match its accuracy on one set."""
    confidence, accuracy = mean_confidence(figures["plain"]), figures["accuracy"]
    ece = figures["plain"]["ece"]
    if ece < _SMALL_ECE:
        verdict = "its probabilities can be taken as they are"
    elif abs(confidence - accuracy) < ece / 2:
        verdict = "too sure of some answers and not sure enough of others"
    elif confidence > accuracy:
        verdict = "it is surer than it should be"
    else:
        verdict = "it is less sure than it could be"
    sentence = (
        f"On {escape_markdown(figures['title'])} its answers have a probability of "
        f"{percent(confidence)} on average, and {percent(accuracy)} are right: {verdict} "
        f"(expected calibration error {percent(ece)})."
    )
    temperature, tempered = evaluation.get("temperature"), figures.get("tempered")
    if temperature is None or tempered is None:
        return sentence
    return (
        f"{sentence} Dividing its logits by {temperature:.3g}, the temperature that fits the "
        f"validation images best, makes the error {percent(tempered['ece'])} and leaves the "
        "answers unchanged."
    )


def _shift_sentences(sets: Mapping[str, Figures]) -> list[str]:
    """Return sentences that compare the accuracy on new image sets with the test accuracy."""
    test = sets.get("test")
    if test is None:
        return []
    return [
        f"On {escape_markdown(figures['title'])} its accuracy is "
        f"{points(figures['accuracy'] - test['accuracy'])} points from that on the test images."
        for name, figures in sets.items()
        if name not in ("test", "val", "train")
    ]


def _corruption_cells(corrupted: Corruptions) -> list[dict[str, Any]]:
    return [
        {
            "kind": escape_markdown(kind),
            "levels": [percent(value) for value in values],
            "mean": percent(float(np.mean(values))),
        }
        for kind, values in corrupted["accuracy"].items()
    ]


def _slip_cells(slips: Slips) -> list[tuple[str, str]]:
    accuracies = [("none", slips["clean"]), *slips["accuracy"].items()]
    return [(escape_markdown(name), percent(accuracy)) for name, accuracy in accuracies]


def _corruption_text(corrupted: Corruptions) -> str:
    """Return sentences on the mean accuracy and on the most and the least harmful corruption."""
    clean = corrupted["clean"]
    drops = {
        escape_markdown(kind): clean - float(np.mean(accuracies))
        for kind, accuracies in corrupted["accuracy"].items()
    }
    worst, least = max(drops, key=drops.__getitem__), min(drops, key=drops.__getitem__)
    mean = clean - sum(drops.values()) / len(drops)
    return (
        f"Of {percent(clean)} on {corrupted['images']:,} test images, {percent(mean)} are left on "
        f"average over kinds and strengths. The most harmful kind is {worst} "
        f"({points(-drops[worst])} points), the least harmful {least} ({points(-drops[least])})."
    )


def plot_reliability(figures: Figures, temperature: float | None, title: str, path: Path) -> None:
    """Draw a reliability diagram: the accuracy, and the share of the images, by confidence.

    `figures` has the results on one set of images. For the results "tempered" in `figures`, the
    logits were divided by `temperature`.
    """
    figure, axes = figure_with_axes(WIDTH, 4.6, title)
    middles = (np.arange(BINS) + 0.5) / BINS
    shares = [one_bin["images"] / figures["images"] for one_bin in figures["plain"]["bins"]]
    axes.bar(middles, shares, 0.92 / BINS, color="#dddddd", label="share of the images")
    axes.plot([0, 1], [0, 1], color="black", lw=1, ls=":", label="as sure as right")
    _plot_bins(axes, figures["plain"], "unchanged", TEST, "o-")
    if "tempered" in figures:
        name = "at temperature" if temperature is None else f"at temperature {temperature:.3g}"
        _plot_bins(axes, figures["tempered"], name, _TEMPERED_COLOR, "s--")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of its answer", ylabel="accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        format_as_percent(axis)
    axes.legend(loc="upper left")
    figure.savefig(path)


def _plot_bins(axes: Axes, calibration: Calibration, name: str, color: str, style: str) -> None:
    """Plot accuracy by confidence for bins of at least `_FEW_IMAGES` images, or the largest bin."""
    largest = max(one_bin["images"] for one_bin in calibration["bins"])
    least = max(1, min(_FEW_IMAGES, largest))
    bins = [one_bin for one_bin in calibration["bins"] if one_bin["images"] >= least]
    x, y = [one_bin["confidence"] for one_bin in bins], [one_bin["accuracy"] for one_bin in bins]
    label = f"{name}: error {calibration['ece']:.2%}"
    axes.plot(x, y, style, color=color, label=label, markersize=4)


def plot_corruptions(runs: Mapping[str, AnyCorruptions], title: str, path: Path) -> None:
    """Draw one panel per kind of corruption, with the accuracy by strength; 0 is no corruption.

    `runs` maps names of runs to their results, which have the same kinds of corruption. Results
    without an accuracy on clean images have no point at strength 0: NaN is not drawn.
    """
    kinds = list(next(iter(runs.values()))["accuracy"])
    figure, panels = panel_grid(len(kinds), title, heights=(2.1, 1.0))
    for panel, kind in zip(panels, kinds, strict=True):
        for number, (name, corrupted) in enumerate(runs.items()):
            clean: Any = corrupted.get("clean", np.nan)
            values = [clean, *corrupted["accuracy"].get(kind, [])]
            color, marker = COLORS[number % len(COLORS)], _MARKERS[number % len(_MARKERS)]
            label = shortened(name, 40) if kind == kinds[0] else None
            panel.plot(values, f"{marker}-", color=color, label=label, markersize=3.5)
        panel.set_title(shortened(kind, 20), fontsize=10, parse_math=False)
        panel.grid(alpha=0.3)
        panel.set(ylim=(0, 1), xticks=range(LEVELS + 1))
        format_as_percent(panel.yaxis)
    for panel in panels[-PANEL_COLUMNS:]:  # the panels with no panel below
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("strength")
    figure.supylabel("accuracy", fontsize=10)
    if len(runs) > 1:
        add_legend(figure, font_size=9)
    figure.savefig(path)
