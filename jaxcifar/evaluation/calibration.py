"""How far a network's probabilities can be believed. Pure functions of logits and labels.

Guo et al., "On calibration of modern neural networks", 2017: expected calibration error, and one
temperature for all logits.
"""

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from jaxcifar.array_types import Float, Float64, Integer
from jaxcifar.runs.evaluation_file import BINS, Calibration

COLDEST, HOTTEST = 0.01, 100.0  # temperatures: where every answer is right, none is too cold
_LEVEL = 0.95


def interval(correct: int, images: int) -> tuple[float, float]:
    """Wilson's 95% confidence interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = norm.ppf((1 + _LEVEL) / 2)
    share, weight = correct / images, z**2 / images
    middle = share + weight / 2
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4)
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    return max(0.0, float(low)), min(1.0, float(high))


def log_probabilities(
    logits: Float[np.ndarray, "images classes"],
) -> Float64[np.ndarray, "images classes"]:
    """The logarithms of the softmax of logits."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def calibration(
    logits: Float[np.ndarray, "images classes"],
    labels: Integer[np.ndarray, "images"],
    temperature: float = 1.0,
) -> Calibration:
    """Loss, expected calibration error and its bins.

    A bin holds the images whose likeliest class has a probability above its lower end, up to its
    upper; the error is the mean over images of how far a bin's mean probability is from its
    accuracy.

    Args:
      logits: of any images.
      labels: the right class of each.
      temperature: what logits are divided by.
    """
    logs = log_probabilities(np.asarray(logits, np.float64) / temperature)
    right = logs.argmax(-1) == labels
    confidence = np.minimum(np.exp(logs.max(-1)), 1.0)
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts, confident, correct = (
        np.bincount(places, weights, minlength=BINS) for weights in (None, confidence, right)
    )
    bins: list[Any] = [
        {
            "images": int(count),
            "confidence": min(1.0, float(sure / max(count, 1))),
            "accuracy": float(hits / max(count, 1)),
        }
        for count, sure, hits in zip(counts, confident, correct, strict=True)
    ]
    return {
        "loss": float(-logs[np.arange(len(labels)), labels].mean()),
        "ece": min(1.0, float(np.abs(confident - correct).sum() / len(labels))),
        "bins": bins,
    }


def fitted_temperature(
    logits: Float[np.ndarray, "images classes"], labels: Integer[np.ndarray, "images"]
) -> float:
    """The temperature with the lowest loss, between `COLDEST` and `HOTTEST`.

    The loss is convex in the temperature's inverse, and its derivative is the mean of what the
    probabilities expect of the logits minus the right class's logit: its root is looked for.

    Args:
      logits: of images that the network was not trained on.
      labels: the right class of each.
    """
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    of_right = logits[np.arange(len(labels)), labels]

    def slope(log_inverse: float) -> float:
        probabilities = np.exp(log_probabilities(np.exp(log_inverse) * logits))
        return float(((probabilities * logits).sum(-1) - of_right).mean())

    low, high = np.log(1 / HOTTEST), np.log(1 / COLDEST)
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    return float(np.exp(-brentq(slope, low, high, xtol=1e-10)))
