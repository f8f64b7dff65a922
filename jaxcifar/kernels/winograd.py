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
from functools import cache, partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from jaxcifar.array_types import Float, Float32

_TILES = (4, 3, 2)  # possible values of m, the height and width of a tile of outputs
# Number of finite points, n - 1 = m + r - 2 -> the points; one more point is at infinity.
_POINTS = {
    5: (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)),
    4: (0.5, -0.5, 1.25, -1.25),
    3: (0.0, 1.0, -1.0),
    2: (0.0, 1.0),
}
_CHUNK_BYTES = 5 * 2**18  # of transformed images at a time, so that they fit a core's cache

Dtype = DTypeLike
Extents = tuple[int, ...]  # height and width, as a slice of a shape

_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def winograd(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "size size channels features"],
    bias: Float32[Array, "features"],
    before: int,
    extents: Extents,
    operands: Dtype,
) -> Float32[Array, "batch {extents[0]} {extents[1]} features"]:
    """Convolve images with a kernel of 2 x 2 or 3 x 3, at stride 1, by Winograd's method.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      bias: added to every output.
      before: zeros above and to the left of the image; below and to the right are as many zeros as
        the output needs.
      extents: height and width of the output.
      operands: dtype to which the operands of products are rounded, also those of the gradients.
    """
    tiling = _Tiling(len(kernel), extents)
    weights = _transform_kernel(kernel, tiling).astype(operands)  # once, not in every chunk

    def convolve(x: Array) -> Array:
        tiles = _transform_input(x, before, tiling).astype(operands)
        return _collect_output(_einsum("ntc,nck->ntk", tiles, weights), tiling) + bias

    return lax.map(convolve, _in_chunks(x, weights, tiling)).reshape(len(x), *extents, -1)


def _winograd_fwd(x: Array, kernel: Array, *others: Any) -> tuple[Array, tuple[Array, Array]]:
    return winograd(x, kernel, *others), (x, kernel)


def _winograd_bwd(
    before: int,
    extents: Extents,
    operands: Dtype,
    inputs: tuple[Array, Array],
    grad: Array,
) -> tuple[Array, Array, Array]:
    x, kernel = inputs
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    zeros_before = len(kernel) - 1 - before
    x_grad = winograd(grad, flipped, jnp.zeros(x.shape[-1]), zeros_before, x.shape[1:3], operands)
    return x_grad, _kernel_grad(x, grad, before, len(kernel), operands), grad.sum((0, 1, 2))


winograd.defvjp(_winograd_fwd, _winograd_bwd)


def _kernel_grad(x: Array, grad: Array, before: int, size: int, operands: Dtype) -> Array:
    """Return the kernel's gradient `[r, r, C, K]` from the output's gradient `[B, H', W', K]`."""
    tiling = _Tiling(size, grad.shape[1:3])
    to_output, from_kernel, _ = tiling.matrices

    def add(total: Array, chunk: tuple[Array, ...]) -> tuple[Array, None]:
        x, grad = chunk
        grad = padded(grad, 0, tiling.covered)
        tiles = _transform_input(x, before, tiling), _transform_tiles(grad, to_output.T, tiling)
        return total + _einsum("ntc,ntk->nck", *(array.astype(operands) for array in tiles)), None

    total = jnp.zeros((len(from_kernel) ** 2, x.shape[-1], grad.shape[-1]))
    chunks = (_in_chunks(array, total, tiling) for array in (x, grad))
    total, _ = lax.scan(add, total, tuple(chunks))
    by_column = _apply(np.kron(from_kernel, from_kernel).T, total)
    return by_column.reshape(size, size, *total.shape[1:]).swapaxes(0, 1)


