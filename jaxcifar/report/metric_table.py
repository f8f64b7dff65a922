"""The table of all metrics but the accuracy, which the other tables have."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.report.run_records import Variation
from jaxcifar.report.wording import accuracy, plain
from jaxcifar.runs.metric_fields import Declared, metrics_of, spelled
from jaxcifar.training.metrics import PERCENT


def metric_table(variations: Sequence[Variation]) -> dict[str, Any]:
    """Return what the template says of the metrics on test images: titles, and a line a variation.

    A dash stands for what not all runs of a variation have measured.
    """
    results = [run.result for v in variations for run in v.runs]
    shown = [line for line in metrics_of(results) if line["name"] != "accuracy"]
    return {
        "titles": [_title(line) for line in shown],
        "lines": [
            {"name": plain(v.name), "cells": [_cell(v, line) for line in shown]} for v in variations
        ],
    }


def _title(metric: Declared) -> str:
    unit = "" if metric["unit"] in ("", PERCENT) else f", {metric['unit']}"
    return plain(f"{metric['title']}{unit} {'↑' if metric['higher_is_better'] else '↓'}")


def _cell(variation: Variation, metric: Declared) -> str:
    """Return the mean over the runs, and with several their standard deviation (n - 1)."""
    key = f"test_{metric['name']}"
    if not all(key in run.result for run in variation.runs):
        return "–"
    if metric["unit"] == PERCENT:
        return accuracy(variation, key)
    values = variation.values(key)
    mean = spelled(float(values.mean()), "")
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.2g}"
