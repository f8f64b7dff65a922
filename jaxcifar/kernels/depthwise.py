"""Depthwise convolution on a CPU: each channel has its own kernel.

Chollet, "Xception: deep learning with depthwise separable convolutions", 2017. XLA computes it as a
grouped convolution, which is ten times slower on a CPU than one product of arrays for each pixel of
the kernel.
"""

from functools import partial, reduce
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels.chunks import largest_divisor

Paddings = tuple[tuple[int, int], ...]  # zeros above and below, left and right

_STRIP_BYTES = 2**18  # of float32 outputs in a strip, unless a single row has more
_FLOAT32_BYTES = 4


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
    pixels_by_weight = _input_pixels(_pad(x, padding), kernel.shape[:2])
    products = (pixels * weights[position] for position, pixels in pixels_by_weight.items())
    return reduce(jnp.add, products).astype(x.dtype)


def _pad(x: Array, padding: Paddings) -> Array:
    """Return float32 images with zeros around them."""
    return jnp.pad(x.astype(jnp.float32), ((0, 0), *padding, (0, 0)))


def _input_pixels(padded: Array, kernel_size: tuple[int, ...]) -> dict[tuple[int, int], Array]:
    """Return the input pixels under each weight of a kernel, for all outputs of the convolution.

    Args:
      padded: one or more images, `[..., H, W, C]`.
      kernel_size: height and width of the kernel.

    Returns:
      a dict. A key is the (row, column) of a weight. The value has the pixels under this weight,
      `[..., H', W', C]`.
    """
    kernel_height, kernel_width = kernel_size
    height = padded.shape[-3] - kernel_height + 1
    width = padded.shape[-2] - kernel_width + 1
    return {
        (row, column): padded[..., row : row + height, column : column + width, :]
        for row, column in product(range(kernel_height), range(kernel_width))
    }


def _depthwise_fwd(x: Array, kernel: Array, padding: Paddings) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, padding), (x, kernel)


def _depthwise_bwd(
    padding: Paddings, inputs: tuple[Array, Array], output_grad: Array
) -> tuple[Array, Array]:
    x, kernel = inputs
    gradient_padding = tuple(
        (length - 1 - leading_zeros, length - 1 - trailing_zeros)
        for length, (leading_zeros, trailing_zeros) in zip(kernel.shape[:2], padding, strict=True)
    )
    flipped_kernel = kernel[::-1, ::-1]
    x_grad = depthwise(output_grad, flipped_kernel, gradient_padding)
    kernel_grad = _kernel_grad(_pad(x, padding), output_grad, kernel.shape)
    return x_grad, kernel_grad.astype(kernel.dtype)


depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)


def _kernel_grad(padded: Array, output_grad: Array, kernel_shape: tuple[int, ...]) -> Array:
    """Return the gradient of the kernel, float32.

    A weight's gradient is a sum over all outputs: the input under the weight, times the output's
    gradient. We add strips of the images one after another, a few rows high, so that a strip stays
    in the processor's cache until it is multiplied for every weight.

    Args:
      padded: images with zeros around them, `[B, H, W, C]`.
      output_grad: gradient of the outputs, `[B, H', W', C]`.
      kernel_shape: rows, columns and channels of the kernel.
    """
    rows, columns, channels = kernel_shape
    batch, height, width, _ = output_grad.shape
    strip_height = largest_divisor(height, _STRIP_BYTES // (width * channels * _FLOAT32_BYTES))
    strips_per_image = height // strip_height
    strip_count = batch * strips_per_image
    strip_shape = (strip_height, width, channels)
    grad_strips = output_grad.reshape(strip_count, *strip_shape)
    input_size = (1, strip_height + rows - 1, width + columns - 1, channels)

    def add_strip(sums_by_weight: list[Array], strip_index: Array) -> tuple[list[Array], None]:
        image_index = strip_index // strips_per_image
        first_row = (strip_index % strips_per_image) * strip_height
        input_strip = lax.dynamic_slice(padded, (image_index, first_row, 0, 0), input_size)[0]
        pixels_by_weight = _input_pixels(input_strip, (rows, columns)).values()
        grad_strip = grad_strips[strip_index].astype(jnp.float32)
        # XLA uses vector instructions for sums of whole strips, but not for sums over pixels.
        new_sums = [
            weight_sum + pixels * grad_strip
            for weight_sum, pixels in zip(sums_by_weight, pixels_by_weight, strict=True)
        ]
        return new_sums, None

    zeros = [jnp.zeros(strip_shape, jnp.float32)] * (rows * columns)
    sums_by_weight, _ = lax.scan(add_strip, zeros, jnp.arange(strip_count))
    weight_grads = [weight_sum.sum((0, 1)) for weight_sum in sums_by_weight]
    return jnp.stack(weight_grads).reshape(kernel_shape)
