"""The rows of the table that `jaxcifar compare` prints: settings and results of runs."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import duration

if TYPE_CHECKING:
    from jaxcifar.report.run_records import RunRecord
    from jaxcifar.runs.metric_fields import MetricDeclaration

NO_VALUE = "-"
_FLIP_ACCURACY_TITLE = "test with flips"
_SHOWN_DIGEST_LENGTH = 8


def rows_of_different_settings(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """Return the rows of a table of the settings in which runs differ.

    Returns:
      title of the setting -> the setting's value in each run, as text.
    """
    from jaxcifar.config.settings import effective_settings, readable_text
    from jaxcifar.report.wording import field_title

    settings_of_runs = [effective_settings(run.config.settings()) for run in runs]
    names_with_repetitions = itertools.chain.from_iterable(settings_of_runs)
    distinct_names = dict.fromkeys(names_with_repetitions)  # unlike a set, in order of appearance
    rows = {}
    for name in distinct_names:
        values = [settings.get(name) for settings in settings_of_runs]
        cells = [NO_VALUE if value is None else readable_text(value) for value in values]
        is_equal_in_all_runs = len(set(cells)) == 1
        if is_equal_in_all_runs:
            continue
        is_digest = name.endswith("sha256") or name.startswith("SHA-256")
        if is_digest:
            cells = [cell[:_SHOWN_DIGEST_LENGTH] for cell in cells]
        rows[field_title(name)] = cells
    return rows


def result_rows(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """Return table rows of results: title -> cell for each run, "-" if a run lacks the result."""
    return {
        "epochs trained": [f"{len(run.history)} of {run.config.epochs}" for run in runs],
        "best epoch": [str(_best_epoch(run).get("epoch", NO_VALUE)) for run in runs],
        "validation": [_percent_or_dash(_best_epoch(run), "val_accuracy") for run in runs],
        "test": [_percent_or_dash(run.result, "test_accuracy") for run in runs],
        _FLIP_ACCURACY_TITLE: [_percent_or_dash(run.result, "test_accuracy_flip") for run in runs],
        **_metric_rows(runs),
        "device time": [_device_time_or_dash(run) for run in runs],
        "images/s": [_rate_or_dash(run) for run in runs],
        "device": [run.result["device"] if run.result else NO_VALUE for run in runs],
    }


def _best_epoch(run: "RunRecord") -> dict[str, Any]:
    """Return the metrics after the best epoch of a run; empty before its first epoch."""
    return {**run.selected_metrics} if run.history else {}


def _metric_rows(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """Return table rows of all metrics except accuracy, on validation and on test images.

    Returns:
      title of the row, such as "test loss" -> text for each run, "-" without a value.
    """
    from jaxcifar.runs.metric_fields import measured_metrics

    results: list[dict[str, Any]] = [{**run.result} if run.result else {} for run in runs]
    best_epochs = [_best_epoch(run) for run in runs]
    rows: dict[str, list[str]] = {}
    for metric in measured_metrics(results, best_epochs):
        name = metric["name"]
        if name == "accuracy":  # has its own rows
            continue
        validation_cells = _metric_cells(metric, f"val_{name}", best_epochs)
        test_cells = _metric_cells(metric, f"test_{name}", results)
        for split, cells in (("validation", validation_cells), ("test", test_cells)):
            is_measured = any(cell != NO_VALUE for cell in cells)
            if is_measured:
                title = printable(f"{split} {metric['title']}")
                is_title_taken = title in rows or title == _FLIP_ACCURACY_TITLE
                unique_title = f"{title} ({name})" if is_title_taken else title
                rows[unique_title] = cells
    return rows


def _metric_cells(
    metric: "MetricDeclaration", key: str, metrics_of_runs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the value of a metric in each run as text, "-" without a value.

    `key` names the value in the metrics of a run, such as "test_loss".
    """
    from jaxcifar.runs.metric_fields import format_value

    values = [metrics.get(key) for metrics in metrics_of_runs]
    return [NO_VALUE if value is None else format_value(value, metric["unit"]) for value in values]


def _percent_or_dash(metrics: Mapping[str, Any] | None, name: str) -> str:
    """Return the metric `name` as text, such as "88.41%"; "-" if there is no value."""
    return f"{metrics[name]:.2%}" if metrics and name in metrics else NO_VALUE


def _device_time_or_dash(run: "RunRecord") -> str:
    """Return the device time of a run as text, such as "12 min"; "-" if it is not finished."""
    from jaxcifar.report.run_records import FinishedRun
    from jaxcifar.report.run_times import device_seconds

    return duration(device_seconds([run])) if isinstance(run, FinishedRun) else NO_VALUE


def _rate_or_dash(run: "RunRecord") -> str:
    """Return the training speed of a run in images per second; "-" before its first epoch."""
    from jaxcifar.runs.result import mean_images_per_second

    return f"{mean_images_per_second(run.history):,.0f}" if run.history else NO_VALUE
