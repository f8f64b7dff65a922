"""Evaluate a trained network on sets of images, without files, clocks or prints."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Float, Shaped, UInt8
from jaxcifar.build.user_metrics import MetricSet, UserMetric
from jaxcifar.data import Examples
from jaxcifar.data.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from jaxcifar.errors import RunError
from jaxcifar.evaluation.calibration import calibration, fitted_temperature, interval
from jaxcifar.evaluation.image_sets import CORRUPTIONS as OF_CORRUPTED
from jaxcifar.evaluation.image_sets import SLIPS, ImageSet
from jaxcifar.evaluation.mistakes import Predict
from jaxcifar.runs.evaluation_file import Corrupted, Evaluation, Figures, Slipped, Value
from jaxcifar.runs.metric_fields import declared
from jaxcifar.runs.result import confident_mistakes
from jaxcifar.training.predicting import both_sides


class Found(NamedTuple):
    """The figures of one set of images, and its most confident mistakes."""

    figures: Figures
    mistakes: dict[str, Shaped[np.ndarray, "mistakes ..."]]


class AllFound(NamedTuple):
    """The content of `evaluation.json`, and the most confident mistakes by the set's name."""

    evaluation: Evaluation
    mistakes: dict[str, dict[str, Shaped[np.ndarray, "mistakes ..."]]]


def evaluate_sets(
    predict: Predict,
    slips: Mapping[str, Predict],
    class_names: Sequence[str],
    sets: Sequence[ImageSet],
    val: Examples | None,
    date: str,
    begin: Callable[[str], None] = lambda what: None,
    users: Sequence[UserMetric] = (),
) -> AllFound:
    """Evaluate a network on sets of images.

    Args:
      predict: the network.
      slips: the same where whoever evaluates it slips (`slips.slips`).
      class_names: by label.
      sets: that of the name `sets.CORRUPTIONS` is corrupted first, that of `sets.SLIPS` is for the
        slips.
      val: validation images, by which the temperature is fitted, if a set has a use for it; None or
        none of them leave it out.
      date: when this is done.
      begin: told what comes next.
      users: metrics that are measured beside ours.

    Raises:
      RunError: the network's answers are not finite.
      UsageError: a metric of the user can't be used.
    """
    metrics = MetricSet.tried(len(class_names), users)
    evaluation: Evaluation = {"sets": {}}
    mistakes = {}
    plain = any(part.name not in (OF_CORRUPTED, SLIPS) for part in sets)
    if plain and val is not None and len(val.labels):
        begin("the temperature, on the validation images")
        logits = finite_logits(predict, val.images, "validation")
        evaluation["temperature"] = fitted_temperature(logits, val.labels)
    for part in sets:
        if part.name == OF_CORRUPTED:
            found = evaluate_corrupted(
                predict, part.examples, date, lambda kind: begin(f"corruptions: {kind}")
            )
            evaluation["corruptions"] = found
        elif part.name == SLIPS:
            evaluation["slips"] = evaluate_slips(
                predict, slips, part.examples, date, lambda slip: begin(f"slips: {slip}")
            )
        else:
            begin(f"{part.title}, {len(part.examples.labels):,} images")
            temperature = evaluation.get("temperature")
            evaluation["sets"][part.name], mistakes[part.name] = evaluate(
                predict, part, class_names, temperature, date, metrics
            )
    return AllFound(evaluation, mistakes)


def finite_logits(
    predict: Predict, images: UInt8[np.ndarray, "images height width 3"], what: str
) -> Float[np.ndarray, "images classes"]:
    """Return the network's logits for images; `what` names the images in the error.

    Raises:
      RunError: a logit is not a finite number.
    """
    logits = predict(np.ascontiguousarray(images))
    if not np.isfinite(logits).all():
        raise RunError(f"{what}: the network's answers are not finite numbers; train it anew")
    return logits


