"""The data of the page's interactive parts: curves by epoch, and images of wrong predictions.

The page's script (`script/`) replaces pictures by interactive parts. Which pictures it replaces
follows from the functions that drew them.
"""

import functools
import itertools
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
    """The data of the interactive charts and tables that replace pictures of a page.

    Attributes:
      json: a JSON object that may stand inside of an HTML element (see `json_for_html`).
      ids: path of a picture -> key of its chart or table in the JSON object "parts".
    """

    json: str
    ids: dict[str, str]


def make_page_data(plot_calls: Mapping[str, PlotCall]) -> PageData:
    """Return the data of the interactive charts and tables that replace a report's pictures.

    Args:
      plot_calls: path of a picture -> the function that drew it, and the function's arguments.
    """
    makers: dict[Callable[..., None], Callable[..., dict[str, Any] | None]] = {
        plot_curves: _run_chart,
        plot_all_validation: _study_chart,
        plot_confusion: _confusion,
    }
    functions = [_function(call) for call in plot_calls.values()]
    matrices = functions.count(plot_confusion)
    store = _CurveStore(_MAX_SPRITE_BYTES // max(matrices, 1))
    ids: dict[str, str] = {}
    parts: dict[str, dict[str, Any]] = {}
    for (path, call), function in zip(plot_calls.items(), functions, strict=True):
        if function not in makers:
            continue
        part = makers[function](store, *call.arguments)
        if part is not None:
            ids[path] = f"part{len(parts)}"
            parts[ids[path]] = part
    return PageData(json_for_html({"curves": store.curves(), "parts": parts}), ids)


def json_for_html(value: Any) -> str:
    r"""Return JSON that can't end the HTML element in which it stands.

    All characters but ASCII, and `<`, `>` and `&`, are written as `\uXXXX`.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _function(call: PlotCall) -> Callable[..., None]:
    """Return the function that drew a picture, without the arguments of a `functools.partial`."""
    return call.plot.func if isinstance(call.plot, functools.partial) else call.plot


class _CurveStore:
    """Stores the curves of a page's charts; curves that several charts show are stored once.

    Attributes:
      sprite_bytes: maximum size of all images that belong to one confusion matrix.
    """

    def __init__(self, sprite_bytes: int) -> None:
        self.sprite_bytes = sprite_bytes
        self._histories: list[tuple[Histories, Sequence[int]]] = []
        self._indices: dict[tuple[int, ...], int] = {}  # ids of histories -> index in the list

    def add(self, histories: Histories, best_epochs: Sequence[int]) -> int:
        """Add the curves of runs that differ only in seed; return their index in `curves()`.

        Curves that were added before keep their index.

        Args:
          histories: for each run, a dict of metrics for each epoch.
          best_epochs: the epoch of each run, from 1, with the best validation accuracy.
        """
        key = tuple(id(history) for history in histories)
        if key not in self._indices:
            self._indices[key] = len(self._histories)
            self._histories.append((histories, best_epochs))
        return self._indices[key]

    def curves(self) -> list[dict[str, Any]]:
        """Return all added curves in the order of their indices, as values that fit into JSON.

        If there are more than `_MAX_NUMBERS` numbers, only some of the epochs are returned.
        """
        metrics = len(_SPLITS) * len(_QUANTITIES)
        numbers_per_epoch = 0
        for histories, _ in self._histories:
            lines = 3 if len(histories) > 1 else 1  # mean, minimum and maximum of several runs
            numbers_per_epoch += metrics * lines
        points = max(_LEAST_POINTS, _MAX_NUMBERS // max(numbers_per_epoch, 1))
        return [_curves(histories, epochs, points) for histories, epochs in self._histories]


def _curves(histories: Histories, best_epochs: Sequence[int], points: int) -> dict[str, Any]:
    """Return the curves of runs that differ only in seed, as values that fit into JSON.

    Args:
      histories: for each run, a dict of metrics for each epoch.
      best_epochs: the epoch of each run, from 1, with the best validation accuracy.
      points: about how many epochs to return. The first, the last and the best epochs are included.

    Returns:
      a dict: "epochs", the returned epochs; "chosen", the best epochs; and for each metric, such as
      "val_loss", a list of curves. These are the curve of a single run, or the mean, minimum and
      maximum of several runs. "val_loss_chosen" has the metric in each run's best epoch.
    """
    length = max(map(len, histories))
    indices = np.round(np.linspace(0, length - 1, min(points, length))).astype(int)
    indices = np.union1d(indices, np.asarray(best_epochs) - 1)
    result: dict[str, Any] = {"epochs": (indices + 1).tolist(), "chosen": list(best_epochs)}
    for split, quantity in itertools.product(_SPLITS, _QUANTITIES):
        key = f"{split}_{quantity}"
        if key not in histories[0][0]:  # a run without validation images
            continue
        values = stack_curves(histories, key)
        shown = values[:, indices]
        lines = [np.nanmean(shown, 0)]
        if len(histories) > 1:
            lines += [np.nanmin(shown, 0), np.nanmax(shown, 0)]
        result[key] = [[_rounded(value) for value in line] for line in lines]
        best_values = [row[epoch - 1] for row, epoch in zip(values, best_epochs, strict=True)]
        result[f"{key}_chosen"] = [_rounded(value) for value in best_values]
    return result


def _rounded(value: float) -> float | None:
    """Return a number with four significant digits; None (`null` in JSON) if it is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _run_chart(
    store: _CurveStore,
    histories: Histories,
    best_epochs: Sequence[int],
    quantity: str,
    title: str,
) -> dict[str, Any]:
    """Return a chart with the training and validation curves of runs that differ only in seed.

    Args:
      store: the store to which the curves are added.
      histories: for each run, a dict of metrics for each epoch.
      best_epochs: the epoch of each run, from 1, with the best validation accuracy.
      quantity: "accuracy" or "loss".
      title: not used; the chart has no title.

    Returns:
      a dict for the page's script. It refers to curves by their index in `store`.
    """
    curves = store.add(histories, best_epochs)
    lines = [{"label": "training", "curves": curves, "split": "train"}]
    if f"val_{quantity}" in histories[0][0]:
        lines.append({"label": "validation", "curves": curves, "split": "val"})
    return {"kind": "chart", "quantity": quantity, "lines": lines}


def _study_chart(
    store: _CurveStore, variations: Sequence[Variation], title: str
) -> dict[str, Any] | None:
    """Return a chart with a line for each variation, best validation accuracy first.

    The chart shows accuracies; a reader of the page can change it to losses.

    Args:
      store: the store to which the curves are added.
      variations: the variations, each with its runs.
      title: not used; the chart has no title.

    Returns:
      a dict for the page's script. It refers to curves by their index in `store`.
    """
    best_first = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    lines = []
    for variation in best_first:
        best_epochs = [run.result["selected_epoch"] for run in variation.runs]
        curves = store.add([run.history for run in variation.runs], best_epochs)
        label = shortened(variation.name, _NAME_LETTERS)
        lines.append({"label": label, "curves": curves, "row": variations.index(variation)})
    return {"kind": "chart", "quantity": "accuracy", "lines": lines}


def _confusion(store: _CurveStore, run: Any, title: str) -> dict[str, Any] | None:
    return confusion_data(run, store.sprite_bytes)
