"""Networks of Flax NNX in our training, against NumPy, NNX itself and the same network in Linen."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from own import nnx_net

from jaxcifar.build.nnx_model import create_nnx_network
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.training import network

KEY = jax.random.key(5)
IMAGES = np.random.default_rng(0).normal(1, 2, (8, 32, 32, 3)).astype(np.float32)


def created(name, **arguments):
    return create_nnx_network(getattr(nnx_net, name), arguments, f"--arch net.py:{name}")


def variables_of(model, key=KEY):
    return network.variables(*network.init(model, key, jnp.asarray(IMAGES)))


def by_hand(params, pixels, mean, var):
    norm = (pixels - mean) / np.sqrt(var + 1e-5)
    return norm @ params["head"]["kernel"] + params["head"]["bias"]


def test_a_step_normalises_by_the_batch_and_moves_the_statistics():
    model = created("Dense")
    variables = variables_of(model)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "norm": {"scale": (3,), "bias": (3,)},
            "head": {"kernel": (3, 10), "bias": (10,)},
        },
        "batch_stats": {"norm": {"mean": (3,), "var": (3,)}},
    }
    pixels = IMAGES.astype(np.float64).mean((1, 2))
    params = jax.tree.map(np.asarray, variables["params"])
    mean, var = pixels.mean(0), pixels.var(0)
    logits, carried = network.forward(model, variables, jnp.asarray(IMAGES), KEY, None)
    np.testing.assert_allclose(logits, by_hand(params, pixels, mean, var), rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(carried["norm"]["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(carried["norm"]["var"], 0.9 + 0.1 * var, rtol=1e-4)
    after = network.variables(variables["params"], carried)
    evaluated = network.predict(model, after, jnp.asarray(IMAGES))
    expected = by_hand(params, pixels, 0.1 * mean, 0.9 + 0.1 * var)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["Dense", "OfOlderCode"])
def test_batch_statistics_are_those_of_all_devices(name):
    model = created(name)
    variables, images = variables_of(model), jnp.asarray(IMAGES)
    whole = network.forward(model, variables, images, KEY, None)

    def on_device(images):
        return network.forward(model, variables, images, KEY, "data")

    logits, carried = jax.vmap(on_device, axis_name="data")(images.reshape(2, 4, 32, 32, 3))
    np.testing.assert_allclose(logits.reshape(8, 10), whole[0], atol=1e-3)
    for device in range(2):
        jax.tree.map(
            lambda ours, alone, device=device: np.testing.assert_allclose(
                ours[device], alone, rtol=1e-4
            ),
            carried,
            whole[1],
        )


def test_dropout_draws_anew_with_each_key_and_not_in_evaluation():
    model = created("Net")
    variables, images = variables_of(model), jnp.asarray(IMAGES)

    def trained(key):
        return network.forward(model, variables, images, key, None)[0]

    one, again, other = trained(KEY), trained(KEY), trained(jax.random.key(6))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    evaluated = [network.predict(model, variables, images) for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)


def test_evaluation_is_that_of_nnx_itself():
    model = created("Net", width=5)
    variables = variables_of(model)
    module = nnx_net.Net(width=5, rngs=nnx.Rngs(0))
    for layer in ("conv", "norm", "head"):
        for collection in ("params", "batch_stats"):
            for name, array in variables[collection].get(layer, {}).items():
                getattr(getattr(module, layer), name).value = array
    module.eval()
    ours = network.predict(model, variables, jnp.asarray(IMAGES))
    np.testing.assert_allclose(ours, module(jnp.asarray(IMAGES)), rtol=1e-4, atol=1e-5)


def test_the_key_decides_the_weights():
    model = created("Net")
    kernels = [variables_of(model, jax.random.key(k))["params"]["conv"]["kernel"] for k in (1, 2)]
    assert np.abs(kernels[0] - kernels[1]).min() > 0
    np.testing.assert_array_equal(
        variables_of(model, jax.random.key(1))["params"]["conv"]["kernel"], kernels[0]
    )


def test_other_state_is_kept_and_train_and_rngs_are_passed():
    model = created("Noisy")
    variables, images = variables_of(model), jnp.asarray(IMAGES)
    assert variables["Counter"]["calls"] == 0
    for calls in (1, 2):
        logits, carried = network.forward(model, variables, images, KEY, None)
        variables = network.variables(variables["params"], carried)
        assert variables["Counter"]["calls"] == calls
    pixels = IMAGES.mean((1, 2))
    kernel, bias = (np.asarray(variables["params"]["head"][name]) for name in ("kernel", "bias"))
    evaluated = network.predict(model, variables, images)
    np.testing.assert_allclose(evaluated, pixels @ kernel + bias, rtol=1e-4, atol=1e-5)
    assert np.abs(logits - evaluated).max() > 1e-2  # half of the pixels' means are dropped


class LinenTwin(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3), name="conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        x = nn.Dropout(0.2, deterministic=not train, name="dropout")(x.mean((1, 2)))
        return nn.Dense(10, name="head")(x)


def test_the_summary_and_the_drawing_are_those_of_the_same_linen_network():
    ours, twin = summarize(created("Net")), summarize(LinenTwin())
    assert ours == twin
    assert [layer.path for layer in ours.layers] == [("conv",), ("norm",), ("dropout",), ("head",)]


def test_blocks_in_a_list_are_frames_with_the_name_of_the_list():
    graph = summarize(created("Blocks")).graph
    assert [(node.name, node.path) for node in graph if node.kind in ("conv", "linear")] == [
        ("3×3 conv, 4", ("blocks 0",)),
        ("linear, 10", ()),
    ]
    assert [node.note for node in graph if node.kind == "linear"] == ["head"]


def test_convolutions_on_a_cpu_are_matrix_products():
    """They are faster, and a step with them may be looped."""
    assert not network.has_convolution(created("Net"), "cpu")
    assert network.has_convolution(created("Net"), "cuda")


def test_flax_nnx_is_imported_only_where_it_is_used():
    code = (
        "import sys, jaxcifar.runs.fit, jaxcifar.exchange.stablehlo;"
        "assert 'flax.nnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
