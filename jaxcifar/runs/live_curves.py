"""An observer that draws the curves of a run in a notebook while the run trains."""

import base64
import io
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.errors import UsageError
from jaxcifar.runs.file_formats import Result, Row
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.runs.plots import (
    SPLITS,
    draw_chosen_epochs,
    draw_mean,
    epoch_ticks,
    format_as_percent,
    shortened,
)

_WIDTH, _HEIGHT, _DOTS_PER_INCH = 9.0, 3.6, 100  # 900 pixels: a notebook shows all of the picture
_MAX_TITLE_LETTERS = 110  # fit into a line
_MARGINS = {"left": 0.07, "right": 0.985, "bottom": 0.14, "top": 0.83, "wspace": 0.16}
_SECONDS_BETWEEN_PICTURES = 2.0  # training waits while a picture is drawn, a quarter of a second


class LiveCurves:
    """An observer that shows accuracy and loss by epoch in a notebook, in one picture.

    The picture is replaced after an epoch, but at most once in two seconds. A resumed run begins
    with the curves of its earlier epochs. A finished run shows all its epochs. Use it as
    `jaxcifar.train("cnn", observers=[jaxcifar.LiveCurves])`.

    Raises:
      UsageError: the program does not run in a notebook.
    """

    def __init__(self) -> None:
        if not _runs_in_ipython():
            raise UsageError(
                "this observer draws in a notebook only; elsewhere observers=['tensorboard'] shows "
                "curves while a run trains, and the run's folder gets accuracy.png and loss.png"
            )

    def began(self, run: ObservedRun) -> None:
        """Show the picture with the epochs that are finished; a new run has no curves yet."""
        self._title, self._epochs = run.title, run.config.epochs
        self._rows = {row["epoch"]: row for row in run.history}
        self._output: Any = None
        self._show()

    def epoch(self, row: Row) -> None:
        """Add an epoch to the curves; replace the picture if it is at least two seconds old."""
        self._rows[row["epoch"]] = row
        if time.monotonic() - self._last_shown_at >= _SECONDS_BETWEEN_PICTURES:
            self._show()

    def finished(self, result: Result) -> None:
        """Show the final picture, which marks the epoch whose weights are kept."""
        self._show(result.get("selected_epoch"))

    def failed(self, error: Exception) -> None:
        """Show all epochs that were trained before the run failed or the user stopped it."""
        self._show()

    def _show(self, chosen_epoch: int | None = None) -> None:
        from IPython.display import display  # every notebook has IPython, other Pythons may not

        rows = [self._rows[epoch] for epoch in sorted(self._rows)]
        figure = draw_curves(rows, self._epochs, self._title, chosen_epoch)
        png, caption = _png_as_base64(figure), _caption(rows, self._epochs)
        content = {"image/png": png, "text/plain": caption}
        if self._output is None:
            self._output = display(content, raw=True, display_id=True)
        else:
            self._output.update(content, raw=True)
        self._last_shown_at = time.monotonic()


def draw_curves(
    rows: Sequence[Row], epochs: int, title: str, chosen_epoch: int | None = None
) -> Figure:
    """Return a figure with accuracy on the left and loss on the right, by epoch.

    Args:
      rows: rows of `metrics.jsonl`, from epoch 1 on; may be empty.
      epochs: planned number of epochs, where the horizontal axes end.
      title: network, data set and seed.
      chosen_epoch: the epoch, from 1, whose weights are kept; None if it is not known yet.
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DOTS_PER_INCH)
    figure.suptitle(shortened(title, _MAX_TITLE_LETTERS), fontsize=10, parse_math=False)
    accuracy_axes, loss_axes = figure.subplots(1, 2, gridspec_kw=_MARGINS)
    for axes, quantity in ((accuracy_axes, "accuracy"), (loss_axes, "loss")):
        _draw_quantity(axes, rows, quantity, chosen_epoch)
        margin = max(0.04 * (epochs - 1), 0.5)
        axes.set(xlabel="epoch", xlim=(1 - margin, epochs + margin))
        axes.set_title(quantity, fontsize=10)
        axes.set_xticks(epoch_ticks(epochs))
        axes.grid(alpha=0.3)
        if rows:
            axes.legend(fontsize=8)
    format_as_percent(accuracy_axes.yaxis)
    return figure


def _draw_quantity(
    axes: Axes, rows: Sequence[Row], quantity: str, chosen_epoch: int | None
) -> None:
    for split, (label, style) in SPLITS.items():
        field = f"{split}_{quantity}"
        if not rows or field not in rows[0]:  # a run without validation images
            continue
        values = [dict(row)[field] for row in rows]
        curves = np.array([values], np.float64)  # one run
        draw_mean(axes, curves, label, **style)
        if split == "val" and chosen_epoch is not None:
            draw_chosen_epochs(axes, curves, [chosen_epoch], style["color"])


def _caption(rows: Sequence[Row], epochs: int) -> str:
    """Return a text with the last epoch's accuracies, for programs that show no pictures."""
    if not rows:
        return f"curves: no epoch of {epochs} yet"
    last_row = rows[-1]
    accuracy_texts = [f"training accuracy {last_row['train_accuracy']:.2%}"]
    if "val_accuracy" in last_row:
        accuracy_texts.append(f"validation accuracy {last_row['val_accuracy']:.2%}")
    return f"curves: epoch {last_row['epoch']} of {epochs}, {', '.join(accuracy_texts)}"


def _png_as_base64(figure: Figure) -> str:
    """Return a figure as a PNG file in base64, as notebooks store pictures."""
    png_file = io.BytesIO()
    figure.savefig(png_file, format="png")
    return base64.b64encode(png_file.getvalue()).decode("ascii")


def _runs_in_ipython() -> bool:
    ipython = sys.modules.get("IPython")  # a notebook has imported it already
    return ipython is not None and ipython.get_ipython() is not None
