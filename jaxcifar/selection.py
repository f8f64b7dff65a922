"""Which epoch's weights a run stands for."""

from collections.abc import Sequence
from typing import Any

SELECTION_RULE = "highest validation accuracy, then lowest validation loss"


def best_epoch(history: Sequence[dict[str, Any]]) -> int:
    """The epoch chosen by `SELECTION_RULE` among rows of `metrics.jsonl`."""
    best = max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    return best["epoch"]
