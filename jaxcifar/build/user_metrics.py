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

METRIC_OPTION = "metric"  # name of the option, and of this kind of user code
# Names that a user's metric can't have: built-in metrics, and other fields `test_NAME` of a result
# (`test_accuracy_mismatched` was written by older versions).
_RESERVED_NAMES = {*(metric.name for metric in METRICS), "accuracy_flip", "accuracy_mismatched"}
_MIN_TRIAL_IMAGES = 24  # smallest number of made-up images that a metric is tried on
_MAX_TRIAL_LOGITS = 2**22  # largest number of made-up logits
_IMAGES_PER_CLASS = 3  # made-up images of each class, if there are few classes
_DTYPE_KINDS_OF_NUMBERS = "biuf"  # bool, int, unsigned int and float


@dataclasses.dataclass(frozen=True)
class UserMetric:
    """A metric that the user defined, and the place of its code.

    Attributes:
      metric: the metric.
      code: name of the code, `FILE.py:NAME` or `package.module:NAME`.
      sha256: SHA-256 of the file and of the files that it imports from its folder.
    """

    metric: Metric
    code: str
    sha256: str


def load_metrics(names: Sequence[str]) -> tuple[UserMetric, ...]:
    """Load metrics that the user defined, from names such as `FILE.py:NAME`, and return them.

    Raises:
      UsageError: a metric can't be loaded, is neither a `Metric` nor a suitable function, or has
        the name of another metric.
    """
    user_metrics = []
    for name in names:
        registry.entry(METRIC_OPTION, name)  # raises if the name is malformed
        sha256 = user_reference.digest(METRIC_OPTION, name)
        loaded = user_reference.load(METRIC_OPTION, name, sha256)
        user_metrics.append(UserMetric(metric_of(loaded, name), name, sha256))
    return with_distinct_names(user_metrics)


def metric_of(value: Any, code: str) -> Metric:
    """Return the metric that user code defines, by a `Metric` or by a function.

    A function becomes a metric with the function's name and no unit; higher values are better. A
    function with two parameters gets logits and labels. A function with one parameter gets the
    confusion matrix.

    Args:
      value: the `Metric` or the function.
      code: name of the user code, such as `FILE.py:NAME`, for messages.

    Raises:
      UsageError: the value is neither a metric nor a suitable function.
    """
    with explain_user_code_errors((METRIC_OPTION, code)):
        hash(value)  # JAX needs a hash to look up the compiled function
    if isinstance(value, Metric):
        return value
    if not callable(value):
        raise UsageError(
            f"--{METRIC_OPTION} {code}: is {type(value).__name__}; it must be a Metric or a "
            "function"
        )
    name = getattr(value, "__name__", type(value).__name__)
    parameter_count = _count_required_parameters(value, code)
    takes_logits_and_labels = parameter_count == 2
    takes_confusion_matrix = parameter_count == 1
    with explain_user_code_errors((METRIC_OPTION, code)):
        title = name.replace("_", " ")
        if takes_logits_and_labels:
            return Metric(name, title, unit="", higher_is_better=True, per_image=value)
        if takes_confusion_matrix:
            return Metric(name, title, unit="", higher_is_better=True, of_confusion=value)
    raise UsageError(
        f"--{METRIC_OPTION} {code}: takes {parameter_count} parameters; it must take logits and "
        "labels, or the confusion matrix alone"
    )


def _count_required_parameters(function: Callable[..., Any], code: str) -> int:
    """Return the number of a function's positional parameters without a default value.

    `code` is the name of the user code, such as `FILE.py:NAME`, for messages.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(
            f"--{METRIC_OPTION} {code}: Python can't tell which parameters it takes; define it as "
            "a function with `def`"
        ) from None
    positional_kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in positional_kinds]
    required = [parameter for parameter in positional if parameter.default is parameter.empty]
    return len(required)


def with_distinct_names(metrics: Sequence[UserMetric]) -> tuple[UserMetric, ...]:
    """Remove repeated metrics, check that all names differ, and return the metrics.

    Raises:
      UsageError: a metric has the name of another, or of a built-in metric.
    """
    different_metrics = tuple(dict.fromkeys(metrics))
    taken_names = set(_RESERVED_NAMES)
    for user_metric in different_metrics:
        name = user_metric.metric.name
        if name in taken_names:
            raise UsageError(
                f"--{METRIC_OPTION} {user_metric.code}: the name {name} is taken; choose another "
                "name"
            )
        taken_names.add(name)
    return different_metrics


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
        """Return the built-in metrics and the user's, after trying the user's on random logits.

        Some metrics need a minimum number of classes.

        Raises:
          UsageError: a user's metric needs more classes, fails, or returns something other than
            finite numbers.
        """
        for user_metric in user_metrics:
            least_classes = user_metric.metric.least_classes
            if least_classes > classes:
                raise UsageError(
                    f"--{METRIC_OPTION} {user_metric.code}: needs {least_classes} classes, and the "
                    f"images have {classes}; leave it out"
                )
        if user_metrics:
            _try_on_random_images(user_metrics, classes)
        return cls(metrics_for(classes), tuple(user_metrics))

    @property
    def all(self) -> tuple[Metric, ...]:
        """The built-in metrics, followed by the user's metrics."""
        return *self.built_in, *(user_metric.metric for user_metric in self.user_metrics)

    def measure(self, logits: AnyArray, labels: AnyArray) -> Measurement:
        """Return the metrics of a network on a set of images, and its confusion matrix.

        Raises:
          UsageError: a user's metric fails.
        """
        options = [(METRIC_OPTION, user_metric.code) for user_metric in self.user_metrics]
        with explain_user_code_errors(*options):
            return measure(self.all, logits, labels)


