"""Softened, mixed and weighted targets against NumPy and PyTorch; the average of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import assert_near, error_by_condition

from jaxcifar.training.loss import smoothed_cross_entropy, total_weight, training_losses
from jaxcifar.training.state import update_average


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_cross_entropy_follows_the_definition(smoothing):
    rng = np.random.RandomState(0)
    logits, labels = 3 * rng.randn(20, 10), rng.randint(0, 10, 20)
    targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10

    def definition(logits):
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return -(targets * np.log(probabilities)).sum(-1)

    got = smoothed_cross_entropy(jnp.float32(logits), jnp.int32(labels), jnp.float32(smoothing))
    assert_near(got, definition(logits), error_by_condition(definition, logits, 10))


def test_the_average_of_weights_follows_the_definition():
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


WEIGHTS = np.asarray([0.5, 3.0, 1.0, 0.1, 2.0])
MIXED = np.random.RandomState(1).dirichlet(np.ones(5), 8)
LABELS = np.random.RandomState(2).randint(0, 5, 8)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("targets", [LABELS, MIXED], ids=["labels", "mixed"])
def test_the_loss_of_a_batch_by_its_definition(targets, weights, smoothing):
    logits = 3 * np.random.RandomState(0).randn(8, 5)
    shares = np.eye(5)[targets] if targets.ndim == 1 else targets
    class_weights = np.ones(5) if weights is None else weights
    smoothed = (1 - smoothing) * shares + smoothing / 5

    def definition(logits):
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        losses = -(class_weights * smoothed * np.log(probabilities)).sum()
        return losses / (shares @ class_weights).sum()

    given = jnp.int32(targets) if targets.ndim == 1 else jnp.float32(targets)
    in_loss = None if weights is None else jnp.float32(weights)
    losses = training_losses(jnp.float32(logits), given, jnp.float32(smoothing), in_loss)
    got = losses.sum() / total_weight(given, in_loss, 8, None)
    assert_near(got, definition(logits), error_by_condition(definition, logits, 80))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_classes_are_those_of_pytorch(smoothing):
    """The loss and its gradient."""
    torch = pytest.importorskip("torch")
    logits = (3 * np.random.RandomState(0).randn(8, 5)).astype(np.float32)
    weights = WEIGHTS.astype(np.float32)
    theirs = torch.tensor(logits, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=smoothing)
    expected = criterion(theirs, torch.tensor(LABELS))
    expected.backward()

    def loss(logits):
        labels = jnp.int32(LABELS)
        losses = training_losses(logits, labels, smoothing, jnp.asarray(weights))
        return losses.sum() / total_weight(labels, jnp.asarray(weights), 8, None)

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-4, atol=1e-7)


def test_devices_divide_by_the_weights_of_the_whole_batch():
    labels, weights = jnp.int32(LABELS), jnp.float32(WEIGHTS)
    parts = labels.reshape(4, 2)
    totals = jax.vmap(lambda part: total_weight(part, weights, 8, "data"), axis_name="data")(parts)
    np.testing.assert_allclose(totals, np.full(4, WEIGHTS[LABELS].sum()), rtol=1e-6)