def evaluate(
    predict: Predict,
    part: ImageSet,
    class_names: Sequence[str],
    temperature: float | None,
    date: str,
    metrics: MetricSet | None = None,
) -> Found:
    """Accuracy, calibration and mistakes on one set of images.

    Args:
      predict: the network.
      part: at least one image.
      class_names: by label.
      temperature: fitted elsewhere (`fitted_temperature`); None leaves its figures out.
      date: when this is done.
      metrics: what is measured; by default all of ours that sets of so many classes have.

    Raises:
      RunError: the network's answers are not finite.
      UsageError: a metric of the user fails.
    """
    images, labels = part.examples
    logits = finite_logits(predict, images, part.title)
    of_both = both_sides(partial(finite_logits, predict, what=part.title), images, logits)
    right = logits.argmax(-1) == labels
    counts, correct = (
        np.bincount(labels, weights, minlength=len(class_names)) for weights in (None, right)
    )
    mistakes = confident_mistakes(logits, part.examples)
    if part.places is not None:
        mistakes["index"] = part.places[mistakes["index"]]
    figures: Figures = {
        "title": part.title,
        "date": date,
        "images": len(labels),
        "accuracy": float(right.mean()),
        "interval": list(interval(int(right.sum()), len(labels))),
        "accuracy_flip": float((of_both.argmax(-1) == labels).mean()),
        "class_accuracy": {
            name: float(correct[label] / counts[label])
            for label, name in enumerate(class_names)
            if counts[label]
        },
        "plain": calibration(logits, labels),
        "mistakes": [
            {
                "index": int(index),
                "label": class_names[label],
                "predicted": class_names[predicted],
                "confidence": min(1.0, float(confidence)),
            }
            for index, label, predicted, confidence in zip(
                *(mistakes[k] for k in ("index", "label", "predicted", "confidence")), strict=True
            )
        ],
        "metrics": _values(metrics or MetricSet.tried(len(class_names)), logits, labels),
    }
    if temperature is not None:
        figures["tempered"] = calibration(logits, labels, temperature)
    return Found(figures, mistakes)


def _values(metrics: MetricSet, logits: np.ndarray, labels: np.ndarray) -> list[Value]:
    """Return all metrics with their values, without those that are not finite."""
    values = metrics.measure(logits, labels).values
    return [
        {**line, "value": values[line["name"]]}
        for line in declared(metrics)
        if math.isfinite(values[line["name"]])
    ]


def evaluate_corrupted(
    predict: Predict,
    examples: Examples,
    date: str,
    begin: Callable[[str], None] = lambda kind: None,
) -> Corrupted:
    """Accuracy by kind and strength of what is done to images.

    Args:
      predict: the network.
      examples: at least one.
      date: when this is done.
      begin: told each kind before it is done.

    Raises:
      RunError: the network's answers are not finite.
    """
    images, labels = examples

    def accuracy(images: np.ndarray, what: str) -> float:
        return float((finite_logits(predict, images, what).argmax(-1) == labels).mean())

    def by_strength(kind: str) -> Iterator[float]:
        begin(kind)
        for level in range(1, STRENGTHS + 1):
            yield accuracy(corrupted(kind, level, images), f"{kind}, strength {level}")

    return {
        "date": date,
        "images": len(labels),
        "clean": accuracy(images, "clean images"),
        "accuracy": {kind: list(by_strength(kind)) for kind in CORRUPTIONS},
    }


def evaluate_slips(
    predict: Predict,
    slips: Mapping[str, Predict],
    examples: Examples,
    date: str,
    begin: Callable[[str], None] = lambda slip: None,
) -> Slipped:
    """Accuracy where whoever evaluates slips; answers that are not finite are wrong ones.

    Args:
      predict: the network.
      slips: the same, by what goes wrong.
      examples: at least one.
      date: when this is done.
      begin: told each slip before it is tried.
    """
    images, labels = (np.ascontiguousarray(array) for array in examples)

    def accuracy(name: str) -> float:
        begin(name)
        logits = np.nan_to_num(slips[name](images), nan=-np.inf)
        right = (logits.argmax(-1) == labels) & np.isfinite(logits).any(-1)
        return float(right.mean())

    return {
        "date": date,
        "images": len(labels),
        "clean": float((finite_logits(predict, images, "test").argmax(-1) == labels).mean()),
        "accuracy": {name: accuracy(name) for name in slips},
    }
