"""The report's table of all metrics except accuracy, which other tables have."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.report.run_records import Variation
from jaxcifar.report.wording import accuracy_text, escape_markdown
from jaxcifar.runs.metric_fields import MetricDeclaration, format_value, measured_metrics
from jaxcifar.training.metrics import PERCENT


def metric_table(variations: Sequence[Variation]) -> dict[str, Any]:
    """Return the table of all metrics of variations except the accuracy.

    Returns:
      a dict: "titles", the column titles, one per metric; and "lines", with a dict for each
      variation. That dict has the variation's "name" and its "cells", one per metric. A cell is "–"
      if a run of the variation lacks the metric.
    """
    results = [run.result for variation in variations for run in variation.runs]
    metrics = [metric for metric in measured_metrics(results) if metric["name"] != "accuracy"]
    lines = []
    for variation in variations:
        cells = [_metric_cell(variation, metric) for metric in metrics]
        lines.append({"name": escape_markdown(variation.name), "cells": cells})
    return {"titles": [_column_title(metric) for metric in metrics], "lines": lines}


def _column_title(metric: MetricDeclaration) -> str:
    """Return a metric's title and unit, with "↑" if higher values are better, otherwise "↓"."""
    unit = "" if metric["unit"] in ("", PERCENT) else f", {metric['unit']}"
    arrow = "↑" if metric["higher_is_better"] else "↓"
    return escape_markdown(f"{metric['title']}{unit} {arrow}")


def _metric_cell(variation: Variation, metric: MetricDeclaration) -> str:
    """Return a metric's mean over seeds or folds, as text; "–" if a run lacks the metric.

    For several seeds or folds, "±" and the standard deviation (n - 1) follow.
    """
    result_field = f"test_{metric['name']}"
    if not all(result_field in run.result for run in variation.runs):
        return "–"
    if metric["unit"] == PERCENT:
        return accuracy_text(variation, result_field)
    values = variation.values_by_seed_or_fold(result_field)
    mean = format_value(float(values.mean()), "")
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.2g}"
