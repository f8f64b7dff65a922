"""Metrics of the user: loaded from `FILE.py:NAME`, and tried before any training."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.config import registry, user_reference
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.training.metrics import METRICS, Measurement, Metric, measure, metrics_for

KIND = "metric"
# Names that a user's metric can't have: built-in metrics, and other fields `test_NAME` of a result
# (`test_accuracy_mismatched` was written by older versions).
_RESERVED_NAMES = {*(metric.name for metric in METRICS), "accuracy_flip", "accuracy_mismatched"}
_MIN_IMAGES = 24  # smallest number of made-up images that a metric is tried on
_MAX_NUMBERS = 2**22  # largest number of made-up logits


@dataclasses.dataclass(frozen=True)
class UserMetric:
    """A metric of the user, and where its code is.

    Attributes:
      metric: the metric itself.
      code: place of the code, `FILE.py:NAME` or `package.module:NAME`.
      sha256: SHA-256 of the file and of the files that it imports from its folder.
    """

    metric: Metric
    code: str
    sha256: str


def load_metrics(names: Sequence[str]) -> tuple[UserMetric, ...]:
    """Return the user's metrics with these names, such as `FILE.py:NAME`.

    Raises:
      UsageError: a metric can't be loaded, is neither a `Metric` nor a suitable function, or has
        the name of another metric.
    """
    user_metrics = []
    for name in names:
        registry.entry(KIND, name)  # raises if the name is malformed
        sha256 = user_reference.digest(KIND, name)
        value = user_reference.load(KIND, name, sha256)
        user_metrics.append(UserMetric(metric_of(value, name), name, sha256))
    return with_distinct_names(user_metrics)


def metric_of(value: Any, code: str) -> Metric:
    """Return the metric that a user's code defines; `code` is its place, such as `FILE.py:NAME`.

    A function becomes a metric with the function's name and no unit; higher values are better. A
    function with two parameters gets logits and labels. A function with one parameter gets the
    confusion matrix.

    Raises:
      UsageError: the value is neither a metric nor a suitable function.
    """
    with explain_user_code_errors((KIND, code)):
        hash(value)  # JAX needs a hash to look up the compiled function
    if isinstance(value, Metric):
        return value
    if not callable(value):
        raise UsageError(
            f"--{KIND} {code}: is {type(value).__name__}; it must be a Metric or a function"
        )
    name = getattr(value, "__name__", type(value).__name__)
    parameters = _required_parameters(value, code)
    with explain_user_code_errors((KIND, code)):
        title = name.replace("_", " ")
        if parameters == 2:
            return Metric(name, title, "", higher_is_better=True, per_image=value)
        if parameters == 1:
            return Metric(name, title, "", higher_is_better=True, of_confusion=value)
    raise UsageError(
        f"--{KIND} {code}: takes {parameters} parameters; it must take logits and labels, or the "
        "confusion matrix alone"
    )


def _required_parameters(function: Callable[..., Any], code: str) -> int:
    """Return the number of a function's positional parameters without a default value."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(
            f"--{KIND} {code}: Python can't tell which parameters it takes; write it with `def`"
        ) from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(required)


def with_distinct_names(metrics: Sequence[UserMetric]) -> tuple[UserMetric, ...]:
    """Return the metrics without duplicates, after checking that their names are distinct.

    Raises:
      UsageError: a metric has the name of another, or of a built-in metric.
    """
    metrics = tuple(dict.fromkeys(metrics))
    names = set(_RESERVED_NAMES)
    for user in metrics:
        if user.metric.name in names:
            raise UsageError(
                f"--{KIND} {user.code}: the name {user.metric.name} is taken; choose another name"
            )
        names.add(user.metric.name)
    return metrics