class _Tiling:
    """The square tiles that cover an output; their size needs the fewest multiplications.

    Attributes:
      size: height and width r of the kernel.
      extents: height and width of the output.
      tile: height and width m of a tile.
      counts: number of tiles along each axis.
      covered: height and width of all tiles together; not less than those of the output.
    """

    def __init__(self, size: int, extents: Extents) -> None:
        self.size, self.extents = size, extents
        self.tile = min(_TILES, key=self._multiplications)
        self.counts = self._counts(self.tile)
        self.covered = tuple(count * self.tile for count in self.counts)

    def _counts(self, tile: int) -> tuple[int, ...]:
        return tuple(-(-extent // tile) for extent in self.extents)

    def _multiplications(self, tile: int) -> int:
        return math.prod(self._counts(tile)) * (tile + self.size - 1) ** 2

    @property
    def matrices(self) -> "_Matrices":
        return _matrices(self.tile, self.size)


def padded(
    x: Float[Array, "batch height width channels"], before: int, extents: Sequence[int]
) -> Float[Array, "batch {extents[0]} {extents[1]} channels"]:
    """Pad images by zeros, `before` of them first, or crop their end, to the size `extents`."""
    zeros_after = (e - before - given for e, given in zip(extents, x.shape[1:3], strict=True))
    pads = [(before, after, 0) for after in zeros_after]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def _in_chunks(x: Array, weights: Array, tiling: _Tiling) -> Array:
    """Divide images into chunks: `[B, ...]` -> `[chunks, images, ...]`.

    A chunk fits a core's cache. But a chunk is at least as large as the weights, because the
    computation of each chunk reads all weights.
    """
    batch, (_, channels, features) = len(x), weights.shape
    tiles_of_image = math.prod(tiling.counts)
    bytes_of_image = len(weights) * tiles_of_image * max(channels, features) * x.dtype.itemsize
    max_images = max(1, max(_CHUNK_BYTES, weights.nbytes) // bytes_of_image)
    images = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= max_images)
    return x.reshape(batch // images, images, *x.shape[1:])


def _transform_kernel(kernel: Array, tiling: _Tiling) -> Array:
    """Transform a kernel `[r, r, C, K]` to `[n * n, C, K]`, column by column; n = m + r - 1."""
    from_kernel = tiling.matrices.from_kernel
    by_column = kernel.swapaxes(0, 1).reshape(-1, *kernel.shape[2:])
    return _apply(np.kron(from_kernel, from_kernel), by_column)


def _transform_input(x: Array, before: int, tiling: _Tiling) -> Array:
    """Transform images to tiles `[n * n, tiles, C]`, which overlap by r - 1 pixels."""
    x = padded(x, before, [extent + tiling.size - 1 for extent in tiling.covered])
    return _transform_tiles(x, tiling.matrices.from_input, tiling)


def _transform_tiles(x: Array, matrix: np.ndarray, tiling: _Tiling) -> Array:
    """Multiply every tile by a matrix, from both sides.

    Args:
      x: images, `[B, H, W, C]`.
      matrix: `[n, p]`, where p is the height and width of a tile of `x`.
      tiling: places of the tiles, one every m pixels.

    Returns:
      the products, `[n * n, tiles, C]`, column by column.
    """
    pixels, step = matrix.shape[1], tiling.tile
    height, width = (extent - pixels + 1 for extent in x.shape[1:3])
    # Without this stack, XLA would compute the sums of each row again for every column.
    rows = jnp.stack(_combine(matrix, [x[:, i : i + height : step] for i in range(pixels)]))
    columns = [rows[:, :, :, j : j + width : step] for j in range(pixels)]
    tiles = jnp.stack(_combine(matrix, columns))
    return tiles.reshape(len(matrix) ** 2, -1, x.shape[-1])


def _collect_output(products: Array, tiling: _Tiling) -> Array:
    """Transform products `[n * n, tiles, K]` to the output `[B, H', W', K]`."""
    to_output = tiling.matrices.to_output
    features, (height, width) = products.shape[-1], tiling.extents
    columns = _apply(to_output, products.reshape(to_output.shape[1], -1))
    columns = columns.reshape(tiling.tile, to_output.shape[1], -1, *tiling.counts, features)
    pixels = jnp.stack(_combine(to_output, list(columns.swapaxes(0, 1))))
    pixels = pixels.transpose(2, 3, 0, 4, 1, 5).reshape(-1, *tiling.covered, features)
    return pixels[:, :height, :width]


def _apply(matrix: np.ndarray, x: Array) -> Array:
    """Multiply a matrix `[p, q]` by the first axis of `[q, ...]`."""
    product = jnp.matmul(matrix, x.reshape(len(x), -1))
    return product.reshape(len(matrix), *x.shape[1:])


def _combine(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
    """Multiply a matrix `[p, q]` by q arrays; return p arrays. Zeros in the matrix cost nothing."""
    rows = [
        [factor * array for factor, array in zip(row, arrays, strict=True) if factor]
        for row in matrix
    ]
    return [reduce(jnp.add, products) for products in rows]


class _Matrices(NamedTuple):
    """Matrices of Winograd's F(m, r), `[m, n]`, `[n, r]` and `[n, n]`, where n = m + r - 1."""

    to_output: np.ndarray
    from_kernel: np.ndarray
    from_input: np.ndarray


@cache
def _matrices(tile: int, size: int) -> _Matrices:
    """Return Winograd's matrices for output tiles of m x m and kernels of r x r pixels.

    Polynomials can be multiplied by their values at n points, the last of which is infinity. This
    method is the transpose of that multiplication.
    """
    points = _POINTS[tile + size - 2]
    powers = [[point**k for k in range(len(points) + 1)] for point in points]
    vandermonde = np.asarray([*powers, [0.0] * len(points) + [1.0]])
    from_input = np.linalg.inv(vandermonde).T
    from_input[np.abs(from_input) < 1e-12] = 0

    def leading(count: int) -> np.ndarray:
        at_infinity = np.eye(count)[-1:]
        return np.concatenate([vandermonde[:-1, :count], at_infinity]).astype(np.float32)

    return _Matrices(leading(tile).T, leading(size), from_input.astype(np.float32))
