"""A user's metric, and its trial on made-up images before any training."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.training.metrics import Metric, measure

METRIC_OPTION = "metric"  # name of the option, and of this kind of user code
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


def check_metrics_on_made_up_logits(user_metrics: Sequence[UserMetric], classes: int) -> None:
    """Check the values that the user's metrics return for made-up logits and labels.

    Each class is the label of at least one image, and is predicted for at least one image. But
    with thousands of classes, the logits would take too much memory. Then some classes are left
    out, and the values may be infinite or NaN.

    Raises:
      UsageError: a metric fails, or does not return finite numbers of the right shape.
    """
    wanted_images = _IMAGES_PER_CLASS * classes
    fitting_images = _MAX_TRIAL_LOGITS // classes
    image_count = max(_MIN_TRIAL_IMAGES, min(wanted_images, fitting_images))
    labels = jnp.arange(image_count, dtype=jnp.int32) % classes
    logits = _made_up_logits(labels, classes)
    for user_metric in user_metrics:
        with explain_user_code_errors((METRIC_OPTION, user_metric.code)):
            if user_metric.metric.per_image is not None:
                _check_per_image_metric(user_metric, logits, labels)
            else:
                _check_confusion_metric(user_metric, measure((), logits, labels).confusion)
            measurement = measure((user_metric.metric,), logits, labels)
        value = measurement.values[user_metric.metric.name]
        all_classes_have_images = image_count >= classes
        if all_classes_have_images and not math.isfinite(value):
            raise UsageError(
                f"--{METRIC_OPTION} {user_metric.code}: returns {value} for {image_count} images "
                "with made-up logits; it must return finite numbers"
            )


def _made_up_logits(labels: jax.Array, classes: int) -> jax.Array:
    """Return random logits `[N, classes]`, often right, that predict each label at least once."""
    noise = jax.random.normal(jax.random.key(0), (len(labels), classes), jnp.float32)
    often_correct_logits = noise + 2.0 * jax.nn.one_hot(labels, classes)
    # The first image of each class gets a margin that noise can't exceed: the class is predicted.
    large_margins = 8.0 * jax.nn.one_hot(labels[:classes], classes)
    return often_correct_logits.at[:classes].add(large_margins)


def _check_per_image_metric(user_metric: UserMetric, logits: jax.Array, labels: jax.Array) -> None:
    """Raise UsageError if a metric does not return one number for each image."""
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


def _check_confusion_metric(user_metric: UserMetric, confusion: np.ndarray) -> None:
    """Raise UsageError if a metric does not return one number for a confusion matrix."""
    assert user_metric.metric.of_confusion is not None
    try:
        copy_that_metric_may_change = confusion.copy()
        value = np.asarray(user_metric.metric.of_confusion(copy_that_metric_may_change))
    except ArithmeticError:  # such as a division by zero; `measure` returns NaN for it
        value = np.asarray(math.nan)
    is_number = value.ndim == 0 and value.dtype.kind in _DTYPE_KINDS_OF_NUMBERS
    if not is_number:
        raise UsageError(
            f"--{METRIC_OPTION} {user_metric.code}: returns {value.dtype}{list(value.shape)} for "
            f"the confusion matrix {list(confusion.shape)}; it must return one number"
        )
