"""What the bench measures: our training, and the plain form of it."""

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console

from jaxcifar.bench.work import CLASSES, Timing, Work, random_examples
from jaxcifar.build.model import create_model
from jaxcifar.build.setup import Setup
from jaxcifar.data import Dataset
from jaxcifar.machine.environment import use_cpu_cores
from jaxcifar.machine.sharing import AXIS
from jaxcifar.networks.fastnet import whitening_kernel
from jaxcifar.runs.dispatches import dispatches
from jaxcifar.runs.fit import fit
from jaxcifar.runs.saved import Result
from jaxcifar.runs.task import Task
from jaxcifar.training import network, predicting


class JaxcifarTraining:
    """The training that `experiments.run` does, augmentation and metrics included."""

    def __init__(self, work: Work) -> None:
        use_cpu_cores(work.batch_size)
        self._work = work
        train, test = random_examples(work)
        mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)
        names = tuple(map(str, range(CLASSES)))
        self._dataset = Dataset("noise", "noise", names, train, test, test, mean, std)
        name, digest = self._dataset.name, self._dataset.sha256
        self._config = dataclasses.replace(work.config, dataset=name, data_sha256=digest)
        self._setup = Setup.create(self._config, self._dataset, work.at_once)
        program, together = self._setup.program, self._setup.together
        self._hp = self._setup.place(self._setup.hyperparameters(self._config))
        self._setup.compile_ahead(self._hp)
        state = program.init(self._hp, train.images)
        order = program.epoch_order(self._hp, np.int32(0), len(train.labels))
        self._states, self._hps, self._orders = together.join(
            [(state, self._hp, order)] * work.at_once
        )
        self._variables = state.variables
        self._train_steps = self._setup.train_steps

    def train(self, steps: int) -> Timing:
        """Time the first `steps` training steps of all runs."""
        step = self._states.step
        self._states = self._states.replace(step=jax.device_put(np.zeros_like(step), step.sharding))
        began = time.perf_counter()
        for count in dispatches(steps, self._setup.program):
            self._states, means = self._train_steps(
                self._states, self._hps, *self._setup.train, self._orders, np.int32(count)
            )
        np.asarray(means["loss"])
        return Timing(steps * self._work.images_a_step, time.perf_counter() - began)

    @property
    def train_program(self) -> str:
        """Text of the compiled training program."""
        return self._train_steps.as_text() or ""

    def evaluate(self, batches: int) -> Timing:
        """Time predicting all test images: for `batches` of them another program is compiled."""
        began = time.perf_counter()
        images, labels = self._setup.val
        logits = predicting.predict(self._setup.program, self._variables, self._hp, images)
        self._setup.metrics.measure(logits, labels)
        return Timing(len(labels), time.perf_counter() - began)

    def peak_memory(self) -> int | None:
        """Bytes used on an accelerator at most; None on a CPU."""
        return _peak_device_memory()

    def peak_flops(self) -> float:
        """Multiplications and additions a second in a large product, shared by the devices."""
        on_cpu = jax.devices()[0].platform == "cpu"
        size = 2048 if on_cpu else 8192
        program = self._setup.program
        rows = NamedSharding(program.mesh, PartitionSpec(AXIS))
        ones = jnp.ones((size, size), self._work.dtype)
        a, b = jax.device_put(ones, rows), jax.device_put(ones, program.replicated)
        multiply = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
        multiply(a, b).block_until_ready()
        seconds = []
        for _ in range(9):
            began = time.perf_counter()
            multiply(a, b).block_until_ready()
            seconds.append(time.perf_counter() - began)
        return 2 * size**3 / float(np.median(seconds))

    def whole_run(self, folder: Path) -> Result:
        """Do a run of two epochs, with all that it writes, and return its result."""
        return fit(Task(self._config, folder), lambda: self._dataset, Console(quiet=True))


