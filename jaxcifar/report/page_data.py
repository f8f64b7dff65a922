"""The data of the page's widgets: charts of curves, and tables with images of wrong predictions.

The page's script (`script/`) replaces pictures by interactive widgets. Which pictures it replaces
follows from the functions that drew them.
"""

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.report.classes import plot_confusion
from jaxcifar.report.confusion_data import confusion_data
from jaxcifar.report.pictures import PlotCall
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.study_figures import plot_all_validation
from jaxcifar.runs.curves import stack_curves
from jaxcifar.runs.plots import plot_curves, shortened

_MAX_NUMBERS_IN_CURVES = 50_000  # in all curves of a page: about 350 kB
_LEAST_POINTS_OF_CURVE = 12  # of a curve, however many curves there are
_MAX_SPRITE_BYTES = 300_000  # of all images behind the cells of confusion matrices
_MAX_NAME_LETTERS = 60
_QUANTITIES = ("accuracy", "loss")
_SPLITS = ("train", "val")
Histories = Sequence[Sequence[Mapping[str, Any]]]
WidgetMaker = Callable[..., dict[str, Any] | None]


class PageData(NamedTuple):
    """The data of the widgets (interactive charts and tables) that replace pictures of a page.

    Attributes:
      json: a JSON object that may stand inside of an HTML element (see `json_for_html`).
      widget_id_by_picture: path of a picture -> key of its widget in the JSON object "parts".
    """

    json: str
    widget_id_by_picture: dict[str, str]


def make_page_data(plot_calls: Mapping[str, PlotCall]) -> PageData:
    """Return the data of the widgets (interactive charts and tables) that replace pictures.

    Args:
      plot_calls: path of a picture -> the function that drew it, and the function's arguments.
    """
    plot_functions = [_plot_function(call) for call in plot_calls.values()]
    matrix_count = plot_functions.count(plot_confusion)
    max_bytes_per_matrix = _MAX_SPRITE_BYTES // max(matrix_count, 1)
    chart_curves = _ChartCurves()

    def matrix_data(run: FinishedRun, title: str) -> dict[str, Any] | None:
        return confusion_data(run, max_bytes_per_matrix)

    # Each widget maker gets the arguments with which the picture was drawn.
    widget_makers: dict[Callable[..., None], WidgetMaker] = {
        plot_curves: functools.partial(_run_chart, chart_curves),
        plot_all_validation: functools.partial(_study_chart, chart_curves),
        plot_confusion: matrix_data,
    }
    widget_id_by_picture: dict[str, str] = {}
    widgets: dict[str, dict[str, Any]] = {}
    for (path, call), plot_function in zip(plot_calls.items(), plot_functions, strict=True):
        stays_picture = plot_function not in widget_makers
        if stays_picture:
            continue
        widget = widget_makers[plot_function](*call.arguments)
        if widget is not None:
            widget_id = f"part{len(widgets)}"
            widget_id_by_picture[path] = widget_id
            widgets[widget_id] = widget
    page_json = json_for_html({"curves": chart_curves.curves(), "parts": widgets})
    return PageData(page_json, widget_id_by_picture)


def json_for_html(value: Any) -> str:
    r"""Return JSON that can't end the HTML element in which it stands.

    All characters but ASCII, and `<`, `>` and `&`, are written as `\uXXXX`.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plot_function(call: PlotCall) -> Callable[..., None]:
    """Return the function that drew a picture, without the arguments of a `functools.partial`."""
    return call.plot.func if isinstance(call.plot, functools.partial) else call.plot


class _RunsOfCurve(NamedTuple):
    """The histories of runs that differ only in seed or fold, and the best epoch of each run."""

    histories: Histories
    best_epochs: Sequence[int]


class _ChartCurves:
    """Stores the curves of a page's charts; curves that several charts show are stored once."""

    def __init__(self) -> None:
        self._stored_runs: list[_RunsOfCurve] = []
        self._index_of_history_ids: dict[tuple[int, ...], int] = {}

    def add(self, histories: Histories, best_epochs: Sequence[int]) -> int:
        """Add curves of runs that differ only in seed or fold; return their index in `curves()`.

        Curves that were added before keep their index.

        Args:
          histories: for each run, a dict of metrics for each epoch.
          best_epochs: the epoch of each run, from 1, with the best validation accuracy.
        """
        history_ids = tuple(id(history) for history in histories)
        if history_ids not in self._index_of_history_ids:
            self._index_of_history_ids[history_ids] = len(self._stored_runs)
            self._stored_runs.append(_RunsOfCurve(histories, best_epochs))
        return self._index_of_history_ids[history_ids]

    def curves(self) -> list[dict[str, Any]]:
        """Return all added curves in the order of their indices, as values that fit into JSON.

        If all curves together have more than `_MAX_NUMBERS_IN_CURVES` numbers, each curve has only
        some of its epochs.
        """
        metric_count = len(_SPLITS) * len(_QUANTITIES)
        numbers_per_epoch = 0
        for runs in self._stored_runs:
            has_several_runs = len(runs.histories) > 1
            line_count = 3 if has_several_runs else 1  # mean, minimum and maximum of several runs
            numbers_per_epoch += metric_count * line_count
        allowed_points = _MAX_NUMBERS_IN_CURVES // max(numbers_per_epoch, 1)
        point_count = max(_LEAST_POINTS_OF_CURVE, allowed_points)
        return [
            _thinned_curves(runs.histories, runs.best_epochs, point_count)
            for runs in self._stored_runs
        ]