@dataclasses.dataclass(frozen=True)
class MetricSet:
    """The metrics that are measured on one data set.

    Attributes:
      built_in: the built-in metrics that apply to the number of classes.
      user_metrics: the metrics of the user.
    """

    built_in: tuple[Metric, ...]
    user_metrics: tuple[UserMetric, ...] = ()

    @classmethod
    def create(cls, classes: int, user_metrics: Sequence[UserMetric] = ()) -> Self:
        """Return the metrics for this number of classes, after trying the user's metrics.

        Raises:
          UsageError: a user's metric needs more classes, fails, or returns something other than
            finite numbers.
        """
        for user in user_metrics:
            if user.metric.least_classes > classes:
                raise UsageError(
                    f"--{KIND} {user.code}: needs {user.metric.least_classes} classes, and the "
                    f"images have {classes}; leave it out"
                )
        if user_metrics:
            _try(user_metrics, classes)
        return cls(metrics_for(classes), tuple(user_metrics))

    @property
    def all(self) -> tuple[Metric, ...]:
        """All metrics, built-in metrics first."""
        return *self.built_in, *(user.metric for user in self.user_metrics)

    def measure(self, logits: AnyArray, labels: AnyArray) -> Measurement:
        """Return the metrics of a network on a set of images, and its confusion matrix.

        Raises:
          UsageError: a user's metric fails.
        """
        with explain_user_code_errors(*((KIND, user.code) for user in self.user_metrics)):
            return measure(self.all, logits, labels)


def _try(user_metrics: Sequence[UserMetric], classes: int) -> None:
    """Check metrics on made-up logits and labels; each class is some image's label, and predicted.

    With thousands of classes these logits would take too much memory. Then some classes are left
    out, and metrics need not be finite.
    """
    images = max(_MIN_IMAGES, min(3 * classes, _MAX_NUMBERS // classes))
    labels = jnp.arange(images, dtype=jnp.int32) % classes
    noise = jax.random.normal(jax.random.key(0), (images, classes), jnp.float32)
    logits = noise + 2.0 * jax.nn.one_hot(labels, classes)
    logits = logits.at[:classes].add(8.0 * jax.nn.one_hot(labels[:classes], classes))
    for user in user_metrics:
        with explain_user_code_errors((KIND, user.code)):
            if user.metric.per_image is not None:
                _check_per_image(user, logits, labels)
            else:
                _check_of_confusion(user, measure((), logits, labels).confusion)
            [value] = measure((user.metric,), logits, labels).values.values()
        if not math.isfinite(value) and images >= classes:
            raise UsageError(
                f"--{KIND} {user.code}: returns {value} for {images} images with made-up logits; "
                "it must return finite numbers"
            )


def _check_per_image(user: UserMetric, logits: jax.Array, labels: jax.Array) -> None:
    assert user.metric.per_image is not None
    values = jax.eval_shape(user.metric.per_image, logits, labels)
    shape, dtype = getattr(values, "shape", None), getattr(values, "dtype", None)
    kinds = (jnp.bool_, jnp.integer, jnp.floating)
    is_number = dtype is not None and any(jnp.issubdtype(dtype, kind) for kind in kinds)
    if shape != labels.shape or not is_number:
        description = type(values).__name__ if shape is None else f"{dtype}{list(shape)}"
        raise UsageError(
            f"--{KIND} {user.code}: returns {description} for logits {list(logits.shape)} and "
            f"labels {list(labels.shape)}; it must return one number per image, "
            f"{list(labels.shape)}"
        )


def _check_of_confusion(user: UserMetric, confusion: np.ndarray) -> None:
    assert user.metric.of_confusion is not None
    try:
        value = np.asarray(user.metric.of_confusion(confusion.copy()))
    except ArithmeticError:  # such as a division by zero; `measure` returns NaN for it
        return
    if value.ndim or value.dtype.kind not in "biuf":
        raise UsageError(
            f"--{KIND} {user.code}: returns {value.dtype}{list(value.shape)} for the confusion "
            f"matrix {list(confusion.shape)}; it must return one number"
        )