def _try_on_random_images(user_metrics: Sequence[UserMetric], classes: int) -> None:
    """Check the values that the user's metrics return for made-up logits and labels.

    Each class is the label of at least one image, and is predicted for at least one image. But
    with thousands of classes, the logits would take too much memory. Then some classes are left
    out, and the values may be infinite or NaN.

    Raises:
      UsageError: a metric fails, or does not return finite numbers of the right shape.
    """
    wanted_images, fitting_images = _IMAGES_PER_CLASS * classes, _MAX_TRIAL_LOGITS // classes
    image_count = max(_MIN_TRIAL_IMAGES, min(wanted_images, fitting_images))
    labels = jnp.arange(image_count, dtype=jnp.int32) % classes
    noise = jax.random.normal(jax.random.key(0), (image_count, classes), jnp.float32)
    often_correct_logits = noise + 2.0 * jax.nn.one_hot(labels, classes)
    # The first image of each class gets a margin that noise can't exceed: the class is predicted.
    large_margins = 8.0 * jax.nn.one_hot(labels[:classes], classes)
    logits = often_correct_logits.at[:classes].add(large_margins)
    for user_metric in user_metrics:
        with explain_user_code_errors((METRIC_OPTION, user_metric.code)):
            if user_metric.metric.per_image is not None:
                _check_per_image(user_metric, logits, labels)
            else:
                _check_of_confusion(user_metric, measure((), logits, labels).confusion)
            measurement = measure((user_metric.metric,), logits, labels)
        value = measurement.values[user_metric.metric.name]
        has_all_classes = image_count >= classes
        if has_all_classes and not math.isfinite(value):
            raise UsageError(
                f"--{METRIC_OPTION} {user_metric.code}: returns {value} for {image_count} images "
                "with made-up logits; it must return finite numbers"
            )


def _check_per_image(user_metric: UserMetric, logits: jax.Array, labels: jax.Array) -> None:
    assert user_metric.metric.per_image is not None
    returned_values = jax.eval_shape(user_metric.metric.per_image, logits, labels)
    shape = getattr(returned_values, "shape", None)
    dtype = getattr(returned_values, "dtype", None)
    number_types = (jnp.bool_, jnp.integer, jnp.floating)
    are_numbers = dtype is not None and any(
        jnp.issubdtype(dtype, number_type) for number_type in number_types
    )
    if shape != labels.shape or not are_numbers:
        description = type(returned_values).__name__
        if shape is not None:
            description = f"{dtype}{list(shape)}"
        raise UsageError(
            f"--{METRIC_OPTION} {user_metric.code}: returns {description} for logits "
            f"{list(logits.shape)} and labels {list(labels.shape)}; it must return one number per "
            f"image, {list(labels.shape)}"
        )


def _check_of_confusion(user_metric: UserMetric, confusion: np.ndarray) -> None:
    assert user_metric.metric.of_confusion is not None
    try:
        value = np.asarray(user_metric.metric.of_confusion(confusion.copy()))
    except ArithmeticError:  # such as a division by zero; `measure` returns NaN for it
        return
    is_number = value.ndim == 0 and value.dtype.kind in _DTYPE_KINDS_OF_NUMBERS
    if not is_number:
        raise UsageError(
            f"--{METRIC_OPTION} {user_metric.code}: returns {value.dtype}{list(value.shape)} for "
            f"the confusion matrix {list(confusion.shape)}; it must return one number"
        )
