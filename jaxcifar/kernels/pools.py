"""Pools, with cheaper derivatives than those that JAX finds."""

from collections.abc import Iterator
from functools import partial, reduce
from itertools import pairwise, product

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(
    x: Float[Array, "batch rows columns channels"], size: int, width: int
) -> Float[Array, "batch rows//{size} (columns-{width})//{size}+1 channels"]:
    """Maximum over windows every `size` pixels, for a CPU.

    Of equal pixels the first has the gradient, as in PyTorch. On a CPU a fraction of the time that
    XLA's window reduction, or a reduction of reshaped pixels, takes with its gradient.

    Args:
      x: floats of any kind, which the result is of too.
      size: height of a window, and the distance from one to the next along both axes.
      width: of a window.
    """
    return reduce(jnp.maximum, (pixel for _, pixel in _window_pixels(x, size, width)))


def _max_pool_bwd(size: int, width: int, arrays: tuple[Array, Array], grad: Array) -> tuple[Array]:
    x, most = arrays
    found, at_place = jnp.zeros(most.shape, bool), {}
    for place, pixel in _window_pixels(x, size, width):
        chosen = (pixel == most) & ~found
        found |= chosen
        at_place[place] = jnp.where(chosen, grad, 0)
    columns = -(-x.shape[2] // size)

    def of_column(i: int, j: int) -> Array:
        """Where windows overlap, a column is the next window's too."""
        parts = [at_place[i, column] for column in range(j, width, size)]
        ends = [(k, columns - k - most.shape[2]) for k in range(len(parts))]
        none = (0, 0)
        padded = (jnp.pad(a, (none, none, end, none)) for a, end in zip(parts, ends, strict=True))
        return reduce(jnp.add, padded)

    rows = [jnp.stack([of_column(i, j) for j in range(size)], 3) for i in range(size)]
    x_grad = jnp.stack(rows, 2).reshape(len(x), most.shape[1] * size, columns * size, -1)
    x_grad = x_grad[:, :, : x.shape[2]]
    return (jnp.pad(x_grad, ((0, 0), (0, x.shape[1] - x_grad.shape[1]), (0, 0), (0, 0))),)


max_pool.defvjp(
    lambda x, size, width: (y := max_pool(x, size, width), (x, y)),
    _max_pool_bwd,
)


def _window_pixels(x: Array, size: int, width: int) -> Iterator[tuple[tuple[int, int], Array]]:
    """Each place in a window, and that pixel of every window."""
    heights, widths = (x.shape[1] - size, x.shape[2] - width)
    for i, j in product(range(size), range(width)):
        yield (i, j), x[:, i : i + heights + 1 : size, j : j + widths + 1 : size]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def pair_maxima(x: Float[Array, "..."], axis: int) -> tuple[Float[Array, "..."], ...]:
    """The maxima of all pairs of neighbours that an axis has, each second one in an array.

    Args:
      x: floats, at least two along the axis.
      axis: which one.

    Returns:
      half as many along the axis, rounded down: those of pixels 0 and 1, of 2 and 3 and so on, and,
      of an odd extent, those of 1 and 2, of 3 and 4 and so on. Where a pair is equal, the gradient
      is the first one's.
    """
    return tuple(jnp.maximum(*pair) for pair in _pairs(x, axis))


def _pair_maxima_bwd(axis: int, x: Array, grads: tuple[Array, ...]) -> tuple[Array]:
    chosen = [
        (jnp.where(first >= second, grad, 0), jnp.where(first >= second, 0, grad))
        for (first, second), grad in zip(_pairs(x, axis), grads, strict=True)
    ]
    (evens, odds), end = chosen[0], []
    if len(chosen) > 1:  # whose second pixels, but for the last one, are the next first ones above
        more_odds, thirds = chosen[1]
        part, count = partial(lax.slice_in_dim, axis=axis), thirds.shape[axis]
        both = part(evens, 1, count) + part(thirds, 0, count - 1)
        # No padded arrays, which added to each other take a CPU twice the time of all this.
        evens = jnp.concatenate([part(evens, 0, 1), both], axis)
        odds, end = odds + more_odds, [part(thirds, count - 1, count)]
    shape = [*x.shape]
    shape[axis] -= len(end)
    return (jnp.concatenate([jnp.stack([evens, odds], axis + 1).reshape(shape), *end], axis),)


pair_maxima.defvjp(lambda x, axis: (pair_maxima(x, axis), x), _pair_maxima_bwd)


def _pairs(x: Array, axis: int) -> list[tuple[Array, Array]]:
    """The first and the second pixels of pairs from 0 on and, of an odd extent, from 1 on."""
    count, odd = divmod(x.shape[axis], 2)
    pixels = [
        lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis) for start in range(2 + odd)
    ]
    return list(pairwise(pixels))
