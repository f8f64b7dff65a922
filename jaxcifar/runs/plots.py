"""Curves, by matplotlib, drawn without a screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

Row = dict[str, Any]


def plot_accuracy(history: Sequence[Row], title: str, path: Path) -> None:
    """Training and validation accuracy by epoch.

    Args:
      history: rows of `metrics.jsonl`.
      title: names network and data set.
      path: of the PNG.
    """
    figure = _curves(history, "accuracy", title)
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.savefig(path)


def plot_loss(history: Sequence[Row], title: str, path: Path) -> None:
    """Training and validation loss by epoch; arguments as for `plot_accuracy`."""
    _curves(history, "loss", title).savefig(path)


def _curves(history: Sequence[Row], quantity: str, title: str) -> Figure:
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 25 else None  # a single epoch must show, too
    for split, label in (("train", "training (mean over the epoch)"), ("val", "validation")):
        values = [row[f"{split}_{quantity}"] for row in history]
        axes.plot(epochs, values, label=label, marker=marker, markersize=3.5)
    axes.set(xlabel="epoch", ylabel=quantity, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
