"""Evaluate a trained network on sets of images, without reading files or printing."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Float, Integer, Shaped, UInt8
from jaxcifar.build.user_metrics import MetricSet, UserMetric
from jaxcifar.data import Examples
from jaxcifar.data.corruptions import CORRUPTIONS, STRENGTHS, corrupt_images
from jaxcifar.errors import RunError
from jaxcifar.evaluation import image_sets
from jaxcifar.evaluation.calibration import accuracy_by_class, calibration, fitted_temperature
from jaxcifar.evaluation.evaluation_mistakes import Predict
from jaxcifar.evaluation.image_sets import ImageSet
from jaxcifar.evaluation.label_errors import label_error_list, likely_label_errors, mistake_list
from jaxcifar.runs.evaluation_file import Corruptions, Evaluation, Figures, MistakeResults, Value
from jaxcifar.runs.metric_fields import declare_metrics
from jaxcifar.runs.mistakes import confident_mistakes
from jaxcifar.training.accuracy_interval import wilson_interval
from jaxcifar.training.metrics import is_correct
from jaxcifar.training.predicting import average_with_mirror_images


class SetResult(NamedTuple):
    """A network's results on one set of images: its numbers, and arrays of images for pictures.

    `label_errors` are training images whose labels are probably wrong; None for other images.
    """

    figures: Figures
    mistakes: dict[str, Shaped[np.ndarray, "mistakes ..."]]
    label_errors: dict[str, Shaped[np.ndarray, "errors ..."]] | None = None


class EvaluationResult(NamedTuple):
    """The content of `evaluation.json`, and the results on each set of images by the set's name."""

    evaluation: Evaluation
    results: dict[str, SetResult]


def evaluate_sets(
    predict: Predict,
    sets: Sequence[ImageSet],
    *,
    predictors_with_mistakes: Mapping[str, Predict],
    class_names: Sequence[str],
    val: Examples | None,
    date: str,
    report_step: Callable[[str], None] = lambda step: None,
    user_metrics: Sequence[UserMetric] = (),
) -> EvaluationResult:
    """Evaluate a network on several sets of images; return the results on each set.

    Args:
      predict: returns the network's logits for images.
      sets: the sets of images. The set named `CORRUPTIONS_SET` is evaluated with corruptions, and
        the set named `MISTAKES_SET` with the functions in `predictors_with_mistakes`.
      predictors_with_mistakes: functions that return logits with a mistake, by the mistake's name.
      class_names: names of the classes, by label.
      val: validation images, to which a softmax temperature is fitted; None for no temperature.
      date: date and time of the evaluation.
      report_step: called with a description of each step before it begins.
      user_metrics: metrics that the user defined.

    Raises:
      RunError: a logit is not finite.
      UsageError: a metric that the user defined fails.
    """
    metrics = MetricSet.create(len(class_names), user_metrics)
    results_by_set: dict[str, SetResult] = {}
    evaluation: Evaluation = {"sets": {}}
    sets_without_temperature = {image_sets.CORRUPTIONS_SET, image_sets.MISTAKES_SET}
    is_temperature_needed = any(item.name not in sets_without_temperature for item in sets)
    if is_temperature_needed and val is not None and len(val.labels) > 0:
        report_step("the temperature, on the validation images")
        logits = finite_logits(predict, val.images, "validation")
        evaluation["temperature"] = fitted_temperature(logits, val.labels)
    for image_set in sets:
        name, examples = image_set.name, image_set.examples
        if name == image_sets.CORRUPTIONS_SET:
            corruptions = evaluate_with_corruptions(predict, examples, date, report_step)
            evaluation["corruptions"] = corruptions
        elif name == image_sets.MISTAKES_SET:
            evaluation["slips"] = evaluate_with_mistakes(
                predict, predictors_with_mistakes, examples, date, report_step
            )
        else:
            report_step(f"{image_set.title}, {len(examples.labels):,} images")
            temperature = evaluation.get("temperature")
            result = evaluate_set(predict, image_set, class_names, temperature, date, metrics)
            evaluation["sets"][name] = result.figures
            results_by_set[name] = result
    return EvaluationResult(evaluation, results_by_set)


def finite_logits(
    predict: Predict, images: UInt8[np.ndarray, "images height width 3"], name: str
) -> Float[np.ndarray, "images classes"]:
    """Return the logits for images called `name`; raise a `RunError` if a logit is not finite."""
    logits = predict(np.ascontiguousarray(images))
    if not np.isfinite(logits).all():
        raise RunError(
            f"{name}: some logits of the network are not finite; train with a lower learning rate"
        )
    return logits


def accuracy_of(
    logits: Float[np.ndarray, "images classes"], labels: Integer[np.ndarray, "images"]
) -> float:
    """Return the accuracy (0 to 1): the fraction of images whose label has the largest logit."""
    return float(is_correct(logits, labels).mean())


