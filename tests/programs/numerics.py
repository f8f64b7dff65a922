"""What is summed over many rows, at the sizes really used, against NumPy in double precision.

XLA's sums on a CPU have had faults that no small example shows: of squares over a short last axis
with more than 32,768 rows.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from networks.test_adapt import hyperparameters, one_device, program_of
from rounding import assert_near, error_of_sum

from jaxcifar.kernels.depthwise import depthwise
from jaxcifar.networks.layers import BatchNorm
from jaxcifar.training import predicting
from jaxcifar.training.metrics import ACCURACY, LOSS, measure
from jaxcifar.training.state import TrainingSums

EPSILON = 1e-5


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32) * 2 + 1


# Sums over as many rows as half a million must be made in blocks: each is off by the error of a
# block and of the sum of all blocks. One after the other they might be off by ten times as much.
ROWS = 512 * 32 * 32
TOLERANCE = 2 * error_of_sum(math.isqrt(ROWS))  # 1.3e-5


def close(got, expected):
    """Of the largest value."""
    assert_near(got, expected, TOLERANCE * np.abs(expected).max())


def normalized(x, grad, axes):
    """In float64: mean, variance, what is normalised, and its gradient."""
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + EPSILON)
    by_mean, by_var = grad.mean(axes, keepdims=True), (grad * y).mean(axes, keepdims=True)
    return mean, var, y, (grad - by_mean - y * by_var) / np.sqrt(var + EPSILON)


def checked(layer, x, axes, **call):
    """Outputs, gradients and running statistics of a layer that normalises; and those of `x`."""
    channels = x.shape[-1]
    params = {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)}
    stats = {"mean": params["bias"], "var": params["scale"]}

    @jax.jit
    def run(x, grad):
        def apply(x):
            variables = {"params": params, "batch_stats": stats}
            return layer.apply(variables, x, mutable=["batch_stats"], **call)

        y, vjp, updated = jax.vjp(apply, x, has_aux=True)
        return y, vjp(grad)[0], updated["batch_stats"]

    grad = np.cos(x)
    y, x_grad, updated = run(x, grad)
    mean, var, exact, exact_grad = normalized(*map(np.float64, (x, grad)), axes)
    close(y, exact)
    close(x_grad, exact_grad)
    return updated, mean.ravel(), var.ravel()


# Of the two networks: channels and pixels of an edge.
@pytest.mark.parametrize(
    ("batch", "edge", "channels"),
    [(128, 32, 32), (128, 16, 128), (512, 32, 3), (512, 4, 512)],
)
def test_batch_norm(batch, edge, channels):
    x = normal(batch, edge, edge, channels)
    stats, mean, var = checked(BatchNorm(epsilon=EPSILON), x, (0, 1, 2), train=True)
    count = batch * edge * edge
    close(stats["mean"], 0.1 * mean)
    close(stats["var"], 0.9 + 0.1 * var * count / (count - 1))


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.BatchNorm(False, epsilon=EPSILON), (128, 32, 32, 32), (0, 1, 2)),
        (nn.LayerNorm(epsilon=EPSILON), (128, 32, 32, 16), 3),
        (nn.LayerNorm(epsilon=EPSILON), (512, 64, 64), 2),
        (nn.GroupNorm(None, 1, epsilon=EPSILON), (64, 64, 16), 1),
    ],
    ids=["batch", "layer", "tokens", "instance"],
)
def test_flax_layers(layer, shape, axes):
    checked(layer, normal(*shape), axes)


@pytest.mark.parametrize("count", [10_000, 50_000])
def test_sums_of_metrics(count):
    logits = 3 * normal(count, 10)
    labels = np.arange(count, dtype=np.int32) % 10
    exact = logits.astype(np.float64)
    losses = np.log(np.exp(exact).sum(1)) - exact[range(count), labels]
    hits = exact.argmax(1) == labels
    got, confusion = measure((LOSS, ACCURACY), logits, labels)
    assert got["loss"] == pytest.approx(losses.mean(), rel=TOLERANCE)
    assert got["accuracy"] == hits.sum() / count
    assert confusion.sum(1).tolist() == [count // 10] * 10
    right = TrainingSums.of(jnp.asarray(logits), jnp.asarray(labels)).correct
    assert np.trace(confusion) == hits.sum() == int(right)


class Squares(nn.Module):
    """Logits that are sums of squares over a short axis, of many rows."""

    @nn.compact
    def __call__(self, x, train):
        x = x[:, ::4, ::4]
        y = (x[..., None] * jnp.arange(1.0, 11)).reshape(len(x), -1, 10, 3)
        return (y**2).sum(-1).mean(1)


@pytest.mark.parametrize("count", [10_000, 50_000])
def test_evaluation(count):
    few = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), np.uint8)
    images = np.broadcast_to(few, (count // 500, *few.shape)).reshape(count, 32, 32, 3)
    program, hp = program_of(Squares(), one_device()), hyperparameters()
    logits = np.asarray(predicting.predict(program, program.init(hp, few).variables, hp, images))
    pixels = (few[:, ::4, ::4].reshape(len(few), -1, 1) / 255 - 0.5) / 0.25
    rows = (pixels * np.arange(1, 11)).reshape(len(few), -1, 10, 3)
    close(logits.reshape(-1, 500, 10), (rows**2).sum(-1).mean(1))


def test_the_gradient_of_a_depthwise_kernel_is_exact():
    x, grad = normal(128, 32, 32, 8), np.cos(normal(128, 32, 32, 8))
    kernel = normal(3, 3, 8)
    given = jnp.asarray(x)
    _, vjp = jax.vjp(lambda kernel: depthwise(given, kernel, ((1, 1), (1, 1))), jnp.asarray(kernel))
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    exact = [
        [(padded[:, i : i + 32, j : j + 32] * grad).sum((0, 1, 2)) for j in range(3)]
        for i in range(3)
    ]
    close(vjp(jnp.asarray(grad))[0], np.asarray(exact))
