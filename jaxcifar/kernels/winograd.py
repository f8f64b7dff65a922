"""Winograd's convolution, which needs few multiplications, all of them in matrix products.

Winograd, "On computing the discrete Fourier transform", 1978, in the two-dimensional form of Lavin
and Gray, "Fast algorithms for convolutional neural networks", 2016. A tile of m x m outputs of an
r x r kernel takes (m + r - 1)^2 multiplications, not m^2 r^2. Rounding errors grow with m. The
points of evaluation were chosen for small errors: Barabasz et al., "Error analysis and improving
the accuracy of Winograd convolution for deep neural networks", 2020.

The operands of the products may be bfloat16, which a CPU multiplies faster if the sums are float32.
Elementwise operations are always float32, because they would be slower in bfloat16.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.chunks import split_into_chunks
from jaxcifar.kernels.winograd_tiling import Extents, Tiling

_CHUNK_BYTES = 5 * 2**18  # of transformed images at a time, so that they fit a core's cache

Dtype = DTypeLike

_float32_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def winograd(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "size size channels features"],
    bias: Float32[Array, "features"],
    leading_zeros: int,
    output_extents: Extents,
    product_dtype: Dtype,
) -> Float32[Array, "batch {output_extents[0]} {output_extents[1]} features"]:
    """Convolve images with a kernel of 2 x 2 or 3 x 3, at stride 1, by Winograd's method.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      bias: added to every output.
      leading_zeros: zeros above and to the left of the image; below and to the right are as many
        zeros as the output needs.
      output_extents: height and width of the output.
      product_dtype: dtype to which the operands of matrix products are rounded, also in the
        computation of gradients.
    """
    tiling = Tiling(len(kernel), output_extents)
    weights = _transform_kernel(kernel, tiling).astype(product_dtype)  # once, not in every chunk

    def convolve_chunk(x_chunk: Array) -> Array:
        tiles = _transform_input(x_chunk, leading_zeros, tiling).astype(product_dtype)
        products = _float32_einsum("ntc,nck->ntk", tiles, weights)
        return _collect_output(products, tiling) + bias

    chunks = _split_into_chunks(x, weights, tiling)
    return lax.map(convolve_chunk, chunks).reshape(len(x), *output_extents, -1)


def _winograd_fwd(
    x: Array, kernel: Array, *other_arguments: Any
) -> tuple[Array, tuple[Array, Array]]:
    return winograd(x, kernel, *other_arguments), (x, kernel)


def _winograd_bwd(
    leading_zeros: int,
    output_extents: Extents,
    product_dtype: Dtype,
    inputs: tuple[Array, Array],
    output_grad: Array,
) -> tuple[Array, Array, Array]:
    x, kernel = inputs
    flipped_kernel = kernel[::-1, ::-1].swapaxes(2, 3)
    leading_zeros_of_grad = len(kernel) - 1 - leading_zeros
    no_bias = jnp.zeros(x.shape[-1])
    x_grad = winograd(
        output_grad, flipped_kernel, no_bias, leading_zeros_of_grad, x.shape[1:3], product_dtype
    )
    kernel_grad = _kernel_grad(x, output_grad, leading_zeros, len(kernel), product_dtype)
    bias_grad = output_grad.sum((0, 1, 2))
    return x_grad, kernel_grad, bias_grad


winograd.defvjp(_winograd_fwd, _winograd_bwd)


def _kernel_grad(
    x: Array, output_grad: Array, leading_zeros: int, kernel_size: int, product_dtype: Dtype
) -> Array:
    """Return the gradient `[r, r, C, K]` of a kernel of r x r weights.

    Args:
      x: images, `[B, H, W, C]`.
      output_grad: gradient of the output, `[B, H', W', K]`.
      leading_zeros: zeros above and to the left of the images.
      kernel_size: height and width r of the kernel.
      product_dtype: dtype to which the operands of products are rounded.
    """
    tiling = Tiling(kernel_size, output_grad.shape[1:3])
    to_output, from_kernel, _ = tiling.matrices

    def add_chunk(total: Array, chunk: tuple[Array, ...]) -> tuple[Array, None]:
        x_chunk, grad_chunk = chunk
        padded_grad = pad_to_extents(grad_chunk, 0, tiling.covered_extents)
        x_tiles = _transform_input(x_chunk, leading_zeros, tiling)
        grad_tiles = _transform_tiles(padded_grad, to_output.T, tiling)
        rounded_tiles = x_tiles.astype(product_dtype), grad_tiles.astype(product_dtype)
        new_total = total + _float32_einsum("ntc,ntk->nck", *rounded_tiles)
        return new_total, None

    point_count = len(from_kernel) ** 2
    channels, features = x.shape[-1], output_grad.shape[-1]
    total = jnp.zeros((point_count, channels, features))
    x_chunks = _split_into_chunks(x, total, tiling)
    grad_chunks = _split_into_chunks(output_grad, total, tiling)
    total, _ = lax.scan(add_chunk, total, (x_chunks, grad_chunks))
    by_column = _multiply_first_axis(np.kron(from_kernel, from_kernel).T, total)
    return by_column.reshape(kernel_size, kernel_size, channels, features).swapaxes(0, 1)


def pad_to_extents(
    x: Float[Array, "batch height width channels"], leading_zeros: int, extents: Sequence[int]
) -> Float[Array, "batch {extents[0]} {extents[1]} channels"]:
    """Pad images to the height and width in `extents`, with `leading_zeros` zeros at the beginning.

    If the images are too large, rows and columns at their end are cut off.
    """
    pads = []
    for extent, image_extent in zip(extents, x.shape[1:3], strict=True):
        trailing_zeros = extent - leading_zeros - image_extent  # negative to crop
        pads.append((leading_zeros, trailing_zeros, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _split_into_chunks(x: Array, weights: Array, tiling: Tiling) -> Array:
    """Divide a batch of images `[B, ...]` into chunks, `[chunks, images, ...]`.

    A chunk fits a core's cache, but is at least as large as the weights, because the computation of
    each chunk reads all weights.
    """
    _, channels, features = weights.shape
    tiles_of_image = math.prod(tiling.tile_counts)
    bytes_of_image = len(weights) * tiles_of_image * max(channels, features) * x.dtype.itemsize
    max_bytes = max(_CHUNK_BYTES, weights.nbytes)
    return split_into_chunks(x, max_bytes // bytes_of_image)


def _transform_kernel(kernel: Array, tiling: Tiling) -> Array:
    """Return the transformed kernel, by which the method multiplies transformed tiles of images.

    The kernel `[r, r, C, K]` becomes `[n * n, C, K]`, with n = m + r - 1 for tiles of m x m
    outputs. The first axis has all entries of the first of n columns, then of the second, and so
    on.
    """
    from_kernel = tiling.matrices.from_kernel
    by_column = kernel.swapaxes(0, 1).reshape(-1, *kernel.shape[2:])
    return _multiply_first_axis(np.kron(from_kernel, from_kernel), by_column)


def _transform_input(x: Array, leading_zeros: int, tiling: Tiling) -> Array:
    """Divide images into tiles of n x n pixels; return the transformed tiles, `[n * n, tiles, C]`.

    Neighbouring tiles overlap by r - 1 pixels, where r is the kernel's size.
    """
    overlap = tiling.kernel_size - 1
    x = pad_to_extents(x, leading_zeros, [extent + overlap for extent in tiling.covered_extents])
    return _transform_tiles(x, tiling.matrices.from_input, tiling)


def _transform_tiles(x: Array, matrix: np.ndarray, tiling: Tiling) -> Array:
    """Multiply every tile by a matrix, from both sides.

    Args:
      x: images, `[B, H, W, C]`.
      matrix: `[n, p]`, where p is the height and width of a tile of `x`.
      tiling: says where the tiles begin: one every `tiling.tile_size` pixels along each axis.

    Returns:
      the products, `[n * n, tiles, C]`. The first axis holds the n x n entries of each product:
      all entries of its first column, then of its second, and so on.
    """
    tile_extent, stride = matrix.shape[1], tiling.tile_size
    _, image_height, image_width, _ = x.shape
    height, width = image_height - tile_extent + 1, image_width - tile_extent + 1
    rows = [x[:, row : row + height : stride] for row in range(tile_extent)]
    # Without this stack, XLA would compute the sums of each row again for every column.
    row_sums = jnp.stack(_combine_arrays(matrix, rows))
    columns = [row_sums[:, :, :, column : column + width : stride] for column in range(tile_extent)]
    tiles = jnp.stack(_combine_arrays(matrix, columns))
    return tiles.reshape(len(matrix) ** 2, -1, x.shape[-1])


def _collect_output(products: Array, tiling: Tiling) -> Array:
    """Return the output `[B, H', W', K]` of a convolution.

    `products` are the transformed tiles times the transformed kernel, `[n * n, tiles, K]`.
    """
    to_output = tiling.matrices.to_output
    features = products.shape[-1]
    height, width = tiling.output_extents
    outputs_in_tile, points = to_output.shape
    by_column = _multiply_first_axis(to_output, products.reshape(points, -1))
    by_column = by_column.reshape(outputs_in_tile, points, -1, *tiling.tile_counts, features)
    columns = list(by_column.swapaxes(0, 1))
    pixels_of_tiles = jnp.stack(_combine_arrays(to_output, columns))
    images = pixels_of_tiles.transpose(2, 3, 0, 4, 1, 5)
    images = images.reshape(-1, *tiling.covered_extents, features)
    return images[:, :height, :width]


def _multiply_first_axis(matrix: np.ndarray, x: Array) -> Array:
    """Multiply a matrix `[p, q]` by the first axis of `[q, ...]`."""
    product = jnp.matmul(matrix, x.reshape(len(x), -1))
    return product.reshape(len(matrix), *x.shape[1:])


def _combine_arrays(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
    """Multiply a matrix `[p, q]` by a vector of q arrays, and return the p resulting arrays.

    Zeros in the matrix cost nothing.
    """
    products_of_rows = []
    for row in matrix:
        factors_and_arrays = zip(row, arrays, strict=True)
        products = [factor * array for factor, array in factors_and_arrays if factor != 0]
        products_of_rows.append(products)
    return [reduce(jnp.add, products) for products in products_of_rows]
