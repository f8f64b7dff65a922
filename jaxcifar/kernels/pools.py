"""Max pools, whose derivatives are cheaper than JAX's automatic derivatives."""

import math
from collections.abc import Iterator
from functools import partial, reduce
from itertools import pairwise, product

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(
    x: Float[Array, "batch rows columns channels"], stride: int, window_width: int
) -> Float[Array, "batch rows//{stride} (columns-{window_width})//{stride}+1 channels"]:
    """Return the maximum of each window of pixels, computed in a way that is fast on a CPU.

    If several pixels equal the maximum, the first of them gets the gradient, as in PyTorch.

    Args:
      x: feature maps; the result has the same dtype.
      stride: stride along both axes, and height of a window.
      window_width: width of a window; windows overlap if it is larger than `stride`.
    """
    batch, height, width, channels = x.shape
    is_divided_by_windows = height % stride == 0 and width % stride == 0 and window_width == stride
    if x.dtype == jnp.bfloat16 and is_divided_by_windows:  # XLA would not vectorise a comparison
        rows, columns = height // stride, width // stride
        windows = x.reshape(batch, rows, stride, columns, stride, channels)
        return windows.max((2, 4))
    pixels = (pixel for _, pixel in _window_pixels(x, stride, window_width))
    return reduce(jnp.maximum, pixels)


def _max_pool_bwd(
    stride: int, window_width: int, residuals: tuple[Array, Array], grad: Array
) -> tuple[Array]:
    x, maxima = residuals
    has_gradient = jnp.zeros(maxima.shape, bool)
    gradients_by_position = {}  # (row, column) in a window -> gradient of this pixel, all windows
    for position, pixel in _window_pixels(x, stride, window_width):
        is_first_maximum = (pixel == maxima) & ~has_gradient
        has_gradient |= is_first_maximum
        gradients_by_position[position] = jnp.where(is_first_maximum, grad, 0)
    window_rows, windows_in_row = maxima.shape[1:3]
    blocks_in_row = math.ceil(x.shape[2] / stride)  # of `stride` columns each

    def gradient_of_pixels(row: int, column: int) -> Array:
        """Return the gradient of the image's pixels `[row::stride, column::stride]`.

        If windows overlap, each of these pixels is in several windows. The gradients that the pixel
        gets from these windows are added.
        """
        gradients_by_window = []
        # A pixel at column c of a window is at column c + stride of the window before, and so on.
        for windows_before, window_column in enumerate(range(column, window_width, stride)):
            column_padding = (windows_before, blocks_in_row - windows_before - windows_in_row)
            gradient = gradients_by_position[row, window_column]
            gradients_by_window.append(jnp.pad(gradient, ((0, 0), (0, 0), column_padding, (0, 0))))
        return reduce(jnp.add, gradients_by_window)

    # All pixels of the image, put together again from the pixels with each start (row, column).
    gradients_by_row = []
    for row in range(stride):
        gradients_by_column = [gradient_of_pixels(row, column) for column in range(stride)]
        gradients_by_row.append(jnp.stack(gradients_by_column, 3))
    blocks_grad = jnp.stack(gradients_by_row, 2)
    x_grad = blocks_grad.reshape(len(x), window_rows * stride, blocks_in_row * stride, -1)
    x_grad = x_grad[:, :, : x.shape[2]]
    dropped_rows = x.shape[1] - x_grad.shape[1]
    x_grad = jnp.pad(x_grad, ((0, 0), (0, dropped_rows), (0, 0), (0, 0)))
    return (x_grad,)


def _max_pool_fwd(x: Array, stride: int, window_width: int) -> tuple[Array, tuple[Array, Array]]:
    maxima = max_pool(x, stride, window_width)
    return maxima, (x, maxima)


