"""The line that is printed for each epoch, with losses and accuracies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from jaxcifar.build.user_metrics import UserMetric
from jaxcifar.machine.terminal import PrintLine, texts_that_fit
from jaxcifar.runs.file_formats import Row
from jaxcifar.runs.metric_fields import format_value
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.training import metrics as training_metrics
from jaxcifar.training.metrics import ACCURACY, LOSS, Metric

_RATE_WIDTH = len("lr 0.00012")
_RESULT_RANK = 2  # of the training results in an epoch's line; see `texts_that_fit`


class EpochLines:
    """An observer that prints a line for each epoch."""

    def __init__(
        self, print_line: PrintLine, console: Console, user_metrics: Sequence[UserMetric]
    ) -> None:
        self._print_line, self._console = print_line, console
        self._user_metrics = [user.metric for user in user_metrics]

    def began(self, run: ObservedRun) -> None:
        """Store the run: the lines contain its name and number of epochs."""
        self._run = run

    def epoch(self, row: Row) -> None:
        """Print the line of an epoch; a line that is too long loses its least important parts.

        The images per second and the learning rate are left out first, then the losses, then the
        training accuracy.
        """
        width = self._console.width
        parts = self._parts(row, with_losses=True)
        results = [text for rank, text in parts if rank <= _RESULT_RANK and text]
        if len("  ".join(results)) > width:
            parts = self._parts(row, with_losses=False)
        self._print_line("  ".join(texts_that_fit(parts, width)).rstrip())

    def _parts(self, row: Row, with_losses: bool) -> list[tuple[int, str]]:
        """Return (rank, text) of the parts of an epoch's line; see `texts_that_fit` for ranks."""
        epochs, validated = self._run.config.epochs, ""
        if "val_loss" in row:
            validated = _result_text("val", row["val_loss"], row["val_accuracy"], with_losses)
        trained = _result_text("train", row["train_loss"], row["train_accuracy"], with_losses)
        measured = [metric for metric in training_metrics.METRICS if f"val_{metric.name}" in row]
        built_in = [metric for metric in measured if metric not in (LOSS, ACCURACY)]
        learning_rate = f"lr {row['learning_rate']:.2g}"
        return [
            (0, self._run.name),
            (0, f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"),
            (_RESULT_RANK, trained),
            (0, validated),
            *((1, text) for text in _metric_texts(self._user_metrics, row)),
            (3, learning_rate.ljust(_RATE_WIDTH)),  # padded, so that all lines have it or none
            (4, f"{row['images_per_second']:,.0f} images/s"),
            *((5, text) for text in _metric_texts(built_in, row)),
        ]


def _result_text(images: str, loss: float, accuracy: float, with_loss: bool) -> str:
    """Return a text such as "val loss 1.234 accuracy 56.78%"; `images` is "train" or "val"."""
    loss_text = f"loss {loss:.3f} " if with_loss else ""
    return f"{images} {loss_text}accuracy {accuracy:6.2%}"


def _metric_texts(metrics: Iterable[Metric], row: Mapping[str, Any]) -> list[str]:
    """Return a text for each metric: title and validation value, or "-" if it is not finite.

    The list is empty if the run has no validation images.
    """
    if "val_loss" not in row:
        return []
    texts = []
    for metric in metrics:
        value = row.get(f"val_{metric.name}")
        text = "-" if value is None else format_value(value, metric.unit)
        texts.append(f"{metric.title} {text}")
    return texts
