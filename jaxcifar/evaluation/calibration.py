"""Measure accuracy by class, and calibration: how well probabilities agree with the accuracy.

Guo et al., "On calibration of modern neural networks", 2017.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq

from jaxcifar.array_types import Bool, Float, Float64, Integer
from jaxcifar.runs.evaluation_file import BINS, Calibration
from jaxcifar.runs.temperature_limits import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE
from jaxcifar.training.metrics import is_correct


def accuracy_by_class(
    are_correct: Bool[np.ndarray, "images"],
    labels: Integer[np.ndarray, "images"],
    class_names: Sequence[str],
) -> dict[str, float]:
    """Return the accuracy (0 to 1) on the images of each class, by the name of the class.

    Classes without images are left out.

    Args:
      are_correct: True for each image that the network classified correctly.
      labels: true class of each image.
      class_names: names of the classes, by label.
    """
    image_counts = np.bincount(labels, minlength=len(class_names))
    correct_counts = np.bincount(labels, are_correct, minlength=len(class_names))
    accuracies = {}
    for label, name in enumerate(class_names):
        if image_counts[label]:
            accuracies[name] = float(correct_counts[label] / image_counts[label])
    return accuracies


def log_probabilities(
    logits: Float[np.ndarray, "images classes"],
) -> Float64[np.ndarray, "images classes"]:
    """Return the logarithms of each image's class probabilities: the log-softmax of its logits."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def calibration(
    logits: Float[np.ndarray, "images classes"],
    labels: Integer[np.ndarray, "images"],
    temperature: float = 1.0,
) -> Calibration:
    """Return a network's loss, its expected calibration error, and the bins behind this error.

    The confidence of an image is the probability of its predicted class. A bin contains the images
    of similar confidence. The error is the difference between the mean confidence and the accuracy
    of a bin, averaged over all images (Guo et al. 2017).

    Args:
      logits: the network's logits.
      labels: true class of each image.
      temperature: number by which the logits are divided.
    """
    log_probs = log_probabilities(np.asarray(logits, np.float64) / temperature)
    are_correct = is_correct(log_probs, labels)
    confidences = np.minimum(np.exp(log_probs.max(-1)), 1.0)
    bin_of_image = _bin_numbers(confidences)
    image_counts = np.bincount(bin_of_image, minlength=BINS)
    confidence_sums = np.bincount(bin_of_image, confidences, minlength=BINS)
    correct_counts = np.bincount(bin_of_image, are_correct, minlength=BINS)
    bins: list[Any] = []
    for bin_number in range(BINS):
        image_count_or_one = max(image_counts[bin_number], 1)
        mean_confidence = float(confidence_sums[bin_number] / image_count_or_one)
        bins.append(
            {
                "images": int(image_counts[bin_number]),
                "confidence": _without_rounding_above_one(mean_confidence),
                "accuracy": float(correct_counts[bin_number] / image_count_or_one),
            }
        )
    error_sums_of_bins = np.abs(confidence_sums - correct_counts)
    calibration_error = float(error_sums_of_bins.sum() / len(labels))
    log_probs_of_labels = log_probs[np.arange(len(labels)), labels]
    return {
        "loss": float(-log_probs_of_labels.mean()),
        "ece": _without_rounding_above_one(calibration_error),
        "bins": bins,
    }


def _bin_numbers(confidences: Float64[np.ndarray, "images"]) -> Integer[np.ndarray, "images"]:
    """Return the number of each confidence's bin, from 0 to `BINS` - 1.

    A bin includes its upper limit, but not its lower limit; only the first bin includes 0.
    """
    numbers_from_one = np.ceil(confidences * BINS).astype(int)
    return np.clip(numbers_from_one - 1, 0, BINS - 1)


def _without_rounding_above_one(value: float) -> float:
    """Return a mean of numbers up to 1, but 1 if rounding has made it slightly larger than 1."""
    return min(1.0, value)


def fitted_temperature(
    logits: Float[np.ndarray, "images classes"], labels: Integer[np.ndarray, "images"]
) -> float:
    """Return the temperature with the lowest cross-entropy loss (Guo et al. 2017).

    Logits are divided by the temperature, which lies between `LOWEST_TEMPERATURE` and
    `HIGHEST_TEMPERATURE`. The loss is convex in the inverse temperature, so the loss is lowest
    where its derivative is 0. The derivative by the inverse temperature is a mean over the images:
    the expected logit minus the logit of the true class.

    Args:
      logits: logits of images that were not used for training.
      labels: true class of each image.
    """
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    logits_of_labels = logits[np.arange(len(labels)), labels]

    def loss_derivative(log_inverse_temperature: float) -> float:
        inverse_temperature = np.exp(log_inverse_temperature)
        probabilities = np.exp(log_probabilities(inverse_temperature * logits))
        expected_logits = (probabilities * logits).sum(-1)
        return float((expected_logits - logits_of_labels).mean())

    log_inverse_of_highest = np.log(1 / HIGHEST_TEMPERATURE)
    log_inverse_of_lowest = np.log(1 / LOWEST_TEMPERATURE)
    # The derivative rises with the inverse temperature. If it does not change its sign between the
    # two limits, the loss is lowest at one of them.
    if loss_derivative(log_inverse_of_highest) >= 0:
        return HIGHEST_TEMPERATURE
    if loss_derivative(log_inverse_of_lowest) <= 0:
        return LOWEST_TEMPERATURE
    log_inverse_of_best = brentq(
        loss_derivative, log_inverse_of_highest, log_inverse_of_lowest, xtol=1e-10
    )
    return float(np.exp(-log_inverse_of_best))
