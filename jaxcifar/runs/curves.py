"""The curves of several runs: a metric of each run and epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def stack_curves(histories: Sequence[Sequence[Mapping[str, Any]]], field: str) -> np.ndarray:
    """Return an array `[runs, epochs]` of one metric; NaN after a run's last epoch.

    Args:
      histories: for each run, the rows of `metrics.jsonl`, one per epoch.
      field: the metric's field in a row, such as `val_loss`.
    """
    epochs = max(len(rows) for rows in histories)
    curves = np.full((len(histories), epochs), np.nan)
    for curve, rows in zip(curves, histories, strict=True):
        curve[: len(rows)] = [row[field] for row in rows]
    return curves
