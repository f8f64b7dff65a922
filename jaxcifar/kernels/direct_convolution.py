"""Convolution of bfloat16 images on a CPU, by oneDNN inside XLA and by matrix products.

A processor with matrix instructions multiplies bfloat16 ten times as fast as float32. Winograd's
method would save multiplications, which are cheap there, and add sums, which are not. So the
outputs and the images' gradient are XLA's own convolutions, which XLA hands to oneDNN. For the
kernel's gradient XLA has no fast convolution, so it is a matrix product over all pixels.
"""

import math
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels.axes import reorder_axes
from jaxcifar.kernels.chunks import split_into_chunks

# Bytes of unrolled pixels that are multiplied at a time. With less, the sums over chunks take
# longer than the products; with more, the pixels do not fit the processor's cache.
_CHUNK_BYTES = 8 * 2**20
_BFLOAT16_BYTES = 2
_FLOAT32_BYTES = 4

Padding = tuple[int, int]  # zeros before and after, the same along both axes


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def convolve_directly(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    bias: Float[Array, "features"],
    stride: int,
    padding: Padding,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images with a square kernel by XLA; all arrays have the same dtype.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      bias: added to every output.
      stride: stride along both axes.
      padding: zeros (before, after) along both axes.
    """
    return convolve_by_xla(x, kernel, stride, (padding, padding)) + bias


def convolve_by_xla(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    stride: int,
    pads: tuple[Padding, Padding],
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images by XLA, with zeros above and below, left and right (`pads`)."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolve_fwd(
    x: Array, kernel: Array, bias: Array, stride: int, padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
    return convolve_directly(x, kernel, bias, stride, padding), (x, kernel)


def _convolve_bwd(
    stride: int, padding: Padding, inputs: tuple[Array, Array], output_grad: Array
) -> tuple[Array, Array, Array]:
    x, kernel = inputs
    # Without this barrier, XLA would write a float32 copy of the gradient before it sums it.
    grad_to_sum, output_grad = lax.optimization_barrier((output_grad, output_grad))
    x_grad = _images_grad(output_grad, kernel, x.shape, stride, padding)
    kernel_grad = _kernel_grad(x, output_grad, len(kernel), stride, padding)
    bias_grad = grad_to_sum.astype(jnp.float32).sum((0, 1, 2))
    return x_grad, kernel_grad.astype(kernel.dtype), bias_grad.astype(kernel.dtype)


convolve_directly.defvjp(_convolve_fwd, _convolve_bwd)


def _images_grad(
    output_grad: Array,
    kernel: Array,
    images_shape: tuple[int, ...],
    stride: int,
    padding: Padding,
) -> Array:
    """Return the gradient of the images: the output's gradient, convolved with the flipped kernel.

    At a stride above 1, the convolution skips outputs. Zeros between the pixels of the output's
    gradient take their places.
    """
    zero = jnp.zeros((), output_grad.dtype)
    zeros_between = (0, 0, stride - 1)
    spread_grad = lax.pad(output_grad, zero, [(0, 0, 0), zeros_between, zeros_between, (0, 0, 0)])
    flipped_kernel = kernel[::-1, ::-1].swapaxes(2, 3)
    overlap = len(kernel) - 1  # of the pixels that neighbouring outputs read at stride 1
    leading_zeros = max(0, overlap - padding[0])
    # The first outputs may read padding alone; they do not depend on the images and are cut off.
    # XLA's negative padding would cut them off too, but it is wrong on a CPU.
    outputs_of_padding_alone = max(0, padding[0] - overlap)
    pads = []
    for axis in (1, 2):
        needed_extent = images_shape[axis] + overlap - leading_zeros
        needed_end = min(outputs_of_padding_alone + needed_extent, spread_grad.shape[axis])
        spread_grad = lax.slice_in_dim(spread_grad, outputs_of_padding_alone, needed_end, axis=axis)
        trailing_zeros = needed_extent - spread_grad.shape[axis]
        pads.append((leading_zeros, trailing_zeros))
    return convolve_by_xla(spread_grad, flipped_kernel, 1, (pads[0], pads[1]))


def _kernel_grad(
    x: Array, output_grad: Array, kernel_size: int, stride: int, padding: Padding
) -> Array:
    """Return the kernel's gradient, float32 `[r, r, C, K]`, as a sum over chunks of the batch.

    Args:
      x: images, `[B, H, W, C]`.
      output_grad: gradient of the output, `[B, H', W', K]`.
      kernel_size: height and width r of the kernel.
      stride: stride along both axes.
      padding: zeros before and after the images, along both axes.
    """
    _, out_height, out_width, features = output_grad.shape
    channels = x.shape[-1]
    margin = (kernel_size - 1) / 2
    output_has_size_of_images = stride == 1 and padding == (margin, margin)
    # The numbers of values that the two methods copy for each pixel.
    values_by_im2col = kernel_size**2 * channels
    values_by_rows_and_columns = kernel_size * (channels + features)
    if output_has_size_of_images and values_by_rows_and_columns < values_by_im2col:
        grad_of_chunk = partial(_grad_by_rows_and_columns, kernel_size=kernel_size)
        copied_values_per_pixel = values_by_rows_and_columns
    else:
        grad_of_chunk = partial(
            _grad_by_im2col, kernel_size=kernel_size, stride=stride, leading_zeros=padding[0]
        )
        copied_values_per_pixel = values_by_im2col
    image_bytes = out_height * out_width * copied_values_per_pixel * _BFLOAT16_BYTES
    kernel_bytes = kernel_size**2 * channels * features * _FLOAT32_BYTES
    max_images = max(_CHUNK_BYTES, kernel_bytes) // image_bytes
    x_chunks = split_into_chunks(x, max_images)
    grad_chunks = split_into_chunks(output_grad, max_images)
    if len(x_chunks) == 1:
        return grad_of_chunk(x, output_grad)

    def add_chunk(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        return total + grad_of_chunk(*chunk), None

    zeros = jnp.zeros((kernel_size, kernel_size, channels, features))
    total, _ = lax.scan(add_chunk, zeros, (x_chunks, grad_chunks))
    return total


def _grad_by_im2col(
    x: Array, output_grad: Array, kernel_size: int, stride: int, leading_zeros: int
) -> Array:
    """Return the kernel's gradient, by one product of two matrices (im2col).

    One matrix has a row for each output, with all inputs that this output is computed from. The
    other matrix is the output's gradient.
    """
    _, out_height, out_width, features = output_grad.shape
    channels = x.shape[-1]

    def padding_along_axis(image_extent: int, out_extent: int) -> tuple[int, int, int]:
        read_extent = stride * (out_extent - 1) + kernel_size
        trailing_zeros = read_extent - leading_zeros - image_extent
        zeros_between_pixels = 0
        return leading_zeros, trailing_zeros, zeros_between_pixels

    rows_padding = padding_along_axis(x.shape[1], out_height)
    columns_padding = padding_along_axis(x.shape[2], out_width)
    zero = jnp.zeros((), x.dtype)
    padded = lax.pad(x, zero, [(0, 0, 0), rows_padding, columns_padding, (0, 0, 0)])
    row_span = stride * (out_height - 1) + 1  # from the first to the last input of a weight
    column_span = stride * (out_width - 1) + 1
    inputs_by_weight = [
        padded[:, row : row + row_span : stride, column : column + column_span : stride]
        for row, column in product(range(kernel_size), repeat=2)
    ]
    kernel_grad = _sum_of_products(jnp.concatenate(inputs_by_weight, -1), output_grad)
    return kernel_grad.reshape(kernel_size, kernel_size, channels, features)


def _grad_by_rows_and_columns(x: Array, output_grad: Array, kernel_size: int) -> Array:
    """Return the kernel's gradient for stride 1 and an output as large as the images.

    The gradient of a weight is a product of shifted images and the output's gradient. Here the
    images are shifted along their columns only. Instead of shifting them along their rows too, this
    function shifts the output's gradient the other way. For a 3x3 kernel with as many features as
    channels, the shifted copies have two thirds of the size of those in `_grad_by_im2col`.
    """
    _, height, width, channels = x.shape
    features = output_grad.shape[-1]
    margin = kernel_size // 2
    padded_x = jnp.pad(x, ((0, 0), (0, 0), (margin, margin), (0, 0)))
    padded_grad = jnp.pad(output_grad, ((0, 0), (margin, margin), (0, 0), (0, 0)))
    shifts = range(kernel_size)
    shifted_columns = [padded_x[:, :, shift : shift + width] for shift in shifts]
    shifted_rows = [padded_grad[:, shift : shift + height] for shift in reversed(shifts)]
    products = _sum_of_products(
        jnp.concatenate(shifted_columns, -1), jnp.concatenate(shifted_rows, -1)
    )
    kernel_grad = products.reshape(kernel_size, channels, kernel_size, features)
    return reorder_axes(kernel_grad, "column channel row feature -> row column channel feature")


def _sum_of_products(x: Array, y: Array) -> Array:
    """Multiply each channel of `x` by each channel of `y`; return the sums over all pixels.

    The result `[C, K]` is float32, but for bfloat16 arrays it is rounded to bfloat16 before: XLA
    uses a CPU's matrix instructions, which sum in float32, only if the result is bfloat16.
    """
    pixels = math.prod(x.shape[:-1])
    sums = jnp.einsum("pc,pk->ck", x.reshape(pixels, -1), y.reshape(pixels, -1))
    return sums.astype(jnp.float32)
