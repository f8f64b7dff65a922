"""The tiles of an output that Winograd's convolution computes, and the method's matrices.

See `kernels/winograd.py` for the method and its sources.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Float32

Extents = tuple[int, ...]  # height and width, as a slice of a shape

_TILE_SIZES = (4, 3, 2)  # possible values of m, the height and width of a tile of outputs
# Number of finite points, n - 1 = m + r - 2 -> the points; one more point is at infinity.
_POINTS_BY_COUNT = {
    5: (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)),
    4: (0.5, -0.5, 1.25, -1.25),
    3: (0.0, 1.0, -1.0),
    2: (0.0, 1.0),
}


class Matrices(NamedTuple):
    """The matrices of Winograd's convolution F(m, r), for m x m outputs and r x r kernels.

    The kernel and a tile of the input are transformed, multiplied element by element, and
    transformed to a tile of the output. A matrix M transforms X into M X M^T. Here n = m + r - 1.

    Attributes:
      to_output: `[m, n]`, transforms the product.
      from_kernel: `[n, r]`, transforms the kernel.
      from_input: `[n, n]`, transforms the tile of the input.
    """

    to_output: Float32[np.ndarray, "outputs points"]
    from_kernel: Float32[np.ndarray, "points weights"]
    from_input: Float32[np.ndarray, "points points"]


class Tiling:
    """Square tiles that cover the output of a Winograd convolution.

    The tile size is the size that needs the fewest multiplications.

    Attributes:
      kernel_size: height and width r of the kernel.
      output_extents: height and width of the output.
      tile_size: height and width m of a tile.
      tile_counts: number of tiles along each axis.
      covered_extents: height and width of all tiles together, at least `output_extents`.
    """

    def __init__(self, kernel_size: int, output_extents: Extents) -> None:
        self.kernel_size, self.output_extents = kernel_size, output_extents
        self.tile_size = min(_TILE_SIZES, key=self._count_multiplications)
        self.tile_counts = self._count_tiles(self.tile_size)
        self.covered_extents = tuple(count * self.tile_size for count in self.tile_counts)

    def _count_tiles(self, tile_size: int) -> tuple[int, ...]:
        return tuple(math.ceil(extent / tile_size) for extent in self.output_extents)

    def _count_multiplications(self, tile_size: int) -> int:
        tiles = math.prod(self._count_tiles(tile_size))
        points_along_axis = tile_size + self.kernel_size - 1
        return tiles * points_along_axis**2

    @property
    def matrices(self) -> Matrices:
        return _winograd_matrices(self.tile_size, self.kernel_size)


@cache
def _winograd_matrices(tile_size: int, kernel_size: int) -> Matrices:
    """Return the matrices of Winograd's convolution for output tiles and kernels of these sizes.

    They come from a method for the product of two polynomials: evaluate both at n points, multiply
    the values, and compute the coefficients of the product from these values. Winograd's method
    does the same steps in reverse order, with transposed matrices.
    """
    point_count = tile_size + kernel_size - 1
    finite_points = _POINTS_BY_COUNT[point_count - 1]
    to_values = _evaluation_matrix(finite_points, point_count)
    to_coefficients = np.linalg.inv(to_values)
    is_rounding_error = np.abs(to_coefficients) < 1e-12
    to_coefficients[is_rounding_error] = 0
    to_output = _evaluation_matrix(finite_points, tile_size).T
    from_kernel = _evaluation_matrix(finite_points, kernel_size)
    from_input = to_coefficients.T
    return Matrices(
        to_output.astype(np.float32),
        from_kernel.astype(np.float32),
        from_input.astype(np.float32),
    )


def _evaluation_matrix(finite_points: Sequence[float], coefficient_count: int) -> np.ndarray:
    """Return the matrix that maps a polynomial's coefficients to its values at all points.

    The last point is infinity, where the value of a polynomial is its highest coefficient.
    """
    powers = range(coefficient_count)
    rows_of_finite_points = [[point**power for power in powers] for point in finite_points]
    row_of_infinity = [0.0] * (coefficient_count - 1) + [1.0]
    return np.asarray([*rows_of_finite_points, row_of_infinity])
