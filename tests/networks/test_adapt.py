"""Networks of plain Flax layers in our training: on one device, several, and several at once."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, enable_x64
from flax import linen as nn
from jax.sharding import Mesh
from rounding import (
    ENLARGED_BY_TRANSFORMS,
    assert_near,
    error_by_condition,
    error_of_products,
)

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.config.experiment import Config
from jaxcifar.machine.sharing import AXIS
from jaxcifar.networks.adapt import adapt_layers
from jaxcifar.networks.flax_convolution import convolve
from jaxcifar.networks.layers import Conv, Dropout, MaxPool
from jaxcifar.runs.dispatches import split_into_dispatches
from jaxcifar.training import network, predicting
from jaxcifar.training.augment import keep_unchanged
from jaxcifar.training.optim import sgd
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.program import Program

STEPS, BATCH, IMAGES = 3, 16, 64


class Plain(nn.Module):
    """A network as its author would write it, small; without `norm` it carries nothing.

    With `averages` it also carries the mean of the batch's pixels, which a device has of its part,
    and the number of training steps. It then has a pool. XLA computes a convolution that has a
    `precision`.
    """

    kernel: int = 3
    norm: bool = True
    rate: float = 0.0
    averages: bool = False
    precision: str | None = None

    @nn.compact
    def __call__(self, x, train):
        if self.averages:
            mean = self.variable("averages", "mean", lambda: jnp.zeros(3))
            calls = self.variable("counts", "calls", lambda: jnp.int32(0))
            if train:
                mean.value = x.mean((0, 1, 2))
                calls.value += 1
        x = nn.Conv(8, (self.kernel,) * 2, strides=2, precision=self.precision)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.relu(x)
        if self.averages:
            x = MaxPool()(x)
        x = nn.Conv(8, (1, 1), strides=2)(x)
        x = nn.Dropout(self.rate, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(10)(x)


class Carrying(nn.Module):
    """Counts, averages by itself, sows, and draws from a stream of its own."""

    @nn.compact
    def __call__(self, x, train):
        calls = self.variable("counts", "calls", lambda: jnp.int32(0))
        mean = self.variable("averages", "mean", lambda: jnp.zeros(3))
        if train:
            calls.value += 1
            mean.value = x.mean((0, 1, 2))
            x = x + 0.1 * jax.random.normal(self.make_rng("noise"), x.shape)
        self.sow("losses", "size", (x**2).mean())
        return nn.Dense(10)(x.mean((1, 2)))


class Statistics(NamedTuple):
    mean: np.ndarray
    std: np.ndarray


def program_of(model, devices):
    mesh = Mesh(np.asarray(devices), AXIS)
    return Program(model, sgd, keep_unchanged, BATCH, IMAGES // BATCH, mesh, device_axis=AXIS)


def hyperparameters(seed=0):
    return make_hyperparameters(
        Config.create(
            optimizer="sgd",
            schedule="none",
            epochs=1,
            learning_rate=0.05,
            weight_decay=1e-4,
            seed=seed,
        ),
        Statistics(np.full(3, 0.5), np.full(3, 0.25)),
        steps_per_epoch=STEPS,
    )


def examples():
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (IMAGES, 32, 32, 3)).astype(np.uint8)
    return images, (np.arange(IMAGES) % 10).astype(np.int32)


def trained(program, seeds=(0,), params=None):
    """Losses of some steps `[STEPS, R]`, and the states after them; `params` are to start from."""
    together = ParallelRuns(program, len(seeds))
    hps = [jax.device_put(hyperparameters(seed), program.replicated) for seed in seeds]
    images, _ = examples()
    trees = [
        (program.init(hp, images), hp, program.epoch_order(hp, np.int32(0), IMAGES)) for hp in hps
    ]
    if params is not None:
        placed = jax.device_put(params, program.replicated)
        trees = [(state.replace(params=placed), *others) for state, *others in trees]
    states, hps, orders = together.join(trees)
    data, losses = jax.device_put(examples(), together.replicated), []
    for _ in range(STEPS):
        states, means = together.train_steps(states, hps, *data, orders, np.int32(1))
        losses.append(np.asarray(means["loss"]))
    return np.asarray(losses), together.split(states)


def initial_params(program, seed=0):
    hp = jax.device_put(hyperparameters(seed), program.replicated)
    return jax.device_get(program.init(hp, examples()[0]).params)


def one_device():
    return jax.devices()[:1]


PIXELS = 16 * 16  # of a feature map here; its mean, or a whole batch's, is the longest sum


def assert_predicts(program, variables, hp, images):
    """Predictions must be those of the model itself; both are computed in float32."""

    def logits(variables):
        return program.model.apply(variables, (images / 255 - 0.5) / 0.25, train=False)

    error = 2 * error_by_condition(logits, variables, PIXELS)
    assert_near(predicting.predict(program, variables, hp, images), logits(variables), error)


@pytest.mark.parametrize("precision", [None, "highest"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_convolution_left_to_xla_is_not_looped(kernel, precision):
    """The text of the program tells; one step is trained as well then, and predicted in chunks."""
    model = Plain(kernel, norm=False, precision=precision)
    program = program_of(model, one_device())
    assert program.compiles_loops == (precision is None)
    assert split_into_dispatches(4, program) == ([4] if precision is None else [1] * 4)
    assert network.has_convolution(model, "cuda")
    images = examples()[0][:10]
    hp = hyperparameters()
    variables = program.init(hp, images).variables
    assert variables["batch_stats"] == {}
    assert_predicts(program, variables, hp, images)


def test_in_chunks_without_a_loop(monkeypatch):
    monkeypatch.setattr("jaxcifar.training.predicting.EVAL_BATCH", 4)
    program, hp = program_of(Plain(precision="highest"), one_device()), hyperparameters()
    images = examples()[0][:10]
    assert_predicts(program, program.init(hp, images).variables, hp, images)


@pytest.mark.parametrize("kernel", [3, 5])
def test_runs_at_once_are_those_alone(kernel):
    program = program_of(Plain(kernel, rate=0.3), one_device())
    at_once, _ = trained(program, (0, 1))
    for column, seed in zip(at_once.T, (0, 1), strict=True):

        def losses(params, seed=seed):
            return trained(program, [seed], params)[0][:, 0].tolist()  # each has its own error

        params = initial_params(program, seed)
        errors = error_by_condition(losses, params, BATCH * PIXELS)
        assert_near(column, losses(params), 2 * np.asarray(errors))


def test_collections_are_carried_and_what_is_sown_is_not():
    _, [state] = trained(program_of(Carrying(), one_device()))
    assert set(state.variables) == {"params", "batch_stats", "counts", "averages"}
    assert state.variables["counts"]["calls"] == STEPS
    assert np.abs(state.variables["averages"]["mean"]).max() > 0


SEVERAL_DEVICES = """
import json
import jax, numpy as np
from jax.sharding import PartitionSpec as P
from networks import test_adapt as t
from jaxcifar.training import network, predicting
from rounding import error_by_condition, error_of_sum

