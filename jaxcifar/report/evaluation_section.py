"""What was found out about a run after it ended: probabilities, other images, corrupted images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxcifar.errors import RunError
from jaxcifar.report.figures import COLORS, WIDTH
from jaxcifar.report.pictures import Draw
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.report.wording import listed, percent, plain, points
from jaxcifar.runs.evaluation_file import (
    BINS,
    LEVELS,
    Calibration,
    Corrupted,
    Evaluation,
    Figures,
    Slipped,
    Value,
    read_evaluation,
    read_looks,
)
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import spelled
from jaxcifar.runs.plots import TEST, figure_with_axes, in_percent, shortened, shown

_TEMPERED = "#d55e00"
_COLUMNS = 4  # panels of corruptions beside each other
_MOST_SETS = 20  # lines of the table
_FEW = 10  # images of a bin that is left out of the picture, whose accuracy is chance
_CALIBRATED = 0.01  # a smaller expected calibration error is called none


def evaluation_context(run: FinishedRun, title: str, draw: Draw) -> dict[str, Any] | None:
    """What the template says of a run's `evaluation.json`; None if there is none.

    Of a file that can't be read, `missing` says so.
    """
    folder = RunFolder(run.path)
    try:
        found, looks = read_evaluation(folder), read_looks(folder)
    except RunError as error:
        return {"missing": str(error).removeprefix(f"{run.path}/"), "looks": 0}
    if found is None and not looks:
        return None
    found = found or {"sets": {}}
    sets = dict(list(found["sets"].items())[:_MOST_SETS])
    calibrated = sets.get("test") or next(iter(sets.values()), None)
    corruptions = found.get("corruptions")
    pictures: dict[str, str] = {}
    context = {
        "missing": "",
        "looks": len(looks),
        "sets": [_line(figures) for figures in sets.values()],
        "calibration": _calibration_sentence(calibrated, found) if calibrated else "",
        "calibration_error": percent(calibrated["plain"]["ece"]) if calibrated else "",
        "shifts": _shift_sentences(sets),
        "metrics": [_metrics_sentence(figures) for figures in sets.values() if _others(figures)],
        "corruptions": _corruption_lines(corruptions) if corruptions else [],
        "slips": _slip_lines(found["slips"]) if "slips" in found else [],
        "slipped_images": f"{found['slips']['images']:,}" if "slips" in found else "",
        "corruption_sentence": _corruption_sentence(corruptions) if corruptions else "",
        "pictures": pictures,
    }
    if calibrated:
        what = f"How often it is right: {title}\n{calibrated['title']}"
        pictures["reliability"] = draw(
            "reliability", plot_reliability, calibrated, found.get("temperature"), what
        )
    if corruptions:
        what = f"Accuracy on corrupted test images: {title}"
        pictures["corruptions"] = draw("corruptions", plot_corruptions, {"": corruptions}, what)
    return context


def _line(figures: Figures) -> dict[str, str]:
    low, high = figures["interval"]
    tempered = figures.get("tempered")
    return {
        "title": plain(figures["title"]),
        "images": f"{figures['images']:,}",
        "accuracy": f"{percent(figures['accuracy'])} ({100 * low:.2f} to {100 * high:.2f})",
        "flip": percent(figures["accuracy_flip"]),
        "loss": f"{figures['plain']['loss']:.4f}",
        "ece": percent(figures["plain"]["ece"]),
        "tempered_loss": f"{tempered['loss']:.4f}" if tempered else "–",
        "tempered_ece": percent(tempered["ece"]) if tempered else "–",
    }


def _others(figures: Figures) -> list[Value]:
    """All metrics but accuracy and loss, which the table has."""
    return [line for line in figures.get("metrics", []) if line["name"] not in ("accuracy", "loss")]


def _metrics_sentence(figures: Figures) -> str:
    said = listed(
        f"{plain(line['title'])} {plain(spelled(line['value'], line['unit']))}"
        for line in _others(figures)
    )
    return f"On {plain(figures['title'])}: {said}."


def confidence(calibration: Calibration) -> float:
    """The mean probability of a network's answers, a fraction."""
    images = sum(part["images"] for part in calibration["bins"])
    return sum(part["images"] * part["confidence"] for part in calibration["bins"]) / max(images, 1)


def _calibration_sentence(figures: Figures, found: Evaluation) -> str:
    sure, right = confidence(figures["plain"]), figures["accuracy"]
    ece = figures["plain"]["ece"]
    if ece < _CALIBRATED:
        what = "its probabilities can be taken as they are"
    elif abs(sure - right) < ece / 2:
        what = "too sure of some answers and not sure enough of others"
    else:
        what = "it is surer than it should be" if sure > right else "it is less sure than it could"
    sentence = (
        f"On {plain(figures['title'])} its answers have a probability of {percent(sure)} on "
        f"average, and {percent(right)} are right: {what} (expected calibration error "
        f"{percent(ece)})."
    )
    temperature, tempered = found.get("temperature"), figures.get("tempered")
    if temperature is None or tempered is None:
        return sentence
    return (
        f"{sentence} Dividing its logits by {temperature:.3g}, the temperature that fits the "
        f"validation images best, makes the error {percent(tempered['ece'])} and leaves the "
        "answers as they are."
    )


