"""The fields of rows and results that metrics name: `val_NAME` and `test_NAME`.

A result says which metrics were measured, so that readers need no code of the user to show them.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from jaxcifar.build.user_metrics import MetricSet, UserMetric
from jaxcifar.machine.reading import Line
from jaxcifar.training import metrics as training_metrics
from jaxcifar.training.metrics import PERCENT

MOST_METRICS = 100
_NAME = "[A-Za-z][A-Za-z0-9_]{0,39}"
_VALIDATED = re.compile(f"val_{_NAME}")
_Text = Annotated[str, Meta(max_length=40)]


class Declared(TypedDict):
    """A metric as a result declares it; `code` and `sha256` are of the user's, `FILE.py:NAME`."""

    name: Annotated[str, Meta(pattern=f"^{_NAME}$")]
    title: _Text
    unit: _Text
    higher_is_better: bool
    code: NotRequired[Line]
    sha256: NotRequired[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]]


def declared(metrics: MetricSet) -> list[Declared]:
    """Return what a result says of its metrics."""
    user_code = {user.metric.name: user for user in metrics.users}
    said: list[Declared] = []
    for metric in metrics.all:
        line: Declared = {
            "name": metric.name,
            "title": metric.title,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }
        if metric.name in user_code:
            line["code"] = user_code[metric.name].code
            line["sha256"] = user_code[metric.name].sha256
        said.append(line)
    return said


def metrics_of(
    results: Iterable[Mapping[str, Any]], rows: Iterable[Mapping[str, Any]] = ()
) -> list[Declared]:
    """Return the metrics that several results or rows have, ours first; each name once.

    Results of older versions declare none: they have some of ours. A row of a run that is not
    finished may have metrics that nothing declares: their name is their title.
    """
    by_name = {line["name"]: line for line in declared(MetricSet(training_metrics.METRICS))}
    measured: set[str] = set()
    for result in results:
        for line in result.get("metrics", []):
            by_name.setdefault(line["name"], line)
        measured |= {name for name in by_name if f"test_{name}" in result}
    for name in (name for row in rows for name in validated(row)):
        undeclared: Declared = {"name": name, "title": name, "unit": "", "higher_is_better": True}
        by_name.setdefault(name, undeclared)
        measured.add(name)
    return [line for name, line in by_name.items() if name in measured]


def fields(split: str, values: Mapping[str, float]) -> dict[str, float]:
    """Return `SPLIT_NAME` for each value that is finite: JSON has no other numbers."""
    return {f"{split}_{name}": v for name, v in values.items() if math.isfinite(v)}


def validated_fields(row: Mapping[str, Any], known: Iterable[str]) -> dict[str, float]:
    """Return the fields of metrics in a row that comes from a file.

    Args:
      row: of `metrics.jsonl`.
      known: fields that are checked elsewhere.

    Raises:
      ValueError: one is not a finite number, or they are too many.
    """
    names = [name for name in row if name not in known and _VALIDATED.fullmatch(name)]
    return _numbers(row, names)


def tested_fields(
    result: Mapping[str, Any], metrics: Sequence[Declared], known: Iterable[str]
) -> dict[str, float]:
    """Return the fields of the declared metrics in a result that comes from a file.

    Args:
      result: of `result.json`.
      metrics: what it declares, checked.
      known: fields that are checked elsewhere.

    Raises:
      ValueError: one is not a finite number.
    """
    names = [f"test_{line['name']}" for line in metrics]
    return _numbers(result, [name for name in names if name in result and name not in known])


def _numbers(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    if len(names) > MOST_METRICS:
        raise ValueError(f"has more than {MOST_METRICS} metrics")
    for name in names:
        is_number = isinstance(said[name], int | float) and not isinstance(said[name], bool)
        if not is_number or not math.isfinite(said[name]):
            raise ValueError(f"{name}: is not a finite number")
    return {name: float(said[name]) for name in names}


def spelled(value: float, unit: str) -> str:
    """Return a value as tables show it: "94.01%", "0.2314 nats"."""
    return f"{value:.2%}" if unit == PERCENT else f"{value:.4g} {unit}".rstrip()


def shown_metrics(users: Iterable[UserMetric], row: Mapping[str, Any]) -> list[str]:
    """Return what the line of an epoch shows of the user's metrics, one text each.

    A dash stands for a value that is not finite. Without validation there is nothing to show.
    """
    if "val_loss" not in row:
        return []
    shown = []
    for user in users:
        value = row.get(f"val_{user.metric.name}")
        text = "-" if value is None else spelled(value, user.metric.unit)
        shown.append(f"{user.metric.title} {text}")
    return shown


def validated(row: Mapping[str, Any]) -> list[str]:
    """Return the names of the metrics that a row has values of."""
    return [name.removeprefix("val_") for name in row if _VALIDATED.fullmatch(name)]


def tags(split: str, metrics: Iterable[str]) -> dict[str, str]:
    """Return what TensorBoard calls the fields of metrics, by field."""
    return {f"{split}_{name}": f"{name}/{split}" for name in metrics}