got = {}
for count in (1, 4):
    program = t.program_of(t.Plain(averages=True), jax.devices()[:count])

    def learned(params):
        losses, [state] = t.trained(program, params=params)
        assert state.variables["counts"]["calls"] == t.STEPS
        var = np.asarray(state.batch_stats["BatchNorm_0"]["var"])
        return losses.ravel().tolist(), var, state.variables["averages"]["mean"]

    params = t.initial_params(program)
    losses, var, mean = learned(params)
    got[count] = [losses, var.tolist(), np.asarray(mean).tolist()]
    assert all((np.asarray(s.data) == np.asarray(mean)).all() for s in mean.addressable_shards)
    if count == 1:
        of_losses, of_var, _ = error_by_condition(learned, params, t.BATCH * t.PIXELS)
        pixels = t.BATCH * 32 * 32  # of random signs, their squares 1.3 in the mean
        of_mean = error_of_sum(pixels, (1.3 * pixels) ** 0.5) / pixels
        got["errors"] = [of_losses, of_var.tolist(), of_mean]

def kept(layer, axis):
    apply = lambda x: network.forward(layer, {"params": {}}, x, jax.random.key(0), axis)[0]
    ones = jax.numpy.ones((8, 1, 1, 50))
    if axis is None:
        return np.asarray(apply(ones))
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:2]), axis)
    return np.asarray(jax.shard_map(apply, mesh=mesh, in_specs=P(axis), out_specs=P(axis))(ones))

