"""Depthwise convolution on a CPU: each channel has its own kernel.

Chollet, "Xception: deep learning with depthwise separable convolutions", 2017. XLA computes it as a
grouped convolution, which is ten times slower on a CPU than one product of arrays for each pixel of
the kernel.
"""

from functools import partial, reduce
from itertools import product

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
    """Convolve each channel with its own kernel, at stride 1; sums are computed in float32.

    Args:
      x: images.
      kernel: the weights of each channel, of the dtype of `x`.
      padding: zeros (above, below) and (left, right); each is less than the kernel's size.
    """
    weights = kernel.astype(jnp.float32)
    pixels_by_weight = _input_pixels(x, kernel.shape[:2], padding)
    products = (pixels * weights[position] for position, pixels in pixels_by_weight.items())
    return reduce(jnp.add, products).astype(x.dtype)


def _input_pixels(
    x: Array, kernel_size: tuple[int, ...], padding: Paddings
) -> dict[tuple[int, int], Array]:
    """Return the input pixels under each weight of a kernel, for all outputs of the convolution.

    Returns:
      a dict. A key is the (row, column) of a weight. The value has the pixels under this weight,
      `[B, H', W', C] float32`.
    """
    padded = jnp.pad(x.astype(jnp.float32), ((0, 0), *padding, (0, 0)))
    kernel_height, kernel_width = kernel_size
    height = padded.shape[1] - kernel_height + 1
    width = padded.shape[2] - kernel_width + 1
    return {
        (row, column): padded[:, row : row + height, column : column + width]
        for row, column in product(range(kernel_height), range(kernel_width))
    }


def _depthwise_fwd(x: Array, kernel: Array, padding: Paddings) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, padding), (x, kernel)


def _depthwise_bwd(
    padding: Paddings, inputs: tuple[Array, Array], output_grad: Array
) -> tuple[Array, Array]:
    x, kernel = inputs
    kernel_size = kernel.shape[:2]
    gradient_padding = tuple(
        (length - 1 - leading_zeros, length - 1 - trailing_zeros)
        for length, (leading_zeros, trailing_zeros) in zip(kernel_size, padding, strict=True)
    )
    float32_grad = output_grad.astype(jnp.float32)
    pixels_by_weight = _input_pixels(x, kernel_size, padding)
    weight_grads = [(pixels * float32_grad).sum((0, 1, 2)) for pixels in pixels_by_weight.values()]
    kernel_grad = jnp.stack(weight_grads).reshape(kernel.shape).astype(kernel.dtype)
    flipped_kernel = kernel[::-1, ::-1]
    x_grad = depthwise(output_grad, flipped_kernel, gradient_padding)
    return x_grad, kernel_grad


depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)
