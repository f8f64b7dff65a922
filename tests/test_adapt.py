"""Networks of plain Flax layers in our training: on one device, several, and several at once."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, enable_x64
from flax import linen as nn
from jax.sharding import Mesh

from jaxcifar.config import Config
from jaxcifar.machine.sharing import AXIS
from jaxcifar.models.adapt import adapted
from jaxcifar.models.layers import Conv
from jaxcifar.runs.crew import dispatches
from jaxcifar.runs.hyperparameters import make_hyperparameters
from jaxcifar.training import network
from jaxcifar.training.augment import unchanged
from jaxcifar.training.optim import sgd
from jaxcifar.training.program import Program
from jaxcifar.training.together import Together

STEPS, BATCH, IMAGES = 3, 16, 64


class Plain(nn.Module):
    """A network as its author would write it, small; without `norm` it carries nothing."""

    kernel: int = 3
    norm: bool = True
    rate: float = 0.0

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (self.kernel,) * 2, strides=2)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Conv(8, (1, 1), strides=2)(nn.relu(x))
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
    return Program(model, sgd, unchanged, BATCH, IMAGES // BATCH, mesh, axis=AXIS)


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


def trained(program, seeds=(0,)):
    """Losses of some steps `[STEPS, R]`, and the states after them."""
    together = Together(program, len(seeds))
    hps = [jax.device_put(hyperparameters(seed), program.replicated) for seed in seeds]
    images, _ = examples()
    trees = [
        (program.init(hp, images), hp, program.epoch_order(hp, np.int32(0), IMAGES)) for hp in hps
    ]
    states, hps, orders = together.join(trees)
    data, losses = jax.device_put(examples(), together.replicated), []
    for _ in range(STEPS):
        states, means = together.train_steps(states, hps, *data, orders, np.int32(1))
        losses.append(np.asarray(means["loss"]))
    return np.asarray(losses), together.split(states)


def one_device():
    return jax.devices()[:1]


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_convolution_left_to_xla_is_not_looped(kernel):
    """The text of the program tells; one step is trained as well then, and predicted in chunks."""
    model = Plain(kernel, norm=False)
    program = program_of(model, one_device())
    assert program.looped == (kernel == 3)
    assert dispatches(4, program) == ([4] if kernel == 3 else [1] * 4)
    assert network.has_convolution(model, "cuda")
    images = examples()[0][:10]
    hp = hyperparameters()
    variables = program.init(hp, images).variables
    assert variables["batch_stats"] == {}
    expected = model.apply(variables, (images / 255 - 0.5) / 0.25, train=False)
    np.testing.assert_allclose(program.predict(variables, hp, images), expected, atol=1e-5)


def test_in_chunks_without_a_loop(monkeypatch):
    monkeypatch.setattr("jaxcifar.training.predicting.EVAL_BATCH", 4)
    program, hp = program_of(Plain(5), one_device()), hyperparameters()
    images = examples()[0][:10]
    variables = program.init(hp, images).variables
    logits = program.predict(variables, hp, images)
    expected = program.model.apply(variables, (images / 255 - 0.5) / 0.25, train=False)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
def test_runs_at_once_are_those_alone(kernel):
    program = program_of(Plain(kernel, rate=0.3), one_device())
    alone = [trained(program, [seed])[0][:, 0] for seed in (0, 1)]
    np.testing.assert_allclose(trained(program, (0, 1))[0].T, alone, rtol=1e-4)


def test_collections_are_carried_and_what_is_sown_is_not():
    _, [state] = trained(program_of(Carrying(), one_device()))
    assert set(state.variables) == {"params", "batch_stats", "counts", "averages"}
    assert state.variables["counts"]["calls"] == STEPS
    assert np.abs(state.variables["averages"]["mean"]).max() > 0


SEVERAL_DEVICES = """
import json
import jax, numpy as np
from jax.sharding import PartitionSpec as P
import test_adapt as t
from jaxcifar.models.layers import Dropout
from jaxcifar.training import network