flax, ours = t.DropsByFlax(), t.DropsByOurs()
halves = np.split(kept(flax, "data") > 0, 2)
got["the same on both"] = float((halves[0] == halves[1]).mean())
got["ours differs"] = float((kept(ours, "data") != kept(ours, None)).mean())
print(json.dumps(got))
"""


class DropsByFlax(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))


class DropsByOurs(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return Dropout(0.5)(x.reshape(len(x), -1), train)


def test_several_devices_share_a_batch():
    """Statistics are of the whole batch; each device drops by itself, our layer by example."""
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL_DEVICES],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "JAX_NUM_CPU_DEVICES": "4"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])
    for several, one, error in zip(got["4"], got["1"], got["errors"], strict=True):
        assert_near(several, one, 2 * np.asarray(error))
    assert 0.4 < got["the same on both"] < 0.6
    assert got["ours differs"] == 0


# Kernel, strides, padding, groups, dilation.
CONVOLUTIONS = [
    (3, 1, "SAME", 1, 1),
    (3, 2, "SAME", 1, 1),
    (3, 2, 1, 1, 1),
    (1, 3, "SAME", 1, 1),
    (4, 4, "VALID", 1, 1),
    (5, 2, "SAME", 12, 1),
    (3, (1, 2), "VALID", 12, 1),
    (5, 1, "SAME", 1, 1),
    (3, 1, "VALID", 1, 1),
    (2, 1, "VALID", 1, 1),
    (2, 1, "SAME", 1, 1),
    (3, (2, 1), "SAME", 1, 1),
    (3, 1, "SAME", 3, 1),
    (3, 1, "CIRCULAR", 1, 1),
    (3, 1, "SAME", 1, 2),
    (3, 2, "SAME", 12, (2, 1)),
    (4, 4, "SAME", 1, 2),
]


@pytest.mark.parametrize(("size", "strides", "padding", "groups", "dilation"), CONVOLUTIONS)
def test_convolutions_are_what_flax_computes(size, strides, padding, groups, dilation):
    layer = nn.Conv(
        12,
        (size, size),
        strides,
        padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
    )
    rng = np.random.RandomState(0)
    params = {"kernel": rng.randn(size, size, 12 // groups, 12), "bias": rng.randn(12)}
    x = rng.randn(2, 16, 8, 12)
    shape = jax.eval_shape(layer.apply, {"params": params}, x).shape
    given = jax.tree.map(np.float32, (params, x, rng.randn(*shape)))

    def run(params, x, grad):
        y, vjp = jax.vjp(lambda *inputs: layer.apply({"params": inputs[0]}, inputs[1]), params, x)
        return y, vjp(grad)

    def ours(*given):
        with adapt_layers(axis=None):
            return run(*given)

    traced = jax.jit(ours).trace(*given)
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.convolution" not in text
    got = jax.jit(ours)(*given)
    with enable_x64(True):
        expected = jax.device_get(jax.jit(run)(*jax.tree.map(jnp.float64, given)))
    errors = error_of_products(jax.jit(run), *given)
    for mine, exact, error in zip(*map(jax.tree.leaves, (got, expected, errors)), strict=True):
        assert_near(mine, exact, ENLARGED_BY_TRANSFORMS * error)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv(4, (3,)),
        nn.Conv(4, (3, 3), padding=1, input_dilation=2),
        nn.Conv(4, (3, 3), precision="highest"),
        nn.ConvTranspose(4, (3, 3)),
    ],
    ids=["one axis", "transposed", "precise", "a layer for transposed"],
)
def test_some_convolutions_are_left_to_xla(layer):
    x = np.ones((2, *[8] * len(layer.kernel_size), 3), np.float32)

    def ours(key, x):
        with adapt_layers(axis=None):
            return layer.init_with_output(key, x)[0]

    text = jax.jit(ours).lower(jax.random.key(0), x).as_text()
    assert "stablehlo.convolution" in text
    expected, _ = layer.init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(ours(jax.random.key(0), x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.Conv(12, (3, 3)), Conv(12)])
def test_operands_of_products_are_rounded(layer):
    with adapt_layers(axis=None, product_dtype=jnp.bfloat16):
        text = jax.jit(layer.init_with_output).lower(jax.random.key(0), jnp.ones((1, 8, 8, 12)))
    assert "bf16" in text.as_text()


class NamesAnAxis(nn.Module):
    """Code for `jax.pmap`, whose axis of devices has a name."""

    axis: str | None = "batch"

    @nn.compact
    def __call__(self, x, train):
        return nn.BatchNorm(use_running_average=not train, axis_name=self.axis)(x.mean((1, 2)))


class MapsCrops(nn.Module):
    """Halves of images, normalised together."""

    @nn.compact
    def __call__(self, x, train):
        norm = nn.vmap(
            nn.BatchNorm,
            in_axes=1,
            variable_axes={"params": None, "batch_stats": None},
            split_rngs={"params": False},
            axis_name="crops",
        )
        x = x.reshape(len(x), 2, -1, *x.shape[2:]).mean((2, 3))
        x = norm(use_running_average=not train, axis_name="crops")(x)
        return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def normalised(x):
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)


@pytest.mark.parametrize("axis", [None, AXIS])
def test_a_named_axis_that_does_not_exist_is_that_of_the_devices(axis):
    """The batch is that of two devices, or of one."""
    images = jax.random.normal(jax.random.key(0), (8, 4, 4, 3)) * 8
    model, key = NamesAnAxis(), jax.random.key(1)
    variables = network.variables(*network.init(model, key, images))

    def step(images):
        return network.forward(model, variables, images, key, axis)[0]

    if axis is None:
        outputs = step(images)
    else:
        outputs = jax.vmap(step, axis_name=axis)(images.reshape(2, 4, 4, 4, 3)).reshape(8, 3)
    np.testing.assert_allclose(outputs, normalised(images.mean((1, 2))), atol=1e-3)


def test_a_named_axis_of_the_network_itself_is_kept():
    images = jax.random.normal(jax.random.key(0), (8, 4, 4, 3)) * 8
    images = images.at[:, :2].add(5)  # the two halves differ
    model, key = MapsCrops(), jax.random.key(1)
    variables = network.variables(*network.init(model, key, images))
    outputs, _ = network.forward(model, variables, images, key, None)
    halves = images.reshape(8, 2, 2, 4, 3).mean((2, 3))
    np.testing.assert_allclose(outputs, normalised(halves).reshape(8, 6), atol=1e-3)


@pytest.mark.parametrize("size", (3, 5))
def test_a_convolution_that_names_its_results_type_keeps_it(size):
    layout = ("NHWC", "HWIO", "NHWC")
    options = {"strides": (1, 1), "padding": "SAME", "dimension_numbers": layout}
    x, kernel = jnp.ones((1, 6, 6, 16), jnp.bfloat16), jnp.ones((size, size, 16, 4), jnp.bfloat16)
    y = jax.jit(partial(convolve, **options, preferred_element_type=jnp.float32))(x, kernel)
    assert y.dtype == jnp.float32
    assert y[0, 3, 3, 0] == 16 * size * size
