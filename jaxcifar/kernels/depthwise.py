"""Depthwise convolution on a CPU: a kernel of its own for each channel (Chollet 2017).

XLA computes it there as a convolution in as many groups, ten times slower than the multiplications
that it takes: one product of arrays for each pixel of the kernel.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import Array

from jaxcifar.array_types import Float

Paddings = tuple[tuple[int, int], ...]  # zeros above and below, left and right


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows columns channels"],
    padding: Paddings,
) -> Float[Array, "batch out_height out_width channels"]:
    """Convolve each channel with its kernel, at stride 1.

    All arrays have the same dtype; sums are computed in float32.

    Args:
      x: images.
      kernel: for each channel, the weights of the pixels around an output.
      padding: of the images; less than the kernel on each side.
    """
    height, width, _ = kernel.shape
    weights = kernel.astype(jnp.float32)
    spots = _spots(x, (height, width), padding)
    products = (spots[i, j] * weights[i, j] for i, j in spots)
    return reduce(jnp.add, products).astype(x.dtype)


def _spots(x: Array, size: tuple[int, ...], padding: Paddings) -> dict[tuple[int, int], Array]:
    """What lies under each pixel of a kernel, `[B, H', W', C] float32`."""
    padded = jnp.pad(x.astype(jnp.float32), ((0, 0), *padding, (0, 0)))
    height, width = (
        extent - part + 1 for extent, part in zip(padded.shape[1:3], size, strict=True)
    )
    return {
        (i, j): padded[:, i : i + height, j : j + width]
        for i in range(size[0])
        for j in range(size[1])
    }


def _fwd(x: Array, kernel: Array, padding: Paddings) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, padding), (x, kernel)


def _bwd(padding: Paddings, inputs: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    size = kernel.shape[:2]
    rest = tuple(
        (part - 1 - before, part - 1 - after)
        for part, (before, after) in zip(size, padding, strict=True)
    )
    spots, grads = _spots(x, size, padding), grad.astype(jnp.float32)
    sums = jnp.stack([(spot * grads).sum((0, 1, 2)) for spot in spots.values()])
    kernel_grad = sums.reshape(kernel.shape).astype(kernel.dtype)
    return depthwise(grad, kernel[::-1, ::-1], rest), kernel_grad


depthwise.defvjp(_fwd, _bwd)
