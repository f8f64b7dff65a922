"""Users' networks and the example networks give the same logits in ONNX Runtime as in JAX."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from own import nnx_net

from experiments.networks.mixer import Mixer
from experiments.networks.wide_resnet import WideResNet
from jaxcifar.exchange.onnx.function_graph import function_graph
from jaxcifar.exchange.onnx.onnx_file import checked_onnx_model
from jaxcifar.networks.nnx_network import nnx_network
from jaxcifar.training import network

BATCHES = (1, 3, 10)


class Positional(nn.Module):
    """Asks for the number of images, and pools with positional arguments."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.BatchNorm(not train)(nn.Conv(4, (3, 3))(x)))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.avg_pool(nn.Dropout(0.5, deterministic=not train)(x), (3, 3), (2, 2), "SAME")
        return nn.Dense(3)(x.reshape(len(x), -1))


class Attention(nn.Module):
    """A small vision transformer with a class token."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (4, 4), (4, 4))(x).reshape(len(x), -1, 8)
        token = self.param("token", nn.initializers.normal(), (1, 1, 8))
        x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)), x], 1)
        x = x + self.param("positions", nn.initializers.normal(), x.shape[1:])
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(2, deterministic=not train)(y, y)
        x = x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))
        return nn.Dense(3)(nn.LayerNorm()(x)[:, 0])


class Other(nn.Module):
    """Group normalisation, a depthwise and a transposed convolution, and a gate for channels."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.silu(nn.GroupNorm(2)(nn.Conv(6, (3, 3), 2, use_bias=False)(x)))
        x = nn.Conv(6, (5, 5), feature_group_count=6, kernel_dilation=2)(x)
        gate = nn.sigmoid(nn.Dense(6)(nn.relu(nn.Dense(2)(x.mean((1, 2))))))
        x = nn.ConvTranspose(4, (3, 3), (2, 2))(x * gate[:, None, None])
        x = jax.image.resize(nn.leaky_relu(x), (len(x), 6, 6, 4), "bilinear")
        return nn.Dense(3)(nn.remat(nn.Dense)(4)(x).max((1, 2)))


class Repeated(nn.Module):
    """The same block several times, by a loop over stacked weights."""

    @nn.compact
    def __call__(self, x, train):
        block = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, sums = block()(x.mean(1), None)
        return jnp.concatenate([x.mean(1), sums.sum(0)], -1)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        x = jnp.tanh(nn.Dense(3)(x))
        return x, x.sum(1)


class Mixed(nn.Module):
    """Computes in bfloat16, which the graph does not."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3), dtype=jnp.bfloat16)(x).astype(jnp.bfloat16)
        return nn.Dense(3, dtype=jnp.bfloat16)(x.mean((1, 2)))


NETWORKS = {
    "positional": Positional(),
    "attention": Attention(),
    "other layers": Other(),
    "repeated": Repeated(),
    "mixer": Mixer(depth=2, width=8),
    "wide resnet": WideResNet(depth=10, width=1, num_classes=3),
}


def randomized(variables):
    """Variables in which no array is all zeros or ones."""
    rng = np.random.RandomState(0)

    def draw(path, leaf):
        low, high = (0.5, 1.5) if path[-1].key in ("scale", "var") else (-0.4, 0.4)
        return np.float32(rng.uniform(low, high, leaf.shape))

    return jax.tree_util.tree_map_with_path(draw, variables)


def logits_of_both(model, size=16):
    """Return logits by JAX and, for each of `BATCHES`, by ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    variables = randomized(network.variable_shapes(model, size))

    def logits(variables, images):
        return network.predict(model, variables, images / 255 - 0.5)

    graph = function_graph(logits, variables, (size, size, 3), jnp.uint8)
    session = onnxruntime.InferenceSession(checked_onnx_model(graph, "network").SerializeToString())
    rng = np.random.RandomState(1)
    images = rng.randint(0, 256, (max(BATCHES), size, size, 3)).astype(np.uint8)
    # By Flax alone, without the kernels of this package.
    expected = np.asarray(jax.jit(partial(model.apply, train=False))(variables, images / 255 - 0.5))
    return expected, [session.run(None, {"images": images[:count]})[0] for count in BATCHES]


def assert_same(model, tolerance=1e-4):
    expected, results = logits_of_both(model)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the logits depend on the image
    for count, got in zip(BATCHES, results, strict=True):
        assert got.shape == expected[:count].shape
        np.testing.assert_allclose(got, expected[:count], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_are_the_same(name):
    assert_same(NETWORKS[name])


def test_the_logits_of_an_nnx_network_are_the_same():
    assert_same(nnx_network(lambda rngs: nnx_net.Net(rngs=rngs)))


def test_a_network_in_bfloat16_is_exported_in_float32():
    assert_same(Mixed(), tolerance=2e-2)
