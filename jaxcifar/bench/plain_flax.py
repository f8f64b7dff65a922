"""A contestant of the benchmark: training in plain Flax, as in Flax's examples."""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxcifar.bench.jaxcifar_training import peak_device_memory
from jaxcifar.bench.work import CLASSES, Timing, Work, random_examples
from jaxcifar.build.model import create_model
from jaxcifar.networks.whitening import whitening_kernel
from jaxcifar.training import network


class PlainFlaxTraining:
    """Training with Flax's layers; each step is one program call with a batch from host memory."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._train, self._test = random_examples(work)
        self._model = _plain_model(work)
        one_image = _normalize(self._train.images[:1])
        params, other_variables = network.init(self._model, jax.random.key(0), one_image)
        variables = network.variables(params, other_variables)
        rule = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.01, momentum=0.9))
        self._state = variables, rule.init(variables["params"])
        self._train_step = jax.jit(partial(_plain_step, self._model, rule))
        self._predict = jax.jit(partial(self._model.apply, train=False))

    def train(self, steps: int) -> Timing:
        """Train for `steps` steps; return the number of images and the seconds."""
        start_time = time.perf_counter()
        for step in range(steps):
            start = step * self._work.batch_size
            batch_slice = slice(start, start + self._work.batch_size)
            images = self._train.images[batch_slice]
            labels = self._train.labels[batch_slice]
            self._state, loss = self._train_step(self._state, _normalize(images), labels, step)
        loss.block_until_ready()
        return Timing(steps * self._work.batch_size, time.perf_counter() - start_time)

    def evaluate(self, batches: int) -> Timing:
        """Predict `batches` batches of test images; return the number of images and the seconds."""
        start_time = time.perf_counter()
        variables, _ = self._state
        batch_size = self._work.eval_batch
        images = self._test.images[: batches * batch_size]
        for start in range(0, len(images), batch_size):
            batch = _normalize(images[start : start + batch_size])
            logits = self._predict(variables, batch)
        logits.block_until_ready()
        return Timing(len(images), time.perf_counter() - start_time)

    def peak_memory(self) -> int | None:
        """Return the maximum bytes used on an accelerator so far; None on a CPU."""
        return peak_device_memory()


def _plain_model(work: Work) -> nn.Module:
    """Return the network to measure; a built-in network is rebuilt from plain Flax layers."""
    dtype = jnp.dtype(work.dtype)
    plain_networks = {"cnn": _PlainCNN, "resnet18": _PlainResNet, "fastnet": _PlainFastNet}
    if work.arch in plain_networks:
        return plain_networks[work.arch](dtype)
    return create_model(work.config, CLASSES, dtype)


def _normalize(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float32) / 255 - 0.5) / 0.25


def _plain_step(
    model: nn.Module,
    rule: optax.GradientTransformation,
    state: tuple[Any, Any],
    images: jax.Array,
    labels: jax.Array,
    step: int,
) -> tuple[tuple[Any, Any], jax.Array]:
    """Do one training step on a batch, with an update rule of optax and without augmentation.

    `state` has the network's variables and the optimizer state; `step` is the seed of dropout.
    Return the new state and the loss.
    """
    variables, opt_state = state

    def loss_and_statistics(params: Any) -> tuple[jax.Array, Any]:
        rngs = {"dropout": jax.random.key(step), "params": jax.random.key(step)}
        inputs = {**variables, "params": params}
        mutable = [name for name in variables if name != "params"]
        logits, statistics = model.apply(inputs, images, train=True, mutable=mutable, rngs=rngs)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), statistics

    compute_gradients = jax.value_and_grad(loss_and_statistics, has_aux=True)
    (loss, new_statistics), gradients = compute_gradients(variables["params"])
    updates, opt_state = rule.update(gradients, opt_state, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    new_variables = {"params": params, **new_statistics}
    return (new_variables, opt_state), loss


class _PlainCNN(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        for width in (32, 64, 128):
            for _ in range(2):
                x = nn.relu(norm()(nn.Conv(width, (3, 3), dtype=self.dtype)(x)))
            x = nn.max_pool(x, (2, 2), (2, 2))
        features = x.reshape(len(x), -1)
        x = nn.relu(norm()(nn.Dense(128, dtype=self.dtype)(features)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(CLASSES, dtype=self.dtype)(x).astype(jnp.float32)


class _PlainResNet(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        conv = partial(nn.Conv, use_bias=False, padding=1, dtype=self.dtype)
        x = nn.relu(norm()(conv(64, (3, 3))(x)))
        for width, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            for stride in (first_stride, 1):
                y = nn.relu(norm()(conv(width, (3, 3), stride)(x)))
                y = norm()(conv(width, (3, 3))(y))
                shortcut = x
                if shortcut.shape != y.shape:
                    shortcut = norm()(conv(width, (1, 1), stride, padding=0)(x))
                x = nn.relu(shortcut + y)
        features = x.mean((1, 2))
        return nn.Dense(CLASSES, dtype=self.dtype)(features).astype(jnp.float32)


class _PlainFastNet(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, not train, momentum=0.6, use_scale=False, dtype=self.dtype)
        conv = partial(nn.Conv, kernel_size=(3, 3), use_bias=False, dtype=self.dtype)
        gelu = partial(nn.gelu, approximate=False)
        kernel = self.variable("whitening", "kernel", whitening_kernel, x).value
        bias = self.param("bias", nn.initializers.zeros, kernel.shape[-1:])
        x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
        x = gelu(x + bias)
        for width in (64, 256, 256):
            x = nn.max_pool(conv(width)(x), (2, 2), (2, 2))
            x = gelu(norm()(x))
            x = gelu(norm()(conv(width)(x)))
        features = nn.max_pool(x, (3, 3), (3, 3)).reshape(len(x), -1)
        logits = nn.Dense(CLASSES, use_bias=False, dtype=self.dtype)(features)
        return logits.astype(jnp.float32) / 9
