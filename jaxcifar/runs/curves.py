"""The curves of several runs: a metric of each run and epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def stack_curves(histories: Sequence[Sequence[Mapping[str, Any]]], key: str) -> np.ndarray:
    """Return a metric of runs as `[runs, epochs]`; NaN where a run ended before the others."""
    epochs = max(len(rows) for rows in histories)
    curves = np.full((len(histories), epochs), np.nan)
    for curve, rows in zip(curves, histories, strict=True):
        curve[: len(rows)] = [row[key] for row in rows]
    return curves
