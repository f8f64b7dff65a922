"""Compute the logits of any number of images in evaluation mode, in chunks."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxcifar.array_types import Float, Float32, Shaped, UInt8
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine import sharing
from jaxcifar.machine.compilations import CPU_OPTIONS, FAST_COMPILE_OPTIONS
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.training import augment, network
from jaxcifar.training.compiler_options import jit_for_dtype_of_program
from jaxcifar.training.network import Variables
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_MAX_FEW_IMAGES = 32
HOST_BLOCK_BYTES = 2**28  # images on the host are moved to the devices in blocks of this size
EVAL_BATCH = 500  # images in a chunk, over all devices; divides CIFAR-10's splits on one device


def predict(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    images: UInt8[AnyArray, "images height width 3"],
) -> Float32[Array, "images classes"]:
    """Return a network's logits for images, in evaluation mode.

    Args:
      program: the compiled program of the network.
      variables: the network's weights.
      hyper: hyper-parameters; only the mean and deviation of the images are used.
      images: at least one image, on the devices or on the host.
    """
    device_count = program.mesh.size
    wanted_chunk_size = min(eval_batch_size(images.shape), len(images))
    images_per_device = math.ceil(wanted_chunk_size / device_count)
    chunk_size = images_per_device * device_count
    if isinstance(images, np.ndarray) and images.nbytes > HOST_BLOCK_BYTES:
        return _predict_in_blocks(program, variables, hyper, images, chunk_size)
    if program.compiles_loops:
        has_few_images = chunk_size <= _MAX_FEW_IMAGES and len(images) <= _MAX_FEW_IMAGES
        compute_logits = _logits_of_few_images if has_few_images else _logits_of_many_images
        return compute_logits(program, variables, hyper, images, chunk_size)
    images = jax.device_put(images, program.replicated)
    chunk_starts = [np.int32(start) for start in range(0, len(images), chunk_size)]
    chunk_starts = jax.device_put(chunk_starts, program.replicated)
    logits_of_chunks = [
        _logits_of_one_chunk(program, variables, hyper, images, start, chunk_size)
        for start in chunk_starts
    ]
    return _concatenate_chunks(program, logits_of_chunks, len(images))


def eval_batch_size(images_shape: tuple[int, ...]) -> int:
    """Return the number of images that are evaluated at a time, on all devices together.

    `images_shape` is the shape `[N, H, W, 3]` of all images. The larger the images are, the fewer
    are evaluated at a time.
    """
    _, height, width, _ = images_shape
    pixels_in_chunk = EVAL_BATCH * IMAGE_SIZE**2
    images_of_this_size = pixels_in_chunk // (height * width)
    allowed_images = max(_MAX_FEW_IMAGES, images_of_this_size)
    return min(EVAL_BATCH, allowed_images)


def _predict_in_blocks(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    images: np.ndarray,
    chunk_size: int,
) -> Array:
    """Return the logits of images on the host, which are moved to the devices block by block.

    A block has at least one chunk of `chunk_size` images, and as many as fit into
    `HOST_BLOCK_BYTES`.
    """
    bytes_in_chunk = chunk_size * images[:1].nbytes
    chunks_in_block = max(1, HOST_BLOCK_BYTES // bytes_in_chunk)
    block_size = chunks_in_block * chunk_size
    blocks = [images[start : start + block_size] for start in range(0, len(images), block_size)]
    logits_of_blocks = []
    for block in blocks:
        images_on_devices = jax.device_put(np.ascontiguousarray(block), program.replicated)
        logits = predict(program, variables, hyper, images_on_devices)
        logits_of_blocks.append(np.asarray(logits))  # waits, so that one block is on the devices
    return jnp.asarray(np.concatenate(logits_of_blocks))


def average_with_mirror_images(
    predict: Callable[[Shaped[AnyArray, "..."]], Float[AnyArray, "images classes"]],
    images: Shaped[AnyArray, "images height width channels"],
    logits: Float[AnyArray, "images classes"],
) -> Float[AnyArray, "images classes"]:
    """Return the mean of the logits of images and the logits of their mirror images.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.

    Args:
      predict: returns the logits of images.
      images: the images.
      logits: the logits of `images`.
    """
    mirror_images = images[:, :, ::-1]
    return (logits + predict(mirror_images)) / 2


def _logits_in_loop(
    program: Program, variables: Variables, hyper: Hyperparameters, images: Array, chunk_size: int
) -> Array:
    """Return the logits of images, in a compiled loop over chunks of `chunk_size` images."""
    missing_images = -len(images) % chunk_size  # until the last chunk is full
    padded = jnp.pad(images, ((0, missing_images), (0, 0), (0, 0), (0, 0)))
    chunks = padded.reshape(-1, chunk_size, *images.shape[1:])
    logits_of_chunk = partial(_logits_of_chunk, program, variables, hyper)
    logits_of_padded = jax.lax.map(logits_of_chunk, chunks).reshape(len(padded), -1)
    return program.replicate(logits_of_padded[: len(images)])


def _logits_from_start(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    images: Array,
    start: Array,
    chunk_size: int,
) -> Array:
    """Return the logits of `chunk_size` images, beginning with the image at index `start`.

    If fewer images are left, the last image is repeated.
    """
    indices = jnp.minimum(start + jnp.arange(chunk_size), len(images) - 1)
    return _logits_of_chunk(program, variables, hyper, images[indices])


_logits_of_many_images = jit_for_dtype_of_program(
    _logits_in_loop, static_argnums=(0, 4), compiler_options=CPU_OPTIONS
)
# For few images, compiling faster by a second is worth more than running faster.
_logits_of_few_images = jit_for_dtype_of_program(
    _logits_in_loop, static_argnums=(0, 4), compiler_options=FAST_COMPILE_OPTIONS
)
_logits_of_one_chunk = jit_for_dtype_of_program(
    _logits_from_start, static_argnums=(0, 5), compiler_options=CPU_OPTIONS
)


@partial(jax.jit, static_argnums=(0, 2))
def _concatenate_chunks(program: Program, logits: list[Array], image_count: int) -> Array:
    return program.replicate(jnp.concatenate(logits)[:image_count])


def _logits_of_chunk(
    program: Program, variables: Variables, hyper: Hyperparameters, images: Array
) -> Array:
    """Return the logits of a chunk of images; each device computes an equal share of them."""

    def logits_on_device(variables: Variables, hyper: Hyperparameters, images: Array) -> Array:
        images = augment.normalize(augment.pixels(images), hyper.mean, hyper.std)
        return network.predict(program.model, variables, images, program.product_dtype)

    replicated, sharded = PartitionSpec(), PartitionSpec(sharing.AXIS)
    logits_on_devices = jax.shard_map(
        logits_on_device,
        mesh=program.mesh,
        in_specs=(replicated, replicated, sharded),
        out_specs=sharded,
        check_vma=False,
    )
    return logits_on_devices(variables, hyper, images)
