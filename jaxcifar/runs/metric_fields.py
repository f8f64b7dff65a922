"""Fields for metrics: `val_NAME` in the row of an epoch, and `test_NAME` in a result.

A result lists its metrics with title and unit, so that they can be shown without the user's code.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from jaxcifar.build.user_metrics import MetricSet
from jaxcifar.machine.reading import Line
from jaxcifar.training import metrics as training_metrics
from jaxcifar.training.metrics import (
    ACCURACY,
    LOSS,
    MOST_LETTERS,
    NAME_PATTERN,
    PERCENT,
    Metric,
)

MOST_METRICS = 100
_VALIDATED = re.compile(f"val_{NAME_PATTERN}")
_DIFFERENT = " (differs between runs)"  # in the title of such a metric
_Text = Annotated[str, Meta(max_length=MOST_LETTERS)]


class Declared(TypedDict):
    """A metric in the list of a result; only a user's has `code` (`FILE.py:NAME`) and `sha256`."""

    name: Annotated[str, Meta(pattern=rf"^{NAME_PATTERN}\Z")]
    title: _Text
    unit: _Text
    higher_is_better: bool
    code: NotRequired[Line]
    sha256: NotRequired[Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]]


def declared(metrics: MetricSet) -> list[Declared]:
    """Return the list of metrics for a result."""
    user_code = {user.metric.name: user for user in metrics.users}
    declarations: list[Declared] = []
    for metric in metrics.all:
        declaration: Declared = {
            "name": metric.name,
            "title": metric.title,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }
        if metric.name in user_code:
            declaration["code"] = user_code[metric.name].code
            declaration["sha256"] = user_code[metric.name].sha256
        declarations.append(declaration)
    return declarations


def metrics_of(
    results: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]] = ()
) -> list[Declared]:
    """Return the metrics that appear in several results or rows, built-in metrics first.

    Results of older versions have no list; they contain built-in metrics only. The rows of an
    unfinished run may have metrics without a declaration; their title is their name. If runs
    declare different metrics under one name, the title says so.
    """
    built_in = declared(MetricSet(training_metrics.METRICS))
    by_name = {declaration["name"]: declaration for declaration in built_in}
    measured: set[str] = set()
    for result in results:
        for declaration in result.get("metrics", []):
            name = declaration["name"]
            first = by_name.setdefault(name, declaration)
            if _differ(first, declaration):
                by_name[name] = {**first, "title": f"{first['title']}{_DIFFERENT}"}
        measured |= {name for name in by_name if f"test_{name}" in result}
    for row in rows:
        for name in validated(row):
            by_name.setdefault(name, _undeclared(name))
            measured.add(name)
    return [declaration for name, declaration in by_name.items() if name in measured]


def _differ(first: Declared, other: Declared) -> bool:
    """Return whether two declarations of one name are of different metrics."""
    if first["title"].endswith(_DIFFERENT):
        return False  # the title says so already
    keys = ("title", "unit", "higher_is_better", "sha256")
    return any(first.get(key) != other.get(key) for key in keys)


def _undeclared(name: str) -> Declared:
    return {"name": name, "title": name, "unit": "", "higher_is_better": True}


def fields(split: str, values: Mapping[str, float]) -> dict[str, float]:
    """Return `SPLIT_NAME` for each value that is finite: JSON has no other numbers."""
    return {f"{split}_{name}": v for name, v in values.items() if math.isfinite(v)}


def validated_fields(row: Mapping[str, Any], known: Iterable[str]) -> dict[str, float]:
    """Return the fields of metrics in a row that comes from a file.

    Args:
      row: of `metrics.jsonl`.
      known: fields that are checked elsewhere.

    Raises:
      ValueError: a field is not a finite number, or there are too many fields.
    """
    names = [name for name in row if name not in known and _VALIDATED.fullmatch(name)]
    return _numbers(row, names)


def tested_fields(
    result: Mapping[str, Any], metrics: Sequence[Declared], known: Iterable[str]
) -> dict[str, float]:
    """Return the fields of the declared metrics in a result that comes from a file.

    Args:
      result: of `result.json`.
      metrics: the list of metrics in the result, already checked.
      known: fields that are checked elsewhere.

    Raises:
      ValueError: a field is not a finite number.
    """
    names = [f"test_{line['name']}" for line in metrics]
    return _numbers(result, [name for name in names if name in result and name not in known])


def _numbers(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return the fields with these names, after checking that each is a finite number."""
    if len(names) > MOST_METRICS:
        raise ValueError(f"has more than {MOST_METRICS} metrics")
    for name in names:
        value = values[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise ValueError(f"{name} is not a finite number")
    return {name: float(values[name]) for name in names}


def spelled(value: float, unit: str) -> str:
    """Return a value as tables show it: "94.01%", "0.2314 nats"."""
    return f"{value:.2%}" if unit == PERCENT else f"{value:.4g} {unit}".rstrip()


def shown_metrics(metrics: Iterable[Metric], row: Mapping[str, Any]) -> list[str]:
    """Return the texts for metrics in the line of an epoch.

    A dash stands for a value that is not finite. Without validation images the list is empty.
    """
    if "val_loss" not in row:
        return []
    shown = []
    for metric in metrics:
        value = row.get(f"val_{metric.name}")
        text = "-" if value is None else spelled(value, metric.unit)
        shown.append(f"{metric.title} {text}")
    return shown


def other_built_in(row: Mapping[str, Any]) -> list[Metric]:
    """Return the built-in metrics that a row has, other than loss and accuracy."""
    measured = validated(row)
    others = [metric for metric in training_metrics.METRICS if metric not in (LOSS, ACCURACY)]
    return [metric for metric in others if metric.name in measured]


def validated(row: Mapping[str, Any]) -> list[str]:
    """Return the names of the metrics that a row has values of."""
    return [name.removeprefix("val_") for name in row if _VALIDATED.fullmatch(name)]


def tags(split: str, metrics: Iterable[str]) -> dict[str, str]:
    """Return TensorBoard's tag for each field of the metrics."""
    return {f"{split}_{name}": f"{name}/{split}" for name in metrics}