def evaluate_set(
    predict: Predict,
    image_set: ImageSet,
    class_names: Sequence[str],
    temperature: float | None,
    date: str,
    metrics: MetricSet | None = None,
) -> SetResult:
    """Compute accuracy, calibration, metrics and most confident mistakes on a set of images.

    Args:
      predict: returns the network's logits for images.
      image_set: a set with at least one image.
      class_names: names of the classes, by label.
      temperature: divisor of the logits for a second calibration; None for no second calibration.
      date: date and time of the evaluation.
      metrics: metrics to compute; None for all built-in metrics that suit the number of classes.

    Raises:
      RunError: a logit is not finite.
      UsageError: a metric that the user defined fails.
    """
    images, labels = image_set.examples
    predict_finite = partial(finite_logits, predict, name=image_set.title)
    logits = predict_finite(images)
    flip_logits = np.asarray(average_with_mirror_images(predict_finite, images, logits))
    are_correct = np.asarray(is_correct(logits, labels))
    accuracy = float(are_correct.mean())
    mistakes = confident_mistakes(logits, image_set.examples)
    mistakes["index"] = image_set.indices_in_whole_set(mistakes["index"])
    if metrics is None:
        metrics = MetricSet.create(len(class_names))
    figures: Figures = {
        "title": image_set.title,
        "date": date,
        "images": len(labels),
        "accuracy": accuracy,
        "interval": list(wilson_interval(accuracy, len(labels))),
        "accuracy_flip": accuracy_of(flip_logits, labels),
        "class_accuracy": accuracy_by_class(are_correct, labels, class_names),
        "plain": calibration(logits, labels),
        "mistakes": mistake_list(mistakes, class_names),
        "metrics": _finite_metrics(metrics, logits, labels),
    }
    if temperature is not None:
        figures["tempered"] = calibration(logits, labels, temperature)
    are_training_images = image_set.name == image_sets.TRAIN_SET
    if not are_training_images:
        return SetResult(figures, mistakes, label_errors=None)
    label_errors = likely_label_errors(logits, image_set.examples)
    label_errors["index"] = image_set.indices_in_whole_set(label_errors["index"])
    figures["label_errors"] = label_error_list(label_errors, class_names)
    return SetResult(figures, mistakes, label_errors)


def _finite_metrics(metrics: MetricSet, logits: np.ndarray, labels: np.ndarray) -> list[Value]:
    """Return name, title, unit and value of each metric whose value is finite."""
    value_by_name = metrics.measure(logits, labels).values
    finite_metrics: list[Value] = []
    for declaration in declare_metrics(metrics):
        value = value_by_name[declaration["name"]]
        if math.isfinite(value):
            finite_metrics.append({**declaration, "value": value})
    return finite_metrics


def evaluate_with_corruptions(
    predict: Predict,
    examples: Examples,
    date: str,
    report_step: Callable[[str], None] = lambda step: None,
) -> Corruptions:
    """Apply each kind of corruption to images, and compute a network's accuracy on the results.

    There must be at least one image. `date` is stored, and `report_step` is called for each kind.

    Raises:
      RunError: a logit is not finite.
    """
    images, labels = examples
    accuracy: dict[str, list[float]] = {}
    clean_logits = finite_logits(predict, images, "clean images")
    for corruption in CORRUPTIONS:
        report_step(f"corruptions: {corruption}")
        accuracy[corruption] = []
        for strength in range(1, STRENGTHS + 1):
            corrupted_images = corrupt_images(corruption, strength, images)
            logits = finite_logits(predict, corrupted_images, f"{corruption}, strength {strength}")
            accuracy[corruption].append(accuracy_of(logits, labels))
    return {
        "date": date,
        "images": len(labels),
        "clean": accuracy_of(clean_logits, labels),
        "accuracy": accuracy,
    }


def evaluate_with_mistakes(
    predict: Predict,
    predictors_with_mistakes: Mapping[str, Predict],
    examples: Examples,
    date: str,
    report_step: Callable[[str], None] = lambda step: None,
) -> MistakeResults:
    """Return the accuracy that evaluation code with each common mistake would measure.

    `predictors_with_mistakes` has functions that return logits with a mistake, by the mistake's
    name. `report_step` is called with a text that has the name. `date` is stored in the results.
    There must be at least one image. An image with only NaN logits counts as classified wrongly.

    Raises:
      RunError: a logit is not finite although no mistake was made.
    """
    images, labels = np.ascontiguousarray(examples.images), examples.labels
    accuracy: dict[str, float] = {}
    for name, predict_with_mistake in predictors_with_mistakes.items():
        report_step(f"evaluation mistake: {name}")
        logits = predict_with_mistake(images)
        have_prediction = ~np.isnan(logits).all(-1)
        logits_without_nan = np.nan_to_num(logits, nan=-np.inf)
        are_correct = have_prediction & is_correct(logits_without_nan, labels)
        accuracy[name] = float(are_correct.mean())
    logits_without_mistake = finite_logits(predict, images, "test")
    return {
        "date": date,
        "images": len(labels),
        "clean": accuracy_of(logits_without_mistake, labels),
        "accuracy": accuracy,
    }
