"""The line that is printed for each epoch, with losses and accuracies."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from jaxcifar.build.user_metrics import UserMetric
from jaxcifar.machine.terminal import ALWAYS_SHOWN, PrintLine, RankedText, texts_that_fit
from jaxcifar.runs.file_formats import Row
from jaxcifar.runs.metric_fields import format_value
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.training import metrics as training_metrics
from jaxcifar.training.metrics import ACCURACY, LOSS, Metric

_LEARNING_RATE_WIDTH = len("lr 0.00012")


class _Rank(enum.IntEnum):
    """Ranks of the texts in an epoch's line; see `texts_that_fit`."""

    RUN_AND_EPOCH = ALWAYS_SHOWN
    VALIDATION = ALWAYS_SHOWN
    USER_METRICS = 1
    TRAINING = 2
    LEARNING_RATE = 3
    SPEED = 4
    OTHER_METRICS = 5


class EpochLines:
    """An observer that prints a line for each epoch."""

    def __init__(
        self, print_line: PrintLine, console: Console, user_metrics: Sequence[UserMetric]
    ) -> None:
        self._print_line, self._console = print_line, console
        self._user_metrics = [user.metric for user in user_metrics]

    def began(self, run: ObservedRun) -> None:
        """Remember the run, because each line contains its name and its number of epochs."""
        self._run = run

    def epoch(self, row: Row) -> None:
        """Print the line of an epoch; a line that is too long loses its least important parts.

        The images per second and the learning rate are left out first, then the losses, then the
        training accuracy.
        """
        width = self._console.width
        ranked_texts = self._ranked_texts(row, with_losses=True)
        texts_that_should_fit = [
            text for rank, text in ranked_texts if rank <= _Rank.TRAINING and text
        ]
        if len("  ".join(texts_that_should_fit)) > width:
            ranked_texts = self._ranked_texts(row, with_losses=False)
        self._print_line("  ".join(texts_that_fit(ranked_texts, width)).rstrip())

    def _ranked_texts(self, row: Row, with_losses: bool) -> list[RankedText]:
        """Return the texts of an epoch's line, each as (rank, text).

        If the line is too long, texts with the highest rank are left out first. Without
        `with_losses`, the losses are left out of the texts.
        """
        epochs = self._run.config.epochs
        epoch = str(row["epoch"]).rjust(len(str(epochs)))
        learning_rate = f"lr {row['learning_rate']:.2g}"
        # Padded, so that either all lines have the learning rate or none has it.
        padded_learning_rate = learning_rate.ljust(_LEARNING_RATE_WIDTH)
        training = _result_text("train", row["train_loss"], row["train_accuracy"], with_losses)
        validation = ""
        if "val_loss" in row:
            validation = _result_text("val", row["val_loss"], row["val_accuracy"], with_losses)
        other_metrics = [
            metric
            for metric in training_metrics.METRICS
            if metric not in (LOSS, ACCURACY) and f"val_{metric.name}" in row
        ]
        ranked_texts: list[RankedText] = [
            (_Rank.RUN_AND_EPOCH, self._run.name),
            (_Rank.RUN_AND_EPOCH, f"epoch {epoch}/{epochs}"),
            (_Rank.TRAINING, training),
            (_Rank.VALIDATION, validation),
        ]
        user_texts = _metric_texts(self._user_metrics, row)
        ranked_texts += [(_Rank.USER_METRICS, text) for text in user_texts]
        ranked_texts.append((_Rank.LEARNING_RATE, padded_learning_rate))
        ranked_texts.append((_Rank.SPEED, f"{row['images_per_second']:,.0f} images/s"))
        other_texts = _metric_texts(other_metrics, row)
        ranked_texts += [(_Rank.OTHER_METRICS, text) for text in other_texts]
        return ranked_texts


def _result_text(split: str, loss: float, accuracy: float, with_loss: bool) -> str:
    """Return a text such as "val loss 1.234 accuracy 56.78%".

    `split` is "train" or "val". If `with_loss` is False, the loss is left out.
    """
    loss_text = f"loss {loss:.3f} " if with_loss else ""
    return f"{split} {loss_text}accuracy {accuracy:6.2%}"


def _metric_texts(metrics: Iterable[Metric], row: Mapping[str, Any]) -> list[str]:
    """Return a text such as "macro-F1 91.20%" for each metric on the validation images.

    A value that is not finite is shown as "-". The list is empty if the run has no validation
    images.
    """
    if "val_loss" not in row:
        return []
    texts = []
    for metric in metrics:
        value = row.get(f"val_{metric.name}")
        text = "-" if value is None else format_value(value, metric.unit)
        texts.append(f"{metric.title} {text}")
    return texts
