"""Softened targets and the average of weights, against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from rounding import assert_near, error_by_condition

from jaxcifar.training.loss import smoothed_cross_entropy
from jaxcifar.training.state import update_average


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_cross_entropy(smoothing):
    rng = np.random.RandomState(0)
    logits, labels = 3 * rng.randn(20, 10), rng.randint(0, 10, 20)
    targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10

    def definition(logits):
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -(targets * np.log(probabilities)).sum(-1)

    got = smoothed_cross_entropy(jnp.float32(logits), jnp.int32(labels), jnp.float32(smoothing))
    assert_near(got, definition(logits), error_by_condition(definition, logits, 10))


def test_the_average_of_weights():
    """Each step's weights count by what all later steps keep; counters are taken as they are."""
    rng = np.random.RandomState(0)
    steps = rng.randn(200, 3)
    average = ({"w": jnp.float32(steps[0])}, {"count": jnp.int32(0)})
    for step, weights in enumerate(steps):
        new = ({"w": jnp.float32(weights)}, {"count": jnp.int32(step)})
        average = update_average(average, new, jnp.float32(0.9), jnp.int32(step))
    keeps = np.minimum(0.9, (np.arange(200) + 1) / (np.arange(200) + 10))
    shares = (1 - keeps) * np.r_[np.cumprod(keeps[::-1])[::-1][1:], 1]

    def weighted(steps):
        return shares @ steps + np.prod(keeps) * steps[0]

    error = error_by_condition(weighted, steps, 3 * len(steps))  # operations
    assert_near(average[0]["w"], weighted(steps), error)
    assert average[1]["count"] == 199
