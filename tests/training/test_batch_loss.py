"""A batch in parts: the numbers of the whole batch, BatchNorm's by parts, and less memory."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.machine.memory import program_bytes
from jaxcifar.machine.sharing import batch_positions
from jaxcifar.networks.layers import BatchNorm, Dropout
from jaxcifar.training.batch_loss import Batch, BatchLoss
from jaxcifar.training.parallel_runs import ParallelRuns

BATCH = 64
CONFIG = Config.create("cnn", epochs=1, batch_size=BATCH, optimizer="sgd",
                       learning_rate=0.5, weight_decay=0.0, momentum=0.0,
                       schedule="none", dropout=0.0)  # fmt: skip


class Dropping(nn.Module):
    """Without BatchNorm; its Dropout draws for each image."""

    convolves: bool

    @nn.compact
    def __call__(self, x, train):
        precise = nn.Conv(3, (3, 3), strides=(4, 4), precision="highest")  # left to XLA on a CPU
        x = precise(x) if self.convolves else x[:, ::4, ::4]
        return nn.Dense(10)(Dropout(0.5)(x.reshape(len(x), -1), train))


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = BatchNorm(name="norm")(x, train)
        return nn.Dense(10, name="head")((x**2).mean((1, 2)))


def trained_in_parts(dataset, parts, model, **settings):
    """Return the state after one step."""
    config = dataclasses.replace(CONFIG, accumulate=parts, **settings)
    program = make_program(config, 10, 128, jax.devices()[:1])
    program = dataclasses.replace(program, model=model, network_identity=repr(model))
    hyper = make_hyperparameters(config, dataset, program.steps_per_epoch)
    state = program.init(hyper, dataset.train.images)
    run = state, hyper, program.epoch_order(hyper, np.int32(0), 128)
    together = ParallelRuns(program, 1)
    states, hypers, orders = together.join([run])
    data = jax.device_put(dataset.train, together.replicated)
    states, _ = together.train_steps(states, hypers, *data, orders, np.int32(1))
    [state] = together.split(states)
    return state


@pytest.mark.parametrize("convolves", [False, True], ids=["in a loop", "one after another"])
def test_without_batch_norm_the_parts_give_the_step_of_the_whole_batch(easy_dataset, convolves):
    """Shifts, flips and Dropout are those of the whole batch too."""
    model = Dropping(convolves)
    program = make_program(CONFIG, 10, 128, jax.devices()[:1])
    program = dataclasses.replace(program, model=model, network_identity=repr(model))
    assert program.compiles_loops == (not convolves)
    whole = jax.device_get(trained_in_parts(easy_dataset, 1, model))
    parts = 4 if program.compiles_loops else 2  # without a loop, each part is compiled
    state = jax.device_get(trained_in_parts(easy_dataset, parts, model))
    assert (state.sums.count, state.sums.correct) == (BATCH, whole.sums.correct)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        (state.params, state.sums.loss_sum),
        (whole.params, whole.sums.loss_sum),
    )


def test_batch_norm_normalises_each_part_and_keeps_the_mean_of_their_statistics(easy_dataset):
    parts = 4
    state = jax.device_get(trained_in_parts(easy_dataset, parts, Normalised(), augment=False))
    program = make_program(CONFIG, 10, 128, jax.devices()[:1])
    hyper = make_hyperparameters(CONFIG, easy_dataset, program.steps_per_epoch)
    order = np.asarray(program.epoch_order(hyper, np.int32(0), 128))[:BATCH]
    pixels = (easy_dataset.train.images[order] / 255 - easy_dataset.mean) / easy_dataset.std
    of_parts = pixels.reshape(parts, -1, 3)
    means, variances = of_parts.mean(1), of_parts.var(1, ddof=1)
    statistics = state.batch_stats["norm"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * means.mean(0), rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * variances.mean(0), rtol=1e-4)
    normalised = (of_parts - means[:, None]) / np.sqrt(of_parts.var(1)[:, None] + 1e-5)
    features = (normalised**2).reshape(BATCH, -1, 3).mean(1)
    # The network's head before the step, by the first step's loss.
    replaced = dataclasses.replace(program, model=Normalised(), network_identity="start")
    head = jax.device_get(replaced.init(hyper, easy_dataset.train.images).params["head"])
    logits = features @ head["kernel"] + head["bias"]
    right = logits[np.arange(BATCH), easy_dataset.train.labels[order]]
    losses = np.log(np.exp(logits).sum(1)) - right
    np.testing.assert_allclose(state.sums.loss_sum, losses.sum(), rtol=1e-4)


def test_a_part_has_the_same_images_on_any_number_of_devices():
    """So BatchNorm's statistics do not depend on the number of devices."""

    def positions(device):
        return batch_positions(12, "devices", parts_per_batch=3)

    on_two = jax.vmap(positions, axis_name="devices")(jnp.arange(2))
    for part, images in enumerate(np.split(np.asarray(on_two), 3, axis=1)):
        np.testing.assert_array_equal(images, part * 8 + np.arange(8).reshape(2, 4))
    np.testing.assert_array_equal(batch_positions(12, None, parts_per_batch=3), np.arange(12))