class PlainFlaxTraining:
    """Flax as its examples have it: `nn.Conv`, a step a dispatch, batches from the host."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._train, self._test = random_examples(work)
        self._model = _plain_model(work)
        images = _floats(self._train.images[:1])
        variables = network.variables(*network.init(self._model, jax.random.key(0), images))
        rule = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.01, momentum=0.9))
        self._state = variables, rule.init(variables["params"])
        self._train_step = jax.jit(partial(_plain_step, self._model, rule))
        self._predict = jax.jit(partial(self._model.apply, train=False))

    def train(self, steps: int) -> Timing:
        """Time `steps` training steps."""
        began = time.perf_counter()
        for step in range(steps):
            first = step * self._work.batch_size
            chosen = slice(first, first + self._work.batch_size)
            images, labels = self._train.images[chosen], self._train.labels[chosen]
            self._state, loss = self._train_step(self._state, _floats(images), labels, step)
        loss.block_until_ready()
        return Timing(steps * self._work.batch_size, time.perf_counter() - began)

    def evaluate(self, batches: int) -> Timing:
        """Time predicting the first `batches` of the test images."""
        began = time.perf_counter()
        test = self._test.images[: batches * self._work.eval_batch]
        for first in range(0, len(test), self._work.eval_batch):
            images = _floats(test[first : first + self._work.eval_batch])
            logits = self._predict(self._state[0], images)
        logits.block_until_ready()
        return Timing(len(test), time.perf_counter() - began)

    def peak_memory(self) -> int | None:
        """Bytes used on an accelerator at most; None on a CPU."""
        return _peak_device_memory()


def _plain_model(work: Work) -> nn.Module:
    """A network of plain Flax layers: of our networks a twin, any other as it is."""
    dtype = jnp.dtype(work.dtype)
    twins = {"cnn": _PlainCNN, "resnet18": _PlainResNet, "fastnet": _PlainFastNet}
    if work.arch in twins:
        return twins[work.arch](dtype)
    return create_model(work.config, CLASSES, dtype)


def _peak_device_memory() -> int | None:
    stats = jax.devices()[0].memory_stats()
    return stats and stats.get("peak_bytes_in_use")


def _floats(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float32) / 255 - 0.5) / 0.25


def _plain_step(
    model: nn.Module,
    rule: optax.GradientTransformation,
    state: tuple[Any, Any],
    images: jax.Array,
    labels: jax.Array,
    step: int,
) -> tuple[tuple[Any, Any], jax.Array]:
    variables, opt_state = state

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
        rngs = {"dropout": jax.random.key(step), "params": jax.random.key(step)}
        inputs = {**variables, "params": params}
        carried = [name for name in variables if name != "params"]
        logits, updated = model.apply(inputs, images, train=True, mutable=carried, rngs=rngs)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), updated

    (loss, updated), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
    updates, opt_state = rule.update(grads, opt_state, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    return ({"params": params, **updated}, opt_state), loss


class _PlainCNN(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        for width in (32, 64, 128):
            for _ in range(2):
                x = nn.relu(norm()(nn.Conv(width, (3, 3), dtype=self.dtype)(x)))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(norm()(nn.Dense(128, dtype=self.dtype)(x.reshape(len(x), -1))))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(CLASSES, dtype=self.dtype)(x).astype(jnp.float32)


class _PlainResNet(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        conv = partial(nn.Conv, use_bias=False, padding=1, dtype=self.dtype)
        x = nn.relu(norm()(conv(64, (3, 3))(x)))
        for width in (64, 128, 256, 512):
            for stride in (1 if width == 64 else 2, 1):
                y = nn.relu(norm()(conv(width, (3, 3), stride)(x)))
                y = norm()(conv(width, (3, 3))(y))
                if x.shape != y.shape:
                    x = norm()(conv(width, (1, 1), stride, padding=0)(x))
                x = nn.relu(x + y)
        return nn.Dense(CLASSES, dtype=self.dtype)(x.mean((1, 2))).astype(jnp.float32)


class _PlainFastNet(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, not train, momentum=0.6, use_scale=False, dtype=self.dtype)
        conv = partial(nn.Conv, kernel_size=(3, 3), use_bias=False, dtype=self.dtype)
        gelu = partial(nn.gelu, approximate=False)
        kernel = self.variable("whitening", "kernel", whitening_kernel, x).value
        bias = self.param("bias", nn.initializers.zeros, kernel.shape[-1:])
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
        x = gelu(x + bias)
        for width in (64, 256, 256):
            x = gelu(norm()(nn.max_pool(conv(width)(x), (2, 2), (2, 2))))
            x = gelu(norm()(conv(width)(x)))
        x = nn.max_pool(x, (3, 3), (3, 3)).reshape(len(x), -1)
        return nn.Dense(CLASSES, use_bias=False, dtype=self.dtype)(x).astype(jnp.float32) / 9