got = {}
for count in (1, 4):
    program = t.program_of(t.Plain(), jax.devices()[:count])
    losses, [state] = t.trained(program)
    var = state.batch_stats["BatchNorm_0"]["var"]
    [carried] = t.trained(t.program_of(t.Carrying(), jax.devices()[:count]))[1]
    mean = carried.variables["averages"]["mean"]
    got[count] = [losses.ravel().tolist(), np.asarray(var).tolist(), np.asarray(mean).tolist()]
    assert all((np.asarray(s.data) == np.asarray(mean)).all() for s in mean.addressable_shards)

def kept(layer, axis):
    apply = lambda x: network.forward(layer, {"params": {}}, x, jax.random.key(0), axis)[0]
    ones = np.ones((8, 50), np.float32)
    if axis is None:
        return np.asarray(apply(ones))
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:2]), axis)
    return np.asarray(jax.shard_map(apply, mesh=mesh, in_specs=P(axis), out_specs=P(axis))(ones))

flax, ours = t.DropsByFlax(), Dropout(0.5)
halves = np.split(kept(flax, "data") > 0, 2)
got["the same on both"] = float((halves[0] == halves[1]).mean())
got["ours differs"] = float((kept(ours, "data") != kept(ours, None)).mean())
print(json.dumps(got))
"""


class DropsByFlax(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(x)


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
    for several, one in zip(got["4"], got["1"], strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-4, atol=1e-6)
    assert 0.4 < got["the same on both"] < 0.6
    assert got["ours differs"] == 0


# Kernel, strides, padding, groups; whether products compute it.
CONVOLUTIONS = [
    (3, 1, "SAME", 1, True),
    (3, 2, "SAME", 1, True),
    (3, 2, 1, 1, True),
    (1, 3, "SAME", 1, True),
    (4, 4, "VALID", 1, True),
    (5, 2, "SAME", 12, True),
    (3, (1, 2), "VALID", 12, True),
    (5, 1, "SAME", 1, False),
    (3, 1, "VALID", 1, True),
    (2, 1, "VALID", 1, True),
    (2, 1, "SAME", 1, True),
    (3, (2, 1), "SAME", 1, False),
    (3, 1, "SAME", 3, False),
    (3, 1, "CIRCULAR", 1, True),
]


@pytest.mark.parametrize(("size", "strides", "padding", "groups", "by_products"), CONVOLUTIONS)
def test_convolutions_are_what_flax_computes(size, strides, padding, groups, by_products):
    layer = nn.Conv(12, (size, size), strides, padding, feature_group_count=groups)
    rng = np.random.RandomState(0)
    params = {"kernel": rng.randn(size, size, 12 // groups, 12), "bias": rng.randn(12)}
    x = rng.randn(2, 16, 8, 12)

    def run(params, x):
        y, vjp = jax.vjp(lambda *given: layer.apply({"params": given[0]}, given[1]), params, x)
        return y, vjp(jnp.cos(y))

    def ours(params, x):
        with adapted(axis=None):
            return run(params, x)

    traced = jax.jit(ours).trace(*jax.tree.map(jnp.float32, (params, x)))
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert ("stablehlo.convolution" in text) != by_products
    if by_products:
        got = jax.jit(ours)(*jax.tree.map(np.float32, (params, x)))
        with enable_x64(True):
            expected = jax.device_get(jax.jit(run)(params, x))
        for mine, exact in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            assert np.abs(mine - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("layer", [nn.Conv(12, (3, 3)), Conv(12)])
def test_operands_of_products_are_rounded(layer):
    with adapted(axis=None, operands=jnp.bfloat16):
        text = jax.jit(layer.init_with_output).lower(jax.random.key(0), jnp.ones((1, 8, 8, 12)))
    assert "bf16" in text.as_text()
