"""Schedules against closed forms, update rules against their textbook definition."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcifar.config import Config
from jaxcifar.training import optim
from jaxcifar.training.schedules import learning_rates

STEPS_PER_EPOCH, EPOCHS = 7, 12
T = np.arange(STEPS_PER_EPOCH * EPOCHS)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("none", np.full(len(T), 0.1)),
        ("step", 0.1 * 0.5 ** (T // (5 * STEPS_PER_EPOCH))),
        ("cosine", 0.05 * (1 + np.cos(np.pi * T / len(T)))),
    ],
)
def test_schedules(schedule, expected):
    options = {"step_size": 5, "gamma": 0.5} if schedule == "step" else {}
    config = Config.create(epochs=EPOCHS, learning_rate=0.1, schedule=schedule, **options)
    rates = learning_rates(config, STEPS_PER_EPOCH)
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("rule", "factor"), [("linear", 4), ("sqrt", 2)])
def test_a_larger_batch_raises_the_rate(rule, factor):
    """In five epochs of warm-up, on top of the schedule; a smaller batch lowers it at once."""
    larger = Config.create(epochs=EPOCHS, batch_size=4 * 512, learning_rate=0.1, lr_scale=rule)
    plain = 0.05 * (1 + np.cos(np.pi * T / len(T)))
    rising = np.minimum(1 + (factor - 1) * T / (5 * STEPS_PER_EPOCH), factor)
    rates = learning_rates(larger, STEPS_PER_EPOCH)
    np.testing.assert_allclose(rates, plain * rising, rtol=1e-6, atol=1e-9)
    smaller = Config.create(epochs=EPOCHS, batch_size=512 // 4, learning_rate=0.1, lr_scale=rule)
    rates = learning_rates(smaller, STEPS_PER_EPOCH)
    np.testing.assert_allclose(rates, plain / factor, rtol=1e-6, atol=1e-9)


def numpy_sgd(params, grads, lr, momentum, decay):
    velocity = np.zeros_like(params)
    for grad in grads:
        velocity = momentum * velocity + grad + decay * params
        params = params - lr * velocity
    return params


def numpy_adam(params, grads, lr, momentum, decay):
    first, second = np.zeros_like(params), np.zeros_like(params)
    for t, grad in enumerate(grads, start=1):
        grad = grad + decay * params
        first = momentum * first + (1 - momentum) * grad
        second = 0.999 * second + 0.001 * grad**2
        step = (first / (1 - momentum**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        params = params - lr * step
    return params


def numpy_adamw(params, grads, lr, momentum, decay):
    first, second = np.zeros_like(params), np.zeros_like(params)
    for t, grad in enumerate(grads, start=1):
        first = momentum * first + (1 - momentum) * grad
        second = 0.999 * second + 0.001 * grad**2
        step = (first / (1 - momentum**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        params = params - lr * decay * params - lr * step
    return params


@pytest.mark.parametrize(
    ("rule", "reference"),
    [(optim.sgd, numpy_sgd), (optim.adam, numpy_adam), (optim.adamw, numpy_adamw)],
)
def test_update_rules(rule, reference):
    rng = np.random.RandomState(0)
    start, grads = rng.randn(6), rng.randn(5, 6)
    settings = (0.1, 0.8, 0.05)
    rule = rule(*map(jnp.float32, settings))
    params = jnp.asarray(start, jnp.float32)
    state = rule.init(params)
    for grad in grads:
        updates, state = rule.update(jnp.asarray(grad, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, reference(start, grads, *settings), rtol=1e-4)
