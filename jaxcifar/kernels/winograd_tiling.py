"""The tiles of an output that Winograd's convolution computes, and the method's matrices.

See `kernels/winograd.py` for the method and its sources.
"""

import math
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
    """Matrices of Winograd's F(m, r): tiles of m x m outputs, kernels of r x r weights.

    Their shapes are `[m, n]`, `[n, r]` and `[n, n]`, where n = m + r - 1.
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
        return _make_matrices(self.tile_size, self.kernel_size)


@cache
def _make_matrices(tile_size: int, kernel_size: int) -> Matrices:
    """Return the matrices of Winograd's convolution for output tiles and kernels of these sizes.

    Two polynomials can be multiplied by multiplying their values at n points. The last point is
    infinity. Winograd's method is the transpose of this algorithm.
    """
    finite_points = _POINTS_BY_COUNT[tile_size + kernel_size - 2]
    powers = range(len(finite_points) + 1)
    rows = [[point**power for power in powers] for point in finite_points]
    row_at_infinity = [0.0] * len(finite_points) + [1.0]
    vandermonde = np.asarray([*rows, row_at_infinity])
    from_input = np.linalg.inv(vandermonde).T
    is_rounding_error = np.abs(from_input) < 1e-12
    from_input[is_rounding_error] = 0

    def values_at_points(coefficient_count: int) -> np.ndarray:
        """Return the matrix that maps a polynomial's coefficients to its values at all points."""
        at_finite_points = vandermonde[:-1, :coefficient_count]
        at_infinity = np.eye(coefficient_count)[-1:]  # the last coefficient
        matrix = np.concatenate([at_finite_points, at_infinity])
        return matrix.astype(np.float32)

    return Matrices(
        to_output=values_at_points(tile_size).T,
        from_kernel=values_at_points(kernel_size),
        from_input=from_input.astype(np.float32),
    )