max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _window_pixels(
    x: Array, stride: int, window_width: int
) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield each position (row, column) in a window, and the pixels there of all windows.

    Windows are `stride` high and `window_width` wide, and their stride is the same along both axes.
    """
    last_window_row, last_window_column = x.shape[1] - stride, x.shape[2] - window_width
    for row, column in product(range(stride), range(window_width)):
        rows = slice(row, row + last_window_row + 1, stride)
        columns = slice(column, column + last_window_column + 1, stride)
        yield (row, column), x[:, rows, columns]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def pair_maxima(x: Float[Array, "..."], axis: int) -> tuple[Float[Array, "..."], ...]:
    """Return the maximum of each pair of neighbouring pixels along an axis.

    If the pixels of a pair are equal, the first one gets the gradient.

    Args:
      x: feature maps, with at least two pixels along the axis.
      axis: number of the axis along which pixels form pairs.

    Returns:
      the maxima of pixels 0 and 1, of 2 and 3, and so on. If the number of pixels is odd, a second
      array has the maxima of pixels 1 and 2, of 3 and 4, and so on.
    """
    return tuple(jnp.maximum(*pair) for pair in _neighbour_pairs(x, axis))


def _pair_maxima_bwd(axis: int, x: Array, grads: tuple[Array, ...]) -> tuple[Array]:
    # For pairs 0-1, 2-3, ... and then for pairs 1-2, 3-4, ...: the gradients of the first pixels of
    # the pairs, and of the second pixels.
    pair_grads = []
    for (first, second), grad in zip(_neighbour_pairs(x, axis), grads, strict=True):
        first_grad = jnp.where(first >= second, grad, 0)
        second_grad = jnp.where(first >= second, 0, grad)
        pair_grads.append((first_grad, second_grad))
    even_grads, odd_grads = pair_grads[0]  # of pixels 0, 2, ... and of pixels 1, 3, ...
    grad_of_last_pixel: list[Array] = []  # empty if the number of pixels is even
    is_odd_extent = len(pair_grads) == 2
    if is_odd_extent:  # each pixel but the first and the last is in two pairs; add both gradients
        # Of pixels 1, 3, ..., the first ones of a pair, and of pixels 2, 4, ..., the second ones.
        odd_grads_as_first, even_grads_as_second = pair_grads[1]
        pair_count = even_grads_as_second.shape[axis]
        take_slice = partial(lax.slice_in_dim, axis=axis)
        inner_even_grads = take_slice(even_grads, 1, pair_count)
        inner_even_grads += take_slice(even_grads_as_second, 0, pair_count - 1)
        # On a CPU, a sum of padded arrays would take twice the time.
        even_grads = jnp.concatenate([take_slice(even_grads, 0, 1), inner_even_grads], axis)
        odd_grads = odd_grads + odd_grads_as_first
        grad_of_last_pixel = [take_slice(even_grads_as_second, pair_count - 1, pair_count)]
    interleaved_shape = [*x.shape]
    interleaved_shape[axis] = 2 * even_grads.shape[axis]
    interleaved = jnp.stack([even_grads, odd_grads], axis + 1).reshape(interleaved_shape)
    return (jnp.concatenate([interleaved, *grad_of_last_pixel], axis),)


pair_maxima.defvjp(lambda x, axis: (pair_maxima(x, axis), x), _pair_maxima_bwd)


def _neighbour_pairs(x: Array, axis: int) -> list[tuple[Array, Array]]:
    """Return the first and the second pixels of all pairs of neighbouring pixels along an axis.

    The pairs are 0-1, 2-3, and so on. If the number of pixels is odd, a second element has the
    pairs 1-2, 3-4, and so on.
    """
    pair_count, remainder = divmod(x.shape[axis], 2)
    is_odd_extent = remainder == 1
    starts = (0, 1, 2) if is_odd_extent else (0, 1)
    alternate_pixels = [
        lax.slice_in_dim(x, start, start + 2 * pair_count - 1, 2, axis) for start in starts
    ]
    return list(pairwise(alternate_pixels))
