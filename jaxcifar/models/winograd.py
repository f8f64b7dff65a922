"""Convolution by few multiplications, all of them in matrix products.

Winograd's minimal filtering ("On computing the discrete Fourier transform", 1978) in the
two-dimensional form of Lavin and Gray ("Fast algorithms for convolutional neural networks", 2016):
m x m outputs of an r x r kernel take (m + r - 1)^2 multiplications, not m^2 r^2, which are as many
matrix products between channels. Rounding errors grow with m; the points of evaluation were chosen
for small ones (Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution
for deep neural networks", 2020).
"""

from collections.abc import Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE = 4  # m: outputs of a tile along either axis
# Finite points of evaluation, by size of the kernel; one more is at infinity.
_POINTS = {3: (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)), 2: (0.5, -0.5, 1.25, -1.25)}
_CHUNK_BYTES = 5 * 2**18  # of transformed images at a time: what a core's own cache holds

Padding = tuple[int, int]  # zeros before and after, along either axis


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def winograd(x: jax.Array, kernel: jax.Array, bias: jax.Array, pad: Padding) -> jax.Array:
    """Convolve with a kernel of r x r, 2 or 3, at stride 1.

    Args:
      x: `[B, H, W, C] float32`, H and W multiples of `TILE`.
      kernel: `[r, r, C, K] float32`.
      bias: `[K] float32`.
      pad: zeros before and after, along either axis, r - 1 together.

    Returns:
      `[B, H, W, K] float32`.
    """
    size = len(kernel)
    weights = _transform_kernel(kernel)

    def convolve(x: jax.Array) -> jax.Array:
        products = jnp.einsum("ntc,nck->ntk", _transform_input(x, size, pad), weights)
        return _collect_output(products, x.shape, size) + bias

    return lax.map(convolve, _in_chunks(x, weights)).reshape(*x.shape[:3], -1)


def _winograd_fwd(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, pad: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return winograd(x, kernel, bias, pad), (x, kernel)


def _winograd_bwd(
    pad: Padding, inputs: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernel = inputs
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    x_grad = winograd(grad, flipped, jnp.zeros(x.shape[-1]), pad[::-1])
    return x_grad, _kernel_grad(x, grad, len(kernel), pad), grad.sum((0, 1, 2))


winograd.defvjp(_winograd_fwd, _winograd_bwd)


def _kernel_grad(x: jax.Array, grad: jax.Array, size: int, pad: Padding) -> jax.Array:
    """`[B, H, W, C]` and the output's gradient `[B, H, W, K]` -> `[r, r, C, K]`."""
    to_output, of_kernel, _ = _matrices(size)

    def add(total: jax.Array, chunk: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        x, grad = chunk
        tiles = _transform_input(x, size, pad), _transform_tiles(grad, to_output.T)
        return total + jnp.einsum("ntc,ntk->nck", *tiles), None

    total = jnp.zeros((len(of_kernel) ** 2, x.shape[-1], grad.shape[-1]))
    total, _ = lax.scan(add, total, (_in_chunks(x, total), _in_chunks(grad, total)))
    by_column = _apply(np.kron(of_kernel, of_kernel).T, total)
    return by_column.reshape(size, size, *total.shape[1:]).swapaxes(0, 1)


def _in_chunks(x: jax.Array, weights: jax.Array) -> jax.Array:
    """`[B, ...]` -> `[chunks, images, ...]`: a chunk as large as a cache, or as the weights.

    Every chunk reads all weights, so chunks much smaller than they are would wait for them.
    """
    batch, height, width, _ = x.shape
    _, channels, features = weights.shape
    tiles_of_image = height * width // TILE**2
    bytes_of_image = len(weights) * tiles_of_image * max(channels, features) * x.dtype.itemsize
    most = max(1, max(_CHUNK_BYTES, weights.nbytes) // bytes_of_image)
    images = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= most)
    return x.reshape(batch // images, images, *x.shape[1:])


def _transform_kernel(kernel: jax.Array) -> jax.Array:
    """`[r, r, C, K]` -> `[n * n, C, K]` with n = m + r - 1, columns first."""
    _, of_kernel, _ = _matrices(len(kernel))
    by_column = kernel.swapaxes(0, 1).reshape(-1, *kernel.shape[2:])
    return _apply(np.kron(of_kernel, of_kernel), by_column)


def _transform_input(x: jax.Array, size: int, pad: Padding) -> jax.Array:
    """`[B, H, W, C]` -> `[n * n, tiles, C]`, of tiles that overlap by r - 1 pixels."""
    return _transform_tiles(jnp.pad(x, ((0, 0), pad, pad, (0, 0))), _matrices(size)[2])


def _transform_tiles(x: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply every tile from both sides.

    Args:
      x: `[B, H, W, C]`.
      matrix: `[n, p]`, p being the tiles' height and width; one begins every m pixels.

    Returns:
      `[n * n, tiles, C]`, columns first.
    """
    pixels = matrix.shape[1]
    height, width = (extent - pixels + 1 for extent in x.shape[1:3])
    # Stacked before the columns: XLA would compute each row's sums anew for every column.
    rows = jnp.stack(_combine(matrix, [x[:, i : i + height : TILE] for i in range(pixels)]))
    columns = [rows[:, :, :, j : j + width : TILE] for j in range(pixels)]
    tiles = jnp.stack(_combine(matrix, columns))
    return tiles.reshape(len(matrix) ** 2, -1, x.shape[-1])


def _collect_output(products: jax.Array, shape: tuple[int, ...], size: int) -> jax.Array:
    """`[n * n, tiles, K]` -> `[B, H, W, K]`, `shape` giving B, H and W."""
    to_output, _, _ = _matrices(size)
    batch, height, width, _ = shape
    columns = _apply(to_output, products.reshape(to_output.shape[1], -1))
    columns = columns.reshape(TILE, -1, batch, height // TILE, width // TILE, products.shape[-1])
    pixels = jnp.stack(_combine(to_output, list(columns.swapaxes(0, 1))))
    return pixels.transpose(2, 3, 0, 4, 1, 5).reshape(batch, height, width, -1)


def _apply(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """Matrix `[p, q]` times the leading axis of `[q, ...]`."""
    return (matrix @ x.reshape(len(x), -1)).reshape(len(matrix), *x.shape[1:])


def _combine(matrix: np.ndarray, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Matrix `[p, q]` times q arrays, without the zeros in it."""
    return [
        sum(factor * array for factor, array in zip(row, arrays, strict=True) if factor)
        for row in matrix
    ]


@cache
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Winograd's F(m, r): `[m, n]` to the output, `[n, r]` of the kernel, `[n, n]` of the input.

    The transposed form of multiplying polynomials by their values at n points, the last of which
    is infinity.
    """
    points = _POINTS[size]
    powers = [[point**k for k in range(len(points) + 1)] for point in points]
    vandermonde = np.asarray([*powers, [0.0] * len(points) + [1.0]])
    of_input = np.linalg.inv(vandermonde).T
    of_input[np.abs(of_input) < 1e-12] = 0

    def leading(count: int) -> np.ndarray:
        at_infinity = np.eye(count)[-1:]
        return np.concatenate([vandermonde[:-1, :count], at_infinity]).astype(np.float32)

    return leading(TILE).T, leading(size), of_input.astype(np.float32)