def _thinned_curves(
    histories: Histories, best_epochs: Sequence[int], point_count: int
) -> dict[str, Any]:
    """Return the curves of runs that differ only in seed or fold, as values that fit into JSON.

    Args:
      histories: for each run, a dict of metrics for each epoch.
      best_epochs: the epoch of each run, from 1, with the best validation accuracy.
      point_count: about how many epochs to return. They are evenly spaced; the best epochs are
        added to them.

    Returns:
      a dict with these keys:
        "epochs": the returned epochs.
        "chosen": the best epochs.
        a metric, such as "val_loss": a list that has the curve of a single run, or the mean, the
          minimum and the maximum of several runs.
        a metric and "_chosen", such as "val_loss_chosen": the metric in each run's best epoch.
    """
    epoch_count = max(map(len, histories))
    evenly_spaced = np.linspace(0, epoch_count - 1, min(point_count, epoch_count))
    best_indices = np.asarray(best_epochs) - 1  # epochs are numbered from 1
    shown_indices = np.union1d(np.round(evenly_spaced).astype(int), best_indices)
    curves: dict[str, Any] = {"epochs": (shown_indices + 1).tolist(), "chosen": list(best_epochs)}
    for split, quantity in itertools.product(_SPLITS, _QUANTITIES):
        metric = f"{split}_{quantity}"
        if metric not in histories[0][0]:  # a run without validation images
            continue
        values_by_run_and_epoch = stack_curves(histories, metric)
        shown_values = values_by_run_and_epoch[:, shown_indices]
        lines = [np.nanmean(shown_values, axis=0)]
        if len(histories) > 1:
            lines.append(np.nanmin(shown_values, axis=0))
            lines.append(np.nanmax(shown_values, axis=0))
        curves[metric] = [_round_for_json(line) for line in lines]
        run_indices = np.arange(len(histories))
        best_values = values_by_run_and_epoch[run_indices, best_indices]
        curves[f"{metric}_chosen"] = _round_for_json(best_values)
    return curves


def _round_for_json(values: Iterable[float]) -> list[float | None]:
    """Return numbers with four significant digits; None (`null` in JSON) if one is not finite."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]


def _run_chart(
    chart_curves: _ChartCurves,
    histories: Histories,
    best_epochs: Sequence[int],
    quantity: str,
    title: str,
) -> dict[str, Any]:
    """Return a chart of training and validation, for runs that differ only in seed or fold.

    Args:
      chart_curves: the store to which the curves are added.
      histories: for each run, a dict of metrics for each epoch.
      best_epochs: the epoch of each run, from 1, with the best validation accuracy.
      quantity: "accuracy" or "loss".
      title: title of the picture that the chart replaces; not used here.

    Returns:
      a dict for the page's script. It refers to curves by their index in `chart_curves`.
    """
    curves_index = chart_curves.add(histories, best_epochs)
    lines = [{"label": "training", "curves": curves_index, "split": "train"}]
    if f"val_{quantity}" in histories[0][0]:
        lines.append({"label": "validation", "curves": curves_index, "split": "val"})
    return {"kind": "chart", "quantity": quantity, "lines": lines}


def _study_chart(
    chart_curves: _ChartCurves, variations: Sequence[Variation], title: str
) -> dict[str, Any] | None:
    """Return a chart with a line for each variation, best validation accuracy first.

    The chart shows accuracies; a reader of the page can change it to losses.

    Args:
      chart_curves: the store to which the curves are added.
      variations: the variations, each with its runs.
      title: title of the picture that the chart replaces; not used here.

    Returns:
      a dict for the page's script. It refers to curves by their index in `chart_curves`.
    """
    best_first = sorted(variations, key=lambda variation: -variation.mean("val_accuracy"))
    lines = []
    for variation in best_first:
        best_epochs = [run.result["selected_epoch"] for run in variation.runs]
        curves_index = chart_curves.add([run.history for run in variation.runs], best_epochs)
        label = shortened(variation.name, _MAX_NAME_LETTERS)
        lines.append({"label": label, "curves": curves_index, "row": variations.index(variation)})
    return {"kind": "chart", "quantity": "accuracy", "lines": lines}
