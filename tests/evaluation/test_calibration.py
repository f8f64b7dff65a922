"""Calibration and temperature against SciPy, closed forms and loops."""

import math

import numpy as np
import pytest
from scipy import optimize

from jaxcifar.evaluation.calibration import (
    calibration,
    fitted_temperature,
    log_probabilities,
)
from jaxcifar.runs.evaluation_file import BINS
from jaxcifar.runs.temperature_limits import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE


def guesses(count=400, classes=10, scale=3.0, seed=0):
    """Logits and labels drawn from their own probabilities: calibrated at temperature 1."""
    rng = np.random.RandomState(seed)
    logits = scale * rng.randn(count, classes)
    odds = np.exp(logits)
    ends = (odds / odds.sum(-1, keepdims=True)).cumsum(-1)
    return logits.astype(np.float32), (rng.rand(count, 1) > ends).sum(-1).clip(0, classes - 1)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_calibration_is_that_of_a_loop_over_images(temperature):
    logits, labels = guesses()
    got = calibration(logits, labels, temperature)
    bins, loss = [[] for _ in range(BINS)], 0.0
    for row, label in zip(np.float64(logits), labels, strict=True):
        odds = [math.exp(value / temperature) for value in row]
        chances = [value / sum(odds) for value in odds]
        loss -= math.log(chances[label]) / len(labels)
        sure = max(chances)
        [place] = [i for i in range(BINS) if i / BINS < sure <= (i + 1) / BINS]
        bins[place].append((sure, chances.index(sure) == label))
    ece = 0.0
    for filled, held in zip(got["bins"], bins, strict=True):
        assert filled["images"] == len(held)
        if held:
            sure, right = np.mean(held, axis=0)
            assert (filled["confidence"], filled["accuracy"]) == pytest.approx((sure, right))
            ece += len(held) / len(labels) * abs(sure - right)
    # So near only if float64 is used from the first division on.
    assert got["ece"] == pytest.approx(ece, rel=1e-12)
    assert got["loss"] == pytest.approx(loss, rel=1e-12)


def test_sure_answers_stand_in_the_last_bin():
    got = calibration(np.float32([[900, 0], [0, 900], [900, 0]]), np.array([0, 1, 1]))
    assert got["bins"][-1] == {"images": 3, "confidence": 1.0, "accuracy": 2 / 3}
    assert got["ece"] == pytest.approx(1 / 3)
    assert got["loss"] == pytest.approx(300)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_is_scipys(factor):
    logits, labels = guesses(4000)
    logits = factor * logits

    def loss(log_temperature):
        logs = log_probabilities(logits / math.exp(log_temperature))
        return -logs[range(len(labels)), labels].mean()

    best = optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
    got = fitted_temperature(logits, labels)
    assert got == pytest.approx(math.exp(best.x), rel=1e-4)
    assert got == pytest.approx(factor, rel=0.1)  # that of the probabilities they were drawn from
    plain, tempered = (calibration(logits, labels, t) for t in (1.0, got))
    assert tempered["loss"] <= plain["loss"]


@pytest.mark.parametrize("factor", [0.012, 85.0])
def test_a_temperature_near_the_bounds_is_found(factor):
    logits, labels = guesses(4000)
    assert fitted_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize(
    ("factor", "bound"), [(0.007, LOWEST_TEMPERATURE), (150.0, HIGHEST_TEMPERATURE)]
)
def test_a_temperature_beyond_the_bounds_is_the_bound(factor, bound):
    logits, labels = guesses(4000)
    assert fitted_temperature(factor * logits, labels) == bound


def test_the_temperature_stays_finite():
    logits = np.eye(3, dtype=np.float32)
    assert fitted_temperature(logits, np.arange(3)) == LOWEST_TEMPERATURE
    assert fitted_temperature(logits, (np.arange(3) + 1) % 3) == HIGHEST_TEMPERATURE
    assert fitted_temperature(np.zeros((3, 3)), np.arange(3)) in (
        LOWEST_TEMPERATURE,
        HIGHEST_TEMPERATURE,
    )
