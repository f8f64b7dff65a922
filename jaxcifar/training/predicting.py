"""Evaluation mode: logits of any number of images, some at a time."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxcifar.array_types import Float, Float32, Shaped, UInt8
from jaxcifar.machine import sharing
from jaxcifar.machine.compilations import CPU_OPTIONS, FAST_COMPILE_OPTIONS
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.training import augment, network
from jaxcifar.training.network import Variables
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_FEW = 32
EVAL_BATCH = 500  # images at a time, over all devices; divides CIFAR-10's splits on one device


def predict(
    program: Program,
    variables: Variables,
    hp: Hyperparameters,
    images: UInt8[AnyArray, "images height width 3"],
) -> Float32[Array, "images classes"]:
    """Logits of images by the network of a program."""
    size = -(-min(EVAL_BATCH, len(images)) // program.mesh.size) * program.mesh.size
    if program.looped:
        few = size <= _FEW and len(images) <= _FEW
        return (_of_few if few else _of_all)(program, variables, hp, images, size)
    images = jax.device_put(images, program.replicated)
    starts = [np.int32(start) for start in range(0, len(images), size)]
    firsts = jax.device_put(starts, program.replicated)
    chunks = [_from(program, variables, hp, images, first, size) for first in firsts]
    return _joined(program, chunks, len(images))


def both_sides(
    predict: Callable[[Shaped[AnyArray, "..."]], Float[AnyArray, "images classes"]],
    images: Shaped[AnyArray, "images height width channels"],
    logits: Float[AnyArray, "images classes"],
) -> Float[AnyArray, "images classes"]:
    """Flips at the test: what images and their mirror images come to together.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.

    Args:
      predict: gives the logits of images.
      images: as `predict` takes them.
      logits: of these images.

    Returns:
      the means of the logits of both.
    """
    return (logits + predict(images[:, :, ::-1])) / 2


def _logits(
    program: Program, variables: Variables, hp: Hyperparameters, images: Array, size: int
) -> Array:
    missing = -len(images) % size
    padded = jnp.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
    chunks = padded.reshape(-1, size, *images.shape[1:])
    logits = jax.lax.map(partial(_of_chunk, program, variables, hp), chunks)
    return program.everywhere(logits.reshape(len(padded), -1)[: len(images)])


_of_all = jax.jit(_logits, static_argnums=(0, 4), compiler_options=CPU_OPTIONS)
# A second less to compile is worth more than the speed of so little.
_of_few = jax.jit(_logits, static_argnums=(0, 4), compiler_options=FAST_COMPILE_OPTIONS)


@partial(jax.jit, static_argnums=(0, 5), compiler_options=CPU_OPTIONS)
def _from(
    program: Program,
    variables: Variables,
    hp: Hyperparameters,
    images: Array,
    first: Array,
    size: int,
) -> Array:
    chosen = jnp.minimum(first + jnp.arange(size), len(images) - 1)
    return _of_chunk(program, variables, hp, images[chosen])


@partial(jax.jit, static_argnums=(0, 2))
def _joined(program: Program, chunks: list[Array], count: int) -> Array:
    return program.everywhere(jnp.concatenate(chunks)[:count])


def _of_chunk(program: Program, variables: Variables, hp: Hyperparameters, images: Array) -> Array:
    def logits(variables: Variables, hp: Hyperparameters, images: Array) -> Array:
        images = augment.normalize(augment.pixels(images), hp.mean, hp.std)
        return network.predict(program.model, variables, images, program.operands)

    everywhere, shared_out = PartitionSpec(), PartitionSpec(sharing.AXIS)
    return jax.shard_map(
        logits,
        mesh=program.mesh,
        in_specs=(everywhere, everywhere, shared_out),
        out_specs=shared_out,
        check_vma=False,
    )(variables, hp, images)
