"""The data of the page's interactive parts: curves by epoch, and images of wrong predictions.

The page's script (`script/`) replaces pictures by interactive parts. Which pictures it replaces
follows from the functions that drew them.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.report.classes import plot_confusion
from jaxcifar.report.confusion_data import confusion_data
from jaxcifar.report.pictures import PlotCall
from jaxcifar.report.run_records import Variation
from jaxcifar.report.study_figures import plot_all_validation
from jaxcifar.runs.curves import stack_curves
from jaxcifar.runs.plots import plot_curves, shortened

_MAX_NUMBERS = 50_000  # in all curves of a page: about 350 kB
_LEAST_POINTS = 12  # of a curve, however many curves there are
_MAX_SPRITE_BYTES = 300_000  # of all images behind the cells of confusion matrices
_NAME_LETTERS = 60
_QUANTITIES = ("accuracy", "loss")
_SPLITS = ("train", "val")
Histories = Sequence[Sequence[Mapping[str, Any]]]


class PageData(NamedTuple):
    """The data of a page's interactive parts.

    Attributes:
      json: a JSON object that may stand inside of an HTML element (see `json_for_html`).
      ids: path of a picture -> key of the part that replaces the picture, in the object "parts".
    """

    json: str
    ids: dict[str, str]


def make_page_data(plot_calls: Mapping[str, PlotCall]) -> PageData:
    """Return the data of the interactive parts that replace a report's pictures.

    Args:
      plot_calls: path of a picture -> the function that drew it, and the function's arguments.
    """
    makers: dict[Callable[..., None], Callable[..., dict[str, Any] | None]] = {
        plot_curves: _run_chart,
        plot_all_validation: _study_chart,
        plot_confusion: _confusion,
    }
    matrices = sum(_function(call) is plot_confusion for call in plot_calls.values())
    builder = _Builder(_MAX_SPRITE_BYTES // max(matrices, 1))
    ids: dict[str, str] = {}
    parts: dict[str, dict[str, Any]] = {}
    for path, call in plot_calls.items():
        maker = makers.get(_function(call))
        part = maker(builder, *call.arguments) if maker else None
        if part is not None:
            ids[path] = f"part{len(parts)}"
            parts[ids[path]] = part
    return PageData(json_for_html({"curves": builder.curves(), "parts": parts}), ids)


def json_for_html(value: Any) -> str:
    r"""Return JSON that can't end the HTML element in which it stands.

    All characters but ASCII, and `<`, `>` and `&`, are written as `\uXXXX`.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _function(call: PlotCall) -> Callable[..., None]:
    """Return the function that drew a picture, without the arguments that are set beforehand."""
    return call.plot.func if isinstance(call.plot, functools.partial) else call.plot


class _Builder:
    """Collects curves, of which several charts may show the same.

    Attributes:
      sprite_bytes: maximum size of the images of one confusion matrix.
    """

    def __init__(self, sprite_bytes: int) -> None:
        self.sprite_bytes = sprite_bytes
        self._histories: list[tuple[Histories, Sequence[int]]] = []
        self._numbers: dict[tuple[int, ...], int] = {}  # ids of histories -> place in the list

    def add(self, histories: Histories, chosen: Sequence[int]) -> int:
        """Add the curves of runs that differ only in seed; return their place in `curves()`.

        `chosen` has the best epoch of each run.
        """
        key = tuple(id(history) for history in histories)
        if key not in self._numbers:
            self._numbers[key] = len(self._histories)
            self._histories.append((histories, chosen))
        return self._numbers[key]

    def curves(self) -> list[dict[str, Any]]:
        """Return the curves, with so few epochs that the page stays small."""
        metrics = len(_SPLITS) * len(_QUANTITIES)
        per_epoch = sum(metrics * (3 if len(runs) > 1 else 1) for runs, _ in self._histories)
        points = max(_LEAST_POINTS, _MAX_NUMBERS // max(per_epoch, 1))
        return [_curves(histories, chosen, points) for histories, chosen in self._histories]


def _curves(histories: Histories, chosen: Sequence[int], points: int) -> dict[str, Any]:
    """Return mean, minimum and maximum over the seeds of each metric, at about `points` epochs.

    The first, the last and all chosen epochs are kept.
    """
    length = max(map(len, histories))
    positions = np.round(np.linspace(0, length - 1, min(points, length))).astype(int)
    positions = np.union1d(positions, np.asarray(chosen) - 1)
    result: dict[str, Any] = {"epochs": (positions + 1).tolist(), "chosen": list(chosen)}
    for split in _SPLITS:
        for quantity in _QUANTITIES:
            key = f"{split}_{quantity}"
            if key not in histories[0][0]:  # a run without validation images
                continue
            values = stack_curves(histories, key)
            of_epochs = values[:, positions]
            lines = [np.nanmean(of_epochs, 0)]
            if len(histories) > 1:
                lines += [np.nanmin(of_epochs, 0), np.nanmax(of_epochs, 0)]
            result[key] = [[_rounded(value) for value in line] for line in lines]
            at_choice = [rows[epoch - 1] for rows, epoch in zip(values, chosen, strict=True)]
            result[f"{key}_chosen"] = [_rounded(value) for value in at_choice]
    return result


def _rounded(value: float) -> float | None:
    """Return a number with four significant digits; None, that is `null`, if it is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _run_chart(
    builder: _Builder, histories: Histories, chosen: Sequence[int], quantity: str, title: str
) -> dict[str, Any]:
    """Return the chart of one variation: its training and validation curves."""
    curves = builder.add(histories, chosen)
    titles = {"train": "training", "val": "validation"}
    has_validation = f"val_{quantity}" in histories[0][0]
    lines = [
        {"label": titles[split], "curves": curves, "split": split}
        for split in _SPLITS
        if split == "train" or has_validation
    ]
    return {"kind": "chart", "quantity": quantity, "lines": lines}


def _study_chart(
    builder: _Builder, variations: Sequence[Variation], title: str
) -> dict[str, Any] | None:
    """Return the chart of all variations, the best first; its quantity can be changed."""
    ranked = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    lines = []
    for variation in ranked:
        chosen = [run.result["selected_epoch"] for run in variation.runs]
        curves = builder.add([run.history for run in variation.runs], chosen)
        label = shortened(variation.name, _NAME_LETTERS)
        lines.append({"label": label, "curves": curves, "row": variations.index(variation)})
    return {"kind": "chart", "quantity": "accuracy", "lines": lines}


def _confusion(builder: _Builder, run: Any, title: str) -> dict[str, Any] | None:
    return confusion_data(run, builder.sprite_bytes)
