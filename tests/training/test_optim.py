"""Schedules against closed forms, update rules against their textbook definition."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rounding import UNIT, assert_near, error_by_condition, error_of_sum

from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.registry import KINDS
from jaxcifar.training import optim

STEPS_PER_EPOCH, EPOCHS = 7, 12
T = np.arange(STEPS_PER_EPOCH * EPOCHS)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("none", np.full(len(T), 0.1)),
        ("step", 0.1 * 0.5 ** (T // (5 * STEPS_PER_EPOCH))),
        ("cosine", 0.05 * (1 + np.cos(np.pi * T / len(T)))),
        ("linear", 0.1 * (1 - T / len(T))),
    ],
)
def test_each_schedule_follows_its_formula(schedule, expected):
    options = {"step_size": 5, "gamma": 0.5} if schedule == "step" else {}
    config = Config.create(epochs=EPOCHS, learning_rate=0.1, schedule=schedule, **options)
    rates = learning_rates(config, STEPS_PER_EPOCH)
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("schedule", ["none", "linear", "cosine"])
def test_the_rate_rises_before_the_schedule_begins(schedule):
    """It rises in a quarter of the steps by equal parts; the schedule has the other three."""
    config = Config.create(epochs=EPOCHS, learning_rate=0.1, schedule=schedule, warmup=0.25)
    rates = learning_rates(config, STEPS_PER_EPOCH)
    rising, left = len(T) // 4, 3 * len(T) // 4
    falling = {
        "none": np.ones(left),
        "linear": np.linspace(1, 0, left, endpoint=False),
        "cosine": (1 + np.cos(np.linspace(0, np.pi, left, endpoint=False))) / 2,
    }[schedule]
    rise = np.linspace(0, 1, rising + 2)[1:-1]
    np.testing.assert_allclose(rates, 0.1 * np.r_[rise, falling], rtol=1e-6, atol=1e-9)


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


@pytest.mark.parametrize("epochs", [3, 9, 11])
def test_in_a_short_run_the_rate_rises_for_half_of_it(epochs):
    config = Config.create(
        epochs=epochs, batch_size=4 * 512, learning_rate=0.1, lr_scale="linear", schedule="none"
    )
    steps = np.arange(epochs * STEPS_PER_EPOCH)
    rising = round(min(5, epochs / 2) * STEPS_PER_EPOCH)
    expected = 0.1 * np.minimum(1 + 3 * steps / rising, 4)
    np.testing.assert_allclose(learning_rates(config, STEPS_PER_EPOCH), expected, rtol=1e-6)


def test_a_changed_recipe_changes_no_rate_of_a_run(monkeypatch):
    """Nor of one that is read from its file: the batch that its rate is meant for is in it."""
    config = Config.create(epochs=EPOCHS, batch_size=1024, lr_scale="linear")
    before = learning_rates(config, STEPS_PER_EPOCH)
    monkeypatch.setitem(RECIPES["reference"]["resnet18"], "batch_size", 128)
    again = Config.from_dict(json.loads(config.to_json()))
    assert again == config
    np.testing.assert_array_equal(learning_rates(again, STEPS_PER_EPOCH), before)


def test_files_of_before_have_the_batch_of_their_recipe():
    config = Config.create("cnn", recipe="strong", batch_size=1024, lr_scale="sqrt")
    content = json.loads(config.to_json())
    assert content.pop("base_batch_size") == 128
    assert Config.from_dict(content) == config


def numpy_sgd(params, grads, lr, momentum, decay, _):
    velocity = np.zeros_like(params)
    for grad in grads:
        velocity = momentum * velocity + grad + decay * params
        params = params - lr * velocity
    return params


def numpy_adam(params, grads, lr, momentum, decay, beta):
    first, second = np.zeros_like(params), np.zeros_like(params)
    for t, grad in enumerate(grads, start=1):
        grad = grad + decay * params
        first = momentum * first + (1 - momentum) * grad
        second = 0.999 * second + 0.001 * grad**2
        step = (first / (1 - momentum**t)) / (np.sqrt(second / (1 - beta**t)) + 1e-8)
        params = params - lr * step
    return params


def numpy_adamw(params, grads, lr, momentum, decay, beta):
    first, second = np.zeros_like(params), np.zeros_like(params)
    for t, grad in enumerate(grads, start=1):
        first = momentum * first + (1 - momentum) * grad
        second = 0.999 * second + 0.001 * grad**2
        step = (first / (1 - momentum**t)) / (np.sqrt(second / (1 - beta**t)) + 1e-8)
        params = params - lr * decay * params - lr * step
    return params


def registered(name):
    """Return the update rule that `--optimizer NAME` trains with."""
    return user_code.load(Config.create(optimizer=name), "optimizer")


TEXTBOOK = {"sgd": numpy_sgd, "adam": numpy_adam, "adamw": numpy_adamw}


@pytest.mark.parametrize("name", [name for name in KINDS["optimizer"] if name != "muon"])
def test_each_update_rule_is_the_textbooks_of_its_name(name):
    """Muon has tests of its own below."""
    rule, reference = registered(name), TEXTBOOK[name]
    rng = np.random.RandomState(0)
    start, grads = rng.randn(6), rng.randn(5, 6)
    settings = (0.1, 0.8, 0.05)
    rule = rule(*map(jnp.float32, settings))
    params = jnp.asarray(start, jnp.float32)
    state = rule.init(params)
    for grad in grads:
        updates, state = rule.update(jnp.asarray(grad, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    given = start, grads, *settings, 0.999  # of which rounding takes much: it is taken from 1
    error = error_by_condition(lambda given: reference(*given), given, 5 * 10)  # operations
    assert_near(params, reference(*given), error)


def optax_sgd(nesterov):
    """Optax's own, which takes the kind of momentum as code; biases are not decayed."""
    mask = {"kernel": True, "bias": False}
    return optax.chain(
        optax.add_decayed_weights(0.05, mask), optax.sgd(0.1, momentum=0.8, nesterov=nesterov)
    )


