"""The interval of an accuracy against SciPy and its closed form."""

import math

import pytest
from scipy import stats

from jaxcifar.training.accuracy_interval import wilson_interval


@pytest.mark.parametrize(
    ("correct", "images"), [(0, 40), (40, 40), (1, 1), (37, 50), (9131, 10000)]
)
def test_the_interval_is_scipys(correct, images):
    expected = stats.binomtest(correct, images).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct / images, images) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


def test_the_interval_stays_within_0_and_1():
    for images in range(1, 300):
        assert wilson_interval(1.0, images)[1] <= 1.0
        assert wilson_interval(0.0, images)[0] >= 0.0


def test_the_interval_in_closed_form():
    """Its ends are those shares from which the observed one is 1.96 deviations away."""
    for end in wilson_interval(37 / 50, 50):
        assert abs(37 / 50 - end) / math.sqrt(end * (1 - end) / 50) == pytest.approx(1.959964)