def _shift_sentences(sets: Mapping[str, Figures]) -> list[str]:
    """How other images than the test images change its accuracy."""
    test = sets.get("test")
    if test is None:
        return []
    return [
        f"On {plain(figures['title'])} its accuracy is "
        f"{points(figures['accuracy'] - test['accuracy'])} points from that on the test images."
        for name, figures in sets.items()
        if name not in ("test", "val")
    ]


def _corruption_lines(found: Corrupted) -> list[dict[str, Any]]:
    return [
        {
            "kind": plain(kind),
            "levels": [percent(value) for value in values],
            "mean": percent(float(np.mean(values))),
        }
        for kind, values in found["accuracy"].items()
    ]


def _slip_lines(found: Slipped) -> list[tuple[str, str]]:
    lines = [("none", found["clean"]), *found["accuracy"].items()]
    return [(plain(name), percent(value)) for name, value in lines]


def _corruption_sentence(found: Corrupted) -> str:
    """What harms most and least, by the mean over strengths."""
    lost = {
        plain(kind): found["clean"] - float(np.mean(values))
        for kind, values in found["accuracy"].items()
    }
    most, least = max(lost, key=lost.__getitem__), min(lost, key=lost.__getitem__)
    mean = found["clean"] - sum(lost.values()) / len(lost)
    return (
        f"Of {percent(found['clean'])} on {found['images']:,} test images, "
        f"{percent(mean)} are left on average over kinds and strengths. What harms most is {most} "
        f"({points(-lost[most])} points), what harms least {least} ({points(-lost[least])})."
    )


def plot_reliability(figures: Figures, temperature: float | None, title: str, path: Path) -> None:
    """Accuracy by the probability of the answer, and how many images have such an answer.

    Bins of fewer than `_FEW` images are left out, if there is a larger one.

    Args:
      figures: of one set.
      temperature: that of `tempered`, for the legend.
      title: names the network and the set.
      path: of the PNG.
    """
    figure, axes = figure_with_axes(WIDTH, 4.6, title)
    middles = (np.arange(BINS) + 0.5) / BINS
    shares = [part["images"] / figures["images"] for part in figures["plain"]["bins"]]
    axes.bar(middles, shares, 0.92 / BINS, color="#dddddd", label="part of the images")
    axes.plot([0, 1], [0, 1], color="black", lw=1, ls=":", label="as sure as right")
    curves = [("as it is", figures["plain"], TEST, "o-")]
    if "tempered" in figures:
        at = "" if temperature is None else f" {temperature:.3g}"
        curves.append((f"at temperature{at}", figures["tempered"], _TEMPERED, "s--"))
    for name, calibration, color, style in curves:
        least = min(_FEW, max(part["images"] for part in calibration["bins"]))
        parts = [part for part in calibration["bins"] if part["images"] >= max(1, least)]
        sure = [part["confidence"] for part in parts]
        right = [part["accuracy"] for part in parts]
        label = f"{name}: error {calibration['ece']:.2%}"
        axes.plot(sure, right, style, color=color, label=label, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of its answer", ylabel="accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        in_percent(axis)
    axes.legend(loc="upper left")
    figure.savefig(path)


def plot_corruptions(found: Mapping[str, Corrupted], title: str, path: Path) -> None:
    """Accuracy by strength, a panel a kind; strength 0 is the image as it is.

    Args:
      found: by run, which the legend names if there are several; all of the same kinds.
      title: names the data set.
      path: of the PNG.
    """
    kinds = list(next(iter(found.values()))["accuracy"])
    rows = -(-len(kinds) // _COLUMNS)
    figure = Figure(figsize=(1.4 * WIDTH, 1.0 + 2.1 * rows), dpi=120, layout="constrained")
    figure.suptitle(shown(title), fontsize=10, parse_math=False)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, kind in zip(panels, kinds, strict=False):
        for number, (name, corrupted) in enumerate(found.items()):
            values = [corrupted["clean"], *corrupted["accuracy"].get(kind, [])]
            color, style = COLORS[number % len(COLORS)], "os^Dv"[number % 5] + "-"
            label = shortened(name, 40) if kind == kinds[0] else None
            panel.plot(range(len(values)), values, style, color=color, label=label, markersize=3.5)
        panel.set_title(shortened(kind, 20), fontsize=10, parse_math=False)
        panel.grid(alpha=0.3)
        panel.set(ylim=(0, 1), xticks=range(LEVELS + 1))
        in_percent(panel.yaxis)
    for panel in panels[max(0, len(kinds) - _COLUMNS) : len(kinds)]:  # with none below
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("strength")
    for panel in panels[len(kinds) :]:
        panel.set_axis_off()
    figure.supylabel("accuracy", fontsize=10)
    if len(found) > 1:
        legend = figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
    figure.savefig(path)