@pytest.mark.parametrize("loops", [False, True])
def test_the_loss_is_a_function_that_jax_differentiates(loops):
    """Its gradient, its slope along a direction, and its value, against the plain function."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(6, 1, 1, 3)), rng.integers(0, 3, 6)
    batch = Batch(jnp.float32(inputs), jnp.int32(labels))

    def loss_fn(params, batch, part):
        logits = jnp.tanh(batch.inputs[:, 0, 0] @ params)
        true = jnp.take_along_axis(logits, batch.targets[:, None], 1)[:, 0]
        losses = jax.nn.logsumexp(logits, axis=-1) - true
        return losses.sum() / 6, (logits, {})

    loss = BatchLoss(
        loss_fn, batch, 3, loops, device_axis=None, averages_variables_over_devices=False
    )
    params, direction = (jnp.float32(rng.normal(size=(3, 3))) for _ in range(2))

    def plain(params):
        return loss_fn(params, batch, None)[0]

    @partial(jax.jit, static_argnums=0)
    def value_gradient_and_slope(function, params):
        value, grads = jax.value_and_grad(function)(params)
        return value, grads, jax.jvp(function, (params,), (direction,))[1]

    value, grads, slope = value_gradient_and_slope(loss.differentiable_loss, params)
    expected_value, expected_grads, expected_slope = value_gradient_and_slope(plain, params)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(grads, expected_grads, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4)


class Large(nn.Module):
    """Much memory in few layers; dilated convolutions are XLA's on a CPU, and so without loops."""

    convolves: bool

    @nn.compact
    def __call__(self, x, train):
        for _ in range(2):
            precise = nn.Conv(16, (3, 3), precision="highest")  # left to XLA on a CPU
            layer = precise if self.convolves else nn.Dense(16)
            x = nn.relu(layer(x))
        return nn.Dense(10)(x.mean((1, 2)))


@pytest.mark.parametrize("loops", [False, True], ids=["one after another", "in a loop"])
def test_parts_take_less_memory(easy_dataset, loops):
    """By XLA's count for the compiled program."""
    needs = []
    for parts in (1, 8 if loops else 4):  # without a loop, each part is compiled
        config = dataclasses.replace(CONFIG, batch_size=128, accumulate=parts)
        program = make_program(config, 10, 128, jax.devices()[:1])
        model = Large(convolves=not loops)
        program = dataclasses.replace(program, model=model, network_identity=repr(model))
        assert program.compiles_loops == loops
        hyper = make_hyperparameters(config, easy_dataset, program.steps_per_epoch)
        traced = ParallelRuns(program, 1).trace(hyper, *easy_dataset.train)
        compiled = traced.lower().compile(compiler_options=FAST_COMPILE_OPTIONS)
        needs.append(program_bytes(compiled))
    assert needs[1] < needs[0] / 2
