"""Metrics of the user: loaded from `FILE.py:NAME`, and tried before any training."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self

from jaxcifar.build.metric_trial import METRIC_OPTION, UserMetric, check_metrics_on_made_up_logits
from jaxcifar.config import registry, user_reference
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.training.metrics import METRICS, Measurement, Metric, measure, metrics_for

# Names that a user's metric can't have: built-in metrics, and other fields `test_NAME` of a result
# (`test_accuracy_mismatched` was written by older versions).
_RESERVED_NAMES = {*(metric.name for metric in METRICS), "accuracy_flip", "accuracy_mismatched"}


def load_metrics(names: Sequence[str]) -> tuple[UserMetric, ...]:
    """Load metrics that the user defined, from names such as `FILE.py:NAME`, and return them.

    Raises:
      UsageError: a metric can't be loaded, is neither a `Metric` nor a suitable function, or has
        the name of another metric.
    """
    user_metrics = []
    for name in names:
        _require_well_formed_name(name)
        sha256 = user_reference.read_and_hash(METRIC_OPTION, name)
        loaded = user_reference.load(METRIC_OPTION, name, sha256)
        user_metrics.append(UserMetric(metric_of(loaded, name), name, sha256))
    return with_distinct_names(user_metrics)


def _require_well_formed_name(name: str) -> None:
    """Raise UsageError if a name of user code is not of the form `FILE.py:NAME`."""
    registry.entry(METRIC_OPTION, name)


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
    _require_hashable(value, code)
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


def _require_hashable(value: Any, code: str) -> None:
    """Raise an error if a metric has no hash, by which JAX looks up compiled functions."""
    with explain_user_code_errors((METRIC_OPTION, code)):
        hash(value)


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
    unrepeated_metrics = tuple(dict.fromkeys(metrics))
    taken_names = set(_RESERVED_NAMES)
    for user_metric in unrepeated_metrics:
        name = user_metric.metric.name
        if name in taken_names:
            raise UsageError(
                f"--{METRIC_OPTION} {user_metric.code}: the name {name} is taken; choose another "
                "name"
            )
        taken_names.add(name)
    return unrepeated_metrics


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
            check_metrics_on_made_up_logits(user_metrics, classes)
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