def trained(rule, steps=5):
    rng = np.random.RandomState(0)
    params = {"kernel": jnp.asarray(rng.randn(3, 4)), "bias": jnp.asarray(rng.randn(4))}
    state = rule.init(params)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.randn(*p.shape)), params)
        updates, state = rule.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_nesterov_and_biases_without_decay(nesterov):
    got = trained(registered("sgd")(0.1, 0.8, 0.05, jnp.asarray(False), jnp.asarray(nesterov)))
    expected = trained(optax_sgd(nesterov))
    operations = 5 * 8  # of steps and in each of them
    for name, array in expected.items():
        assert_near(got[name], array, 2 * error_of_sum(operations, np.abs(array).max()))


@pytest.mark.parametrize(
    "name", [n for n, e in KINDS["optimizer"].items() if "bias_decay" in e.takes]
)
@pytest.mark.parametrize("bias_decay", [False, True])
def test_without_gradients_decay_alone_moves_weights_and_biases_only_if_asked_for(name, bias_decay):
    params = {"kernel": jnp.full((3, 4), 2.0), "bias": jnp.full(4, 2.0)}
    rule = registered(name)(0.1, 0.8, 0.05, jnp.asarray(bias_decay))
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = rule.update(grads, rule.init(params), params)
    assert (np.asarray(updates["kernel"]) < -0.005).all()
    moved = np.asarray(updates["kernel"])[0] if bias_decay else np.zeros(4)
    np.testing.assert_array_equal(updates["bias"], moved)


def test_clipping_is_optaxs():
    grads = {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray([[4.0]])}  # of norm 5
    for most in (1.0, 4.9, 5.1, 1e9):
        expected, _ = optax.clip_by_global_norm(most).update(grads, optax.EmptyState())
        got = optim.clip(grads, jnp.float32(most))
        for name in grads:
            assert_near(got[name], expected[name], 8 * UNIT * expected[name])
    np.testing.assert_array_equal(optim.clip(grads, jnp.float32(0))["a"], grads["a"])
    zero = {"a": jnp.zeros(2)}
    np.testing.assert_array_equal(optim.clip(zero, jnp.float32(1))["a"], zero["a"])


