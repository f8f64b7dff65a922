"""The metrics of a trained network. Each metric is declared once; `METRICS` has the built-in ones.

Tables and plots take a metric's name, title, unit and direction from its declaration.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxcifar.array_types import Bool, Float, Float32, Int32, Int64, Integer
from jaxcifar.machine.sharing import AnyArray

PERCENT = "%"
METRIC_NAME_PATTERN = "[A-Za-z][A-Za-z0-9_]{0,39}"  # pattern of a metric's name
MAX_TITLE_LETTERS = 40  # length of a title or a unit


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric: a number that measures how good a network is on a set of images.

    A metric has exactly one of two functions:

    - `per_image`: a function of logits and labels that returns a number for each image. JAX
      compiles the function. The metric is the mean over the images.
    - `of_confusion`: a function of the confusion matrix that returns one number. The matrix is a
      NumPy array of image counts by true class (row) and predicted class (column).

    Attributes:
      name: letters, digits and `_`. The fields in files are `val_NAME` and `test_NAME`.
      title: title in tables.
      unit: "%" for fractions that are shown in percent, another unit, or "" for none.
      higher_is_better: True if a higher value is better.
      least_classes: the metric is for data sets with at least this number of classes.

    Raises:
      ValueError: the name, title or unit can't be used, or there is not exactly one function.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    per_image: Callable[[Float32[Array, "images classes"], Int32[Array, "images"]], Any] | None = (
        None
    )
    of_confusion: Callable[[Int64[np.ndarray, "classes classes"]], Any] | None = None
    least_classes: int = 2

    def __post_init__(self) -> None:
        if not re.fullmatch(METRIC_NAME_PATTERN, self.name):
            raise ValueError(
                f"the name {self.name!r:.60} of a metric must be up to 40 letters, digits and _, "
                "and begin with a letter"
            )
        for text in (self.title, self.unit):
            if len(text) > MAX_TITLE_LETTERS or not text.isprintable():
                raise ValueError(
                    f"title and unit of the metric {self.name} must be one line of up to "
                    f"{MAX_TITLE_LETTERS} letters"
                )
        functions = [self.per_image, self.of_confusion]
        if functions.count(None) != 1:
            raise ValueError(
                f"the metric {self.name} must have either per_image or of_confusion; give one of "
                "them"
            )


class Measurement(NamedTuple):
    """The metrics and the confusion matrix of a network on a set of images.

    Attributes:
      values: the value of each metric, by name; a value may be infinite or NaN.
      confusion: number of images by true class (row) and predicted class (column).
    """

    values: dict[str, float]
    confusion: Int64[np.ndarray, "classes classes"]


def is_correct(
    logits: Float[AnyArray, "images classes"], labels: Integer[AnyArray, "images"]
) -> Bool[AnyArray, "images"]:
    """Return True for each image whose label has the largest logit (the first of equal logits)."""
    return logits.argmax(-1) == labels


def is_in_top_five(
    logits: Float32[Array, "images classes"], labels: Integer[Array, "images"]
) -> Bool[Array, "images"]:
    """Return True for each image whose label has one of the five largest logits.

    The first of equal logits counts as larger, and NaN as larger than all numbers.
    """
    classes = jnp.arange(logits.shape[-1])
    logits = jnp.where(jnp.isnan(logits), jnp.inf, logits)
    label_logits = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    is_equal_and_first = (logits == label_logits) & (classes < labels[:, None])
    is_larger = (logits > label_logits) | is_equal_and_first
    return is_larger.sum(-1) < 5


def macro_f1(confusion: Int64[np.ndarray, "classes classes"]) -> float:
    """Return the mean F1 score of the classes, from image counts by true and predicted class.

    The F1 score of a class is the harmonic mean of precision and recall. The score is 0 for a class
    that is never predicted correctly. A class that neither occurs nor is predicted is left out.
    """
    correct_of_class = np.diag(confusion)
    occurring_and_predicted = confusion.sum(1) + confusion.sum(0)
    has_f1 = occurring_and_predicted > 0
    f1_scores = 2 * correct_of_class[has_f1] / occurring_and_predicted[has_f1]
    return float(np.mean(f1_scores))


def balanced_accuracy(confusion: Int64[np.ndarray, "classes classes"]) -> float:
    """Return the mean of the accuracies of all classes (rows of the matrix) that have images."""
    correct_of_class, images_of_class = np.diag(confusion), confusion.sum(1)
    has_images = images_of_class > 0
    accuracies = correct_of_class[has_images] / images_of_class[has_images]
    return float(np.mean(accuracies))


_fraction_metric = partial(Metric, unit=PERCENT, higher_is_better=True)

LOSS = Metric(
    name="loss",
    title="loss",
    unit="nats",
    higher_is_better=False,
    per_image=optax.softmax_cross_entropy_with_integer_labels,
)
ACCURACY = _fraction_metric(name="accuracy", title="accuracy", per_image=is_correct)
METRICS = (
    LOSS,
    ACCURACY,
    _fraction_metric(
        name="top5_accuracy", title="top-5 accuracy", per_image=is_in_top_five, least_classes=11
    ),
    _fraction_metric(name="macro_f1", title="macro-F1", of_confusion=macro_f1),
    _fraction_metric(
        name="balanced_accuracy", title="balanced accuracy", of_confusion=balanced_accuracy
    ),
)


def metrics_for(classes: int) -> tuple[Metric, ...]:
    """Return the built-in metrics that apply to this number of classes."""
    return tuple(metric for metric in METRICS if metric.least_classes <= classes)


def measure(
    metrics: Sequence[Metric],
    logits: Float[AnyArray, "images classes"],
    labels: Integer[AnyArray, "images"],
) -> Measurement:
    """Return the metrics of a network on a set of images, and its confusion matrix.

    If a metric's values per image are booleans or integers, their mean is exact, in float64.
    Float values are averaged in float32 on the device.

    Args:
      metrics: the metrics to measure.
      logits: the network's logits of at least one image.
      labels: true class of each image.
    """
    per_image_metrics = tuple(metric for metric in metrics if metric.per_image is not None)
    device_results = _values_and_confusion(per_image_metrics, logits, labels)
    values_or_mean_of_metric, int32_confusion = jax.device_get(device_results)
    confusion = int32_confusion.astype(np.int64)
    result_of_metric: dict[str, float] = {}
    for metric in metrics:
        if metric.of_confusion is not None:
            result = _value_of_confusion(metric.of_confusion, confusion)
        else:
            result = _mean_over_images(values_or_mean_of_metric[metric.name], len(labels))
        result_of_metric[metric.name] = result
    return Measurement(result_of_metric, confusion)


def _mean_over_images(values: np.ndarray, image_count: int) -> float:
    """Return the mean of a metric's values over the images; a float is their mean already."""
    is_mean_already = np.issubdtype(values.dtype, np.floating)
    if is_mean_already:
        return shortest_decimal(values)
    exact_sum = int(values.sum(dtype=np.int64))
    return exact_sum / image_count


