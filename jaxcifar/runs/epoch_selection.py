"""Choose the epoch whose weights are kept, by validation accuracy (early stopping)."""

from collections.abc import Sequence

from jaxcifar.runs.file_formats import Row

SELECTION_RULE = "highest validation accuracy, then lowest validation loss"
WITHOUT_VALIDATION = "last epoch: no images were kept for validation"
# Older versions rounded accuracies to float32. A smaller difference than this is rounding.
_ROUNDING_ERROR = 2e-7


def best_epoch(history: Sequence[Row]) -> int:
    """Return the number, from 1, of the epoch with the best validation accuracy.

    If the run has no validation images, return the number of the last epoch.

    Args:
      history: rows of `metrics.jsonl`, one per finished epoch, at least one.
    """
    if "val_accuracy" not in history[-1]:
        return len(history)
    return history[best_row_index(history)]["epoch"]


def ends_early(history: Sequence[Row], patience: int, earlier_epochs: int = 0) -> bool:
    """Return True if early stopping ends the run: the last `patience` epochs brought no new best.

    Args:
      history: rows of `metrics.jsonl`, one per finished epoch.
      patience: number of epochs to wait for a better epoch; 0 turns early stopping off.
      earlier_epochs: number of epochs of the run that this run continues, or 0. The count of
        `patience` epochs starts after them.
    """
    if patience == 0 or not history:
        return False
    last_improved_epoch = max(best_epoch(history), earlier_epochs)
    return len(history) - last_improved_epoch >= patience


def best_row_index(rows: Sequence[Row]) -> int:
    """Return the index of the row with the highest validation accuracy.

    Among equal accuracies, the lowest validation loss decides, and then the lowest index.

    Args:
      rows: rows of `metrics.jsonl`, at least one; all have `val_accuracy` and `val_loss`.
    """
    highest_accuracy = max(row["val_accuracy"] for row in rows)
    best_indices = [
        index
        for index, row in enumerate(rows)
        if highest_accuracy - row["val_accuracy"] < _ROUNDING_ERROR
    ]
    return min(best_indices, key=lambda index: rows[index]["val_loss"])
