"""The transforms of Winograd's convolution: of the kernel, of tiles of images, and of the output.

See `kernels/winograd.py` for the method. There, a tile of outputs has m x m pixels, a kernel has
r x r weights, and both are transformed to n x n points, where n = m + r - 1.
"""

from collections.abc import Sequence
from functools import reduce

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.axes import reorder_axes
from jaxcifar.kernels.winograd_tiling import Tiling


def transform_kernel(
    kernel: Float32[Array, "size size channels features"], tiling: Tiling
) -> Float32[Array, "points channels features"]:
    """Transform the r x r weights of a kernel to n x n points, where n depends on the tile size.

    Each point has a matrix of channels x features. The points come column by column: first all rows
    of the first column, then of the second.
    """
    rows, columns, channels, features = kernel.shape
    by_column = reorder_axes(kernel, "row column channel feature -> column row channel feature")
    weights = by_column.reshape(columns * rows, channels, features)
    return _multiply_first_axis(_weights_to_points(tiling), weights)


def kernel_grad_from_points(
    grad_at_points: Float32[Array, "points channels features"], tiling: Tiling
) -> Float32[Array, "{tiling.kernel_size} {tiling.kernel_size} channels features"]:
    """Return the gradient of a kernel, from the gradient of the transformed kernel."""
    _, channels, features = grad_at_points.shape
    points_to_weights = _weights_to_points(tiling).T
    weight_grads = _multiply_first_axis(points_to_weights, grad_at_points)
    rows = columns = tiling.kernel_size
    by_column = weight_grads.reshape(columns, rows, channels, features)
    return reorder_axes(by_column, "column row channel feature -> row column channel feature")


def _weights_to_points(tiling: Tiling) -> np.ndarray:
    """Return the matrix `[n * n, r * r]` that transforms the r x r weights of a kernel at once.

    Weights and points are in order of columns. The matrix `from_kernel` `[n, r]` would need two
    steps, one for the columns and one for the rows.
    """
    from_kernel = tiling.matrices.from_kernel
    return np.kron(from_kernel, from_kernel)


def transform_input_tiles(
    x: Float32[Array, "batch height width channels"], top_left_padding: int, tiling: Tiling
) -> Float32[Array, "points tiles channels"]:
    """Pad images with zeros, divide them into overlapping tiles, and transform each tile.

    A tile has the n x n pixels that a tile of outputs is computed from, and is transformed to n x n
    points. There are `top_left_padding` zeros above and to the left of an image.
    """
    overlap = tiling.kernel_size - 1
    extents_of_all_tiles = [extent + overlap for extent in tiling.covered_extents]
    padded = pad_to_extents(x, top_left_padding, extents_of_all_tiles)
    return transform_tiles(padded, tiling.matrices.from_input, tiling)


def transform_tiles(
    x: Float32[Array, "batch height width channels"],
    matrix: Float[np.ndarray, "row_points tile_rows"],
    tiling: Tiling,
) -> Float32[Array, "points tiles channels"]:
    """Divide images into tiles, and multiply each tile by a matrix from both sides.

    Args:
      x: images.
      matrix: transforms the pixels along an axis of a tile of `x` to points.
      tiling: says where the tiles begin: one every `tiling.tile_size` pixels along each axis.

    Returns:
      the transformed tiles. The points of a tile come column by column.
    """
    channels = x.shape[-1]
    points_along_axis, tile_extent = matrix.shape
    row_axis, column_axis = -3, -2
    rows_of_tiles = _pixels_of_tiles(x, row_axis, tile_extent, tiling.tile_size)
    # Without this stack, XLA would compute the sums of each row again for every column.
    row_points = jnp.stack(_combine_arrays(matrix, rows_of_tiles))
    columns_of_tiles = _pixels_of_tiles(row_points, column_axis, tile_extent, tiling.tile_size)
    # [column_points, row_points, batch, tile_rows, tile_columns, channels]
    points = jnp.stack(_combine_arrays(matrix, columns_of_tiles))
    return points.reshape(points_along_axis**2, -1, channels)


def _pixels_of_tiles(x: Array, axis: int, tile_extent: int, stride: int) -> list[Array]:
    """Return, for each position in a tile along an axis, the pixels of all tiles at this position.

    A tile has `tile_extent` pixels along the axis, and one tile begins every `stride` pixels.
    """
    possible_starts = x.shape[axis] - tile_extent + 1
    return [
        lax.slice_in_dim(x, position, position + possible_starts, stride, axis)
        for position in range(tile_extent)
    ]


def outputs_from_points(
    products: Float32[Array, "points tiles features"], tiling: Tiling
) -> Float32[Array, "batch {tiling.output_extents[0]} {tiling.output_extents[1]} features"]:
    """Transform the points of each tile to a tile of outputs, and return the whole output.

    `products` are the transformed tiles times the transformed kernel, at each point.
    """
    features = products.shape[-1]
    to_output = tiling.matrices.to_output
    tile_size, points_along_axis = to_output.shape
    column_points = products.reshape(points_along_axis, -1)
    columns = _multiply_first_axis(to_output, column_points)
    columns_and_row_points = columns.reshape(
        tile_size, points_along_axis, -1, *tiling.tile_counts, features
    )
    row_points = list(columns_and_row_points.swapaxes(0, 1))
    # [row, column, image, tile_row, tile_column, feature]
    output_tiles = jnp.stack(_combine_arrays(to_output, row_points))
    return _join_tiles(output_tiles, tiling)


def _join_tiles(tiles: Array, tiling: Tiling) -> Array:
    """Put images together from tiles of m x m pixels, `[m, m, B, tile rows, tile columns, K]`.

    The last tiles may extend beyond the output; what is outside is cut off.
    """
    features = tiles.shape[-1]
    rows_beside_tile_rows = reorder_axes(
        tiles,
        "row column image tile_row tile_column feature"
        " -> image tile_row row tile_column column feature",
    )
    images = rows_beside_tile_rows.reshape(-1, *tiling.covered_extents, features)
    height, width = tiling.output_extents
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


def pad_to_extents(
    x: Float[Array, "batch height width channels"], top_left_padding: int, extents: Sequence[int]
) -> Float[Array, "batch {extents[0]} {extents[1]} channels"]:
    """Pad images to the height and width in `extents`.

    There are `top_left_padding` zeros above and to the left. If the images are too large, rows and
    columns at their end are cut off.
    """
    pads = []
    for extent, image_extent in zip(extents, x.shape[1:3], strict=True):
        bottom_right_padding = extent - top_left_padding - image_extent  # negative to crop
        pads.append((top_left_padding, bottom_right_padding, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
