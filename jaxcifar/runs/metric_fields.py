"""The fields of metrics in a run's files: `val_NAME` in an epoch's row, `test_NAME` in a result.

A result lists its metrics with title and unit, so that they can be shown without the user's code.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from jaxcifar.build.user_metrics import MetricSet, UserMetric
from jaxcifar.machine.reading import Line
from jaxcifar.training import metrics as training_metrics
from jaxcifar.training.metrics import MAX_TITLE_LETTERS, METRIC_NAME_PATTERN, PERCENT

MAX_METRICS = 100
_VALIDATION_FIELD_PATTERN = re.compile(f"val_{METRIC_NAME_PATTERN}")
_DIFFERS_NOTE = " (differs between runs)"
_Text = Annotated[str, Meta(max_length=MAX_TITLE_LETTERS)]


class MetricDeclaration(TypedDict):
    """A metric's name, title, unit and direction, as `result.json` lists them.

    Only metrics that a user defined have `code` (the file) and `sha256` (of the file).
    """

    name: Annotated[str, Meta(pattern=rf"^{METRIC_NAME_PATTERN}\Z")]
    title: _Text
    unit: _Text
    higher_is_better: bool
    code: NotRequired[Line]
    sha256: NotRequired[Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]]


def declare_metrics(metrics: MetricSet) -> list[MetricDeclaration]:
    """Return the name, title, unit and direction of each metric, as `result.json` lists them."""
    user_metrics = {user_metric.metric.name: user_metric for user_metric in metrics.user_metrics}
    declarations: list[MetricDeclaration] = []
    for metric in metrics.all:
        declaration: MetricDeclaration = {
            "name": metric.name,
            "title": metric.title,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }
        if metric.name in user_metrics:
            declaration["code"] = user_metrics[metric.name].code
            declaration["sha256"] = user_metrics[metric.name].sha256
        declarations.append(declaration)
    return declarations


def is_measured(user_metric: UserMetric, result: Mapping[str, Any]) -> bool:
    """Return True if a run has measured a user's metric, with the same code.

    `result` is the content of the run's `result.json`. If the run was finished before the user gave
    the metric, the metric is not measured.
    """
    measured = [(entry["name"], entry.get("sha256")) for entry in result.get("metrics", [])]
    return (user_metric.metric.name, user_metric.sha256) in measured


def measured_metrics(
    results: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]] = ()
) -> list[MetricDeclaration]:
    """Return the metrics that were measured in any of several runs, built-in metrics first.

    A result of an older version has no list `metrics`; it contains built-in metrics only. A metric
    that appears in `rows` but not in `results` gets its name as title. If two runs declare
    different metrics under one name, the title of the first one gets a note.

    Args:
      results: the contents of `result.json` of finished runs.
      rows: rows of `metrics.jsonl` of unfinished runs.
    """
    built_in = declare_metrics(MetricSet(training_metrics.METRICS))
    declarations_by_name = {declaration["name"]: declaration for declaration in built_in}
    measured_names: set[str] = set()
    for result in results:
        for declaration in result.get("metrics", []):
            _add_declaration(declaration, declarations_by_name)
        measured_names |= {name for name in declarations_by_name if f"test_{name}" in result}
    for row in rows:
        for name in validation_metric_names(row):
            declarations_by_name.setdefault(
                name, {"name": name, "title": name, "unit": "", "higher_is_better": True}
            )
            measured_names.add(name)
    return [
        declaration for name, declaration in declarations_by_name.items() if name in measured_names
    ]


def _add_declaration(
    declaration: MetricDeclaration, declarations_by_name: dict[str, MetricDeclaration]
) -> None:
    """Add the declaration of a metric, unless there is one of this name.

    If the declaration of this name is of a different metric, its title gets a note that says so.
    """
    name = declaration["name"]
    earlier_declaration = declarations_by_name.setdefault(name, declaration)
    has_note = earlier_declaration["title"].endswith(_DIFFERS_NOTE)
    if not has_note and _are_different_metrics(earlier_declaration, declaration):
        title = f"{earlier_declaration['title']}{_DIFFERS_NOTE}"
        declarations_by_name[name] = {**earlier_declaration, "title": title}


def _are_different_metrics(first: MetricDeclaration, second: MetricDeclaration) -> bool:
    """Return True if two declarations with the same name describe different metrics."""
    compared_fields = ("title", "unit", "higher_is_better", "sha256")
    return any(first.get(field) != second.get(field) for field in compared_fields)


def finite_fields(split: str, values: Mapping[str, float]) -> dict[str, float]:
    """Return the finite values with `split` before their names, such as `val_loss` for `loss`.

    Values that are infinite or NaN are left out, because JSON can't contain them.
    """
    return {f"{split}_{name}": value for name, value in values.items() if math.isfinite(value)}


def check_validation_fields(
    row: Mapping[str, Any], known_fields: Iterable[str]
) -> dict[str, float]:
    """Check the fields `val_NAME` in a row of `metrics.jsonl`, and return their values by field.

    Fields in `known_fields`, which are checked elsewhere, are left out.

    Raises:
      ValueError: a field is not a finite number, or there are more than `MAX_METRICS` fields.
    """
    fields = [
        field
        for field in row
        if field not in known_fields and _VALIDATION_FIELD_PATTERN.fullmatch(field)
    ]
    return _check_numbers(row, fields)


def check_test_fields(
    result: Mapping[str, Any], metrics: Sequence[MetricDeclaration], known_fields: Iterable[str]
) -> dict[str, float]:
    """Check the fields `test_NAME` in a `result.json`, and return their values by field.

    NAME is the name of one of `metrics`. Fields in `known_fields`, which are checked elsewhere, are
    left out.

    Raises:
      ValueError: a field is not a finite number, or there are more than `MAX_METRICS` fields.
    """
    all_fields = [f"test_{metric['name']}" for metric in metrics]
    present_fields = [
        field for field in all_fields if field in result and field not in known_fields
    ]
    return _check_numbers(result, present_fields)


def _check_numbers(values: Mapping[str, Any], fields: Sequence[str]) -> dict[str, float]:
    """Return the values of these fields, after a check that they are finite numbers."""
    if len(fields) > MAX_METRICS:
        raise ValueError(f"has more than {MAX_METRICS} metrics")
    for field in fields:
        value = values[field]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise ValueError(f"{field} is not a finite number")
    return {field: float(values[field]) for field in fields}


def format_value(value: float, unit: str) -> str:
    """Return a metric's value with its unit, as tables show it: "94.01%" or "0.2314 nats"."""
    if unit == PERCENT:
        return f"{value:.2%}"
    return f"{value:.4g} {unit}".rstrip()


def validation_metric_names(row: Mapping[str, Any]) -> list[str]:
    """Return the names of the validation metrics in an epoch's row: NAME of each `val_NAME`."""
    return [
        field.removeprefix("val_") for field in row if _VALIDATION_FIELD_PATTERN.fullmatch(field)
    ]