def test_biases_have_a_rate_of_their_own():
    updates = {"bias": jnp.asarray([1.0, -2.0]), "kernel": jnp.ones((2, 2))}
    scaled = optim.scale_biases(updates, jnp.float32(64))
    np.testing.assert_array_equal(scaled["bias"], [64.0, -128.0])
    np.testing.assert_array_equal(scaled["kernel"], updates["kernel"])


def test_a_step_of_muon_follows_the_definition():
    """A first step is the gradient with singular values near 1; the norm stays; the rest is SGD."""
    rng = np.random.RandomState(0)
    params = {"conv": {"kernel": rng.randn(3, 3, 8, 16), "bias": rng.randn(16)}}
    params = jax.tree.map(jnp.float32, params)
    params["conv"]["kernel"] *= 4 / jnp.linalg.norm(params["conv"]["kernel"].ravel())
    grads = jax.tree.map(lambda p: jnp.float32(rng.randn(*p.shape)), params)
    rate = 1e-3
    rule = registered("muon")(jnp.float32(rate), jnp.float32(0.6), jnp.float32(0.1), False, 3.0)
    updates, _ = rule.update(grads, rule.init(params), params)
    of_bias = -3 * rate * 1.6 * np.float64(grads["conv"]["bias"])
    assert_near(updates["conv"]["bias"], of_bias, 8 * UNIT * np.abs(of_bias))
    old, gradient = (np.asarray(t["conv"]["kernel"]).reshape(72, 16) for t in (params, grads))
    new = old + np.asarray(updates["conv"]["kernel"]).reshape(72, 16)
    assert_near(np.linalg.norm(np.float64(new)), 4, error_of_sum(new.size, 4))
    # To first order the step, less its part along the weights, which keeping the norm takes out.
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    polar = left @ right
    step = (old - new) / rate
    across = step - (step * old).sum() / 16 * old
    expected = polar - (polar * old).sum() / 16 * old
    cosine = (across * expected).sum() / np.linalg.norm(across) / np.linalg.norm(expected)
    assert cosine > 0.95
    assert 0.6 < np.linalg.norm(across) / np.linalg.norm(expected) < 1.3


def orthogonalised(matrix):
    """Three steps of the Newton-Schulz iteration with Jordan's coefficients."""
    x = matrix.T / np.linalg.norm(matrix)
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T


def test_five_steps_of_muon_against_numpy():
    """In float64, with momentum of Nesterov's kind whose beginning is corrected (Dozat, 2016)."""
    rng = np.random.RandomState(0)
    start, grads, rate, beta = rng.randn(72, 16), rng.randn(5, 72, 16), 0.1, 0.6
    start *= 4 / np.linalg.norm(start)
    rule = registered("muon")(jnp.float32(rate), jnp.float32(beta), jnp.float32(0.1), False, 3.0)
    params = {"kernel": jnp.float32(start.reshape(3, 3, 8, 16))}
    state = rule.init(params)
    for grad in grads:
        updates, state = rule.update(
            {"kernel": jnp.float32(grad.reshape(3, 3, 8, 16))}, state, params
        )
        params = optax.apply_updates(params, updates)

    def by_definition(given):
        kernel, grads = given
        velocity = np.zeros_like(kernel)
        for step, grad in enumerate(grads, start=1):
            velocity = beta * velocity + (1 - beta) * grad
            ahead = beta * velocity / (1 - beta ** (step + 1))
            ahead += (1 - beta) * grad / (1 - beta**step)
            kernel = kernel - rate * orthogonalised(ahead)
            kernel = kernel * 4 / np.linalg.norm(kernel)
        return kernel

    given = start, grads
    error = error_by_condition(by_definition, given, start.size)  # the norm is the longest sum
    assert_near(params["kernel"].reshape(72, 16), by_definition(given), error)
