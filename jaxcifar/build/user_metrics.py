"""Metrics that the user brings, `FILE.py:NAME`: found, loaded, and tried before any training."""

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
# Fields of a result that no metric may take: `test_accuracy_flip`, and one of older versions.
_TAKEN = {*(metric.name for metric in METRICS), "accuracy_flip", "accuracy_mismatched"}
_FEWEST_IMAGES = 24  # that a metric is tried on
_MOST_NUMBERS = 2**22  # logits that a metric is tried on


@dataclasses.dataclass(frozen=True)
class UserMetric:
    """A metric of the user, and where its code is.

    Attributes:
      metric: the metric itself.
      code: `FILE.py:NAME` or `package.module:NAME`.
      sha256: of its file, and of what the file imports from its folder.
    """

    metric: Metric
    code: str
    sha256: str


def load_metrics(names: Sequence[str]) -> tuple[UserMetric, ...]:
    """Load the metrics that a command names.

    Args:
      names: `FILE.py:NAME` each.

    Raises:
      UsageError: a metric can't be loaded, is neither a `Metric` nor a function that can be one, or
        has the name of another.
    """
    found = []
    for name in names:
        registry.entry(KIND, name)
        sha256 = user_reference.digest(KIND, name)
        value = user_reference.load(KIND, name, sha256)
        found.append(UserMetric(metric_of(value, name), name, sha256))
    return with_distinct_names(found)


def metric_of(value: Any, code: str) -> Metric:
    """Return a user's metric; a function becomes one by the number of its parameters.

    A function with two parameters takes logits and labels; one with a single parameter takes the
    confusion matrix. The metric gets the function's name, no unit, and higher values are better.

    Args:
      value: a `Metric` or a function.
      code: its name as the user gave it, `FILE.py:NAME`.

    Raises:
      UsageError: the value is neither.
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
    """Return the number of positional parameters without a default value."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(f"--{KIND} {code}: its parameters are not known; write a `def`") from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(required)


def with_distinct_names(metrics: Sequence[UserMetric]) -> tuple[UserMetric, ...]:
    """Return the metrics without duplicates.

    Raises:
      UsageError: a metric has the name of another, or of a built-in metric.
    """
    metrics = tuple(dict.fromkeys(metrics))
    names = set(_TAKEN)
    for user in metrics:
        if user.metric.name in names:
            raise UsageError(
                f"--{KIND} {user.code}: the name {user.metric.name} is taken; choose another name"
            )
        names.add(user.metric.name)
    return metrics


@dataclasses.dataclass(frozen=True)
class MetricSet:
    """The metrics that are measured on the images of one data set.

    Attributes:
      ours: the built-in metrics that apply to this number of classes.
      users: the metrics of the user.
    """

    ours: tuple[Metric, ...]
    users: tuple[UserMetric, ...] = ()

    @classmethod
    def tried(cls, classes: int, users: Sequence[UserMetric] = ()) -> Self:
        """Return the metrics for data sets with this number of classes, after trying the user's.

        Raises:
          UsageError: a metric of the user needs more classes, fails, returns another shape or type,
            or returns a number that is not finite.
        """
        for user in users:
            if user.metric.least_classes > classes:
                raise UsageError(
                    f"--{KIND} {user.code}: needs {user.metric.least_classes} classes, and the "
                    f"images have {classes}; leave it out"
                )
        if users:
            _try(users, classes)
        return cls(metrics_for(classes), tuple(users))

    @property
    def all(self) -> tuple[Metric, ...]:
        """All metrics, ours first."""
        return *self.ours, *(user.metric for user in self.users)

    def measure(self, logits: AnyArray, labels: AnyArray) -> Measurement:
        """Measure a network's answers to images.

        Args:
          logits: `[N, C] float32`.
          labels: `[N] int32`.

        Raises:
          UsageError: a metric of the user fails.
        """
        with explain_user_code_errors(*((KIND, user.code) for user in self.users)):
            return measure(self.all, logits, labels)


def _try(users: Sequence[UserMetric], classes: int) -> None:
    """Call metrics with made-up logits, in which each class occurs and is predicted.

    For thousands of classes these would be too many numbers. There some classes are missing, and
    values that are not finite are allowed.
    """
    images = max(_FEWEST_IMAGES, min(3 * classes, _MOST_NUMBERS // classes))
    labels = jnp.arange(images, dtype=jnp.int32) % classes
    noise = jax.random.normal(jax.random.key(0), (images, classes), jnp.float32)
    logits = noise + 2.0 * jax.nn.one_hot(labels, classes)
    logits = logits.at[:classes].add(8.0 * jax.nn.one_hot(labels[:classes], classes))
    for user in users:
        with explain_user_code_errors((KIND, user.code)):
            if user.metric.per_image is not None:
                _check_per_image(user, logits, labels)
            else:
                _check_of_confusion(user, measure((), logits, labels).confusion)
            [value] = measure((user.metric,), logits, labels).values.values()
        if not math.isfinite(value) and images >= classes:
            raise UsageError(
                f"--{KIND} {user.code}: gives {value} for {images} images with made-up logits; it "
                "must give finite numbers"
            )


def _check_per_image(user: UserMetric, logits: jax.Array, labels: jax.Array) -> None:
    assert user.metric.per_image is not None
    given = jax.eval_shape(user.metric.per_image, logits, labels)
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    kinds = (jnp.bool_, jnp.integer, jnp.floating)
    is_number = dtype is not None and any(jnp.issubdtype(dtype, kind) for kind in kinds)
    if shape != labels.shape or not is_number:
        shown = type(given).__name__ if shape is None else f"{dtype}{list(shape)}"
        raise UsageError(
            f"--{KIND} {user.code}: gives {shown} for logits {list(logits.shape)} and labels "
            f"{list(labels.shape)}; it must give one number per image, {list(labels.shape)}"
        )


def _check_of_confusion(user: UserMetric, confusion: np.ndarray) -> None:
    assert user.metric.of_confusion is not None
    try:
        value = np.asarray(user.metric.of_confusion(confusion.copy()))
    except ArithmeticError:  # `measure` takes it for a value that is not finite
        return
    if value.ndim or value.dtype.kind not in "biuf":
        raise UsageError(
            f"--{KIND} {user.code}: gives {value.dtype}{list(value.shape)} for the confusion "
            f"matrix {list(confusion.shape)}; it must give one number"
        )