def shortest_decimal(value: Any) -> float:
    """Return the shortest decimal number that rounds to this float32: 0.6124, not 0.612399995."""
    return float(str(np.float32(value)))


@partial(jax.jit, static_argnums=0)
def _values_and_confusion(
    metrics: tuple[Metric, ...], logits: Array, labels: Array
) -> tuple[dict[str, Array], Array]:
    """Return the results of per-image metrics by the metric's name, and the confusion matrix.

    The result of a boolean or integer metric is an array with a value for each image. The result of
    a float metric is the mean value.
    """
    classes = logits.shape[-1]
    no_counts = jnp.zeros((classes, classes), jnp.int32)
    confusion = no_counts.at[labels, logits.argmax(-1)].add(1)
    values_or_mean_of_metric = {}
    for metric in metrics:
        assert metric.per_image is not None
        values = jnp.asarray(metric.per_image(logits, labels))
        if jnp.issubdtype(values.dtype, jnp.floating):
            mean = values.sum(dtype=jnp.float32) / jnp.int32(len(labels))
            values_or_mean_of_metric[metric.name] = mean
        else:
            values_or_mean_of_metric[metric.name] = values
    return values_or_mean_of_metric, confusion


def _value_of_confusion(function: Callable[[np.ndarray], Any], confusion: np.ndarray) -> float:
    """Return `function(confusion)` as a float, or NaN if the function divides by zero."""
    try:
        value = np.asarray(function(confusion.copy()))  # the function may change its argument
    except ArithmeticError:
        return math.nan
    return shortest_decimal(value) if value.dtype == np.float32 else float(value)


def only_predicted_class(confusion: Int64[np.ndarray, "classes classes"]) -> int | None:
    """Return the label of the class if the network predicts one class for all images, else None.

    The result is also None if all images belong to one class, which is no sign of a failure.

    Args:
      confusion: number of images by true class (row) and predicted class (column).
    """
    predicted_classes = np.flatnonzero(confusion.any(axis=0))
    true_classes = np.flatnonzero(confusion.any(axis=1))
    if len(predicted_classes) == 1 and len(true_classes) > 1:
        return int(predicted_classes[0])
    return None
