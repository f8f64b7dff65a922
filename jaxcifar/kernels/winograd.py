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
from jaxcifar.kernels.winograd_tiling import Extents, Tiling

_CHUNK_BYTES = 5 * 2**18  # of transformed images at a time, so that they fit a core's cache

Dtype = DTypeLike

_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def winograd(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "size size channels features"],
    bias: Float32[Array, "features"],
    zeros_before: int,
    extents: Extents,
    product_dtype: Dtype,
) -> Float32[Array, "batch {extents[0]} {extents[1]} features"]:
    """Convolve images with a kernel of 2 x 2 or 3 x 3, at stride 1, by Winograd's method.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      bias: added to every output.
      zeros_before: zeros above and to the left of the image; below and to the right are as many
        zeros as the output needs.
      extents: height and width of the output.
      product_dtype: dtype to which the operands of matrix products are rounded, also in the
        computation of gradients.
    """
    tiling = Tiling(len(kernel), extents)
    weights = _transform_kernel(kernel, tiling).astype(product_dtype)  # once, not in every chunk

    def convolve(x: Array) -> Array:
        tiles = _transform_input(x, zeros_before, tiling).astype(product_dtype)
        products = _einsum("ntc,nck->ntk", tiles, weights)
        return _collect_output(products, tiling) + bias

    chunks = _in_chunks(x, weights, tiling)
    return lax.map(convolve, chunks).reshape(len(x), *extents, -1)


def _winograd_fwd(
    x: Array, kernel: Array, *other_arguments: Any
) -> tuple[Array, tuple[Array, Array]]:
    return winograd(x, kernel, *other_arguments), (x, kernel)


def _winograd_bwd(
    zeros_before: int,
    extents: Extents,
    product_dtype: Dtype,
    inputs: tuple[Array, Array],
    grad: Array,
) -> tuple[Array, Array, Array]:
    x, kernel = inputs
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    gradient_zeros_before = len(kernel) - 1 - zeros_before
    x_grad = winograd(
        grad, flipped, jnp.zeros(x.shape[-1]), gradient_zeros_before, x.shape[1:3], product_dtype
    )
    return (
        x_grad,
        _kernel_grad(x, grad, zeros_before, len(kernel), product_dtype),
        grad.sum((0, 1, 2)),
    )


winograd.defvjp(_winograd_fwd, _winograd_bwd)


def _kernel_grad(
    x: Array, grad: Array, zeros_before: int, size: int, product_dtype: Dtype
) -> Array:
    """Return the gradient `[r, r, C, K]` of a kernel of r x r weights.

    Args:
      x: images, `[B, H, W, C]`.
      grad: gradient of the output, `[B, H', W', K]`.
      zeros_before: zeros above and to the left of the images.
      size: height and width r of the kernel.
      product_dtype: dtype to which the operands of products are rounded.
    """
    tiling = Tiling(size, grad.shape[1:3])
    to_output, from_kernel, _ = tiling.matrices

    def add_chunk(total: Array, chunk: tuple[Array, ...]) -> tuple[Array, None]:
        x_chunk, grad_chunk = chunk
        padded_grad = padded(grad_chunk, 0, tiling.covered_extents)
        x_tiles = _transform_input(x_chunk, zeros_before, tiling)
        grad_tiles = _transform_tiles(padded_grad, to_output.T, tiling)
        rounded_tiles = x_tiles.astype(product_dtype), grad_tiles.astype(product_dtype)
        return total + _einsum("ntc,ntk->nck", *rounded_tiles), None

    total = jnp.zeros((len(from_kernel) ** 2, x.shape[-1], grad.shape[-1]))
    chunks = _in_chunks(x, total, tiling), _in_chunks(grad, total, tiling)
    total, _ = lax.scan(add_chunk, total, chunks)
    by_column = _multiply_first_axis(np.kron(from_kernel, from_kernel).T, total)
    return by_column.reshape(size, size, *total.shape[1:]).swapaxes(0, 1)


def padded(
    x: Float[Array, "batch height width channels"], zeros_before: int, extents: Sequence[int]
) -> Float[Array, "batch {extents[0]} {extents[1]} channels"]:
    """Pad images to the height and width in `extents`, with `zeros_before` zeros at the beginning.

    If the images are too large, rows and columns at their end are cut off.
    """
    pads = []
    for extent, image_extent in zip(extents, x.shape[1:3], strict=True):
        zeros_after = extent - zeros_before - image_extent  # negative to crop
        pads.append((zeros_before, zeros_after, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _in_chunks(x: Array, weights: Array, tiling: Tiling) -> Array:
    """Divide a batch of images `[B, ...]` into chunks, `[chunks, images, ...]`.

    A chunk fits a core's cache, but is at least as large as the weights, because the computation of
    each chunk reads all weights.
    """
    batch = len(x)
    _, channels, features = weights.shape
    tiles_of_image = math.prod(tiling.tile_counts)
    bytes_of_image = len(weights) * tiles_of_image * max(channels, features) * x.dtype.itemsize
    max_images = max(1, max(_CHUNK_BYTES, weights.nbytes) // bytes_of_image)
    divisors = [count for count in range(1, batch + 1) if batch % count == 0]
    images_in_chunk = max(count for count in divisors if count <= max_images)
    return x.reshape(batch // images_in_chunk, images_in_chunk, *x.shape[1:])


def _transform_kernel(kernel: Array, tiling: Tiling) -> Array:
    """Transform a kernel `[r, r, C, K]` to n x n points, `[n * n, C, K]`, column by column.

    For tiles of m x m outputs, n = m + r - 1.
    """
    from_kernel = tiling.matrices.from_kernel
    by_column = kernel.swapaxes(0, 1).reshape(-1, *kernel.shape[2:])
    return _multiply_first_axis(np.kron(from_kernel, from_kernel), by_column)


def _transform_input(x: Array, zeros_before: int, tiling: Tiling) -> Array:
    """Transform images to tiles of n x n points, `[n * n, tiles, C]`.

    Neighbouring tiles overlap by r - 1 pixels, where r is the kernel's size.
    """
    overlap = tiling.kernel_size - 1
    x = padded(x, zeros_before, [extent + overlap for extent in tiling.covered_extents])
    return _transform_tiles(x, tiling.matrices.from_input, tiling)


def _transform_tiles(x: Array, matrix: np.ndarray, tiling: Tiling) -> Array:
    """Multiply every tile by a matrix, from both sides.

    Args:
      x: images, `[B, H, W, C]`.
      matrix: `[n, p]`, where p is the height and width of a tile of `x`.
      tiling: places of the tiles, one every m pixels.

    Returns:
      the products, `[n * n, tiles, C]`, column by column.
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
    """Transform the products of tiles `[n * n, tiles, K]` to the output `[B, H', W', K]`."""
    to_output = tiling.matrices.to_output
    features = products.shape[-1]
    height, width = tiling.extents
    columns = _multiply_first_axis(to_output, products.reshape(to_output.shape[1], -1))
    columns = columns.reshape(
        tiling.tile_size, to_output.shape[1], -1, *tiling.tile_counts, features
    )
    pixels = jnp.stack(_combine_arrays(to_output, list(columns.swapaxes(0, 1))))
    pixels = pixels.transpose(2, 3, 0, 4, 1, 5).reshape(-1, *tiling.covered_extents, features)
    return pixels[:, :height, :width]


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
