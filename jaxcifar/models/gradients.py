"""What layers compute where we know a cheaper derivative than the one that JAX finds."""

import math
from collections.abc import Iterator
from functools import partial, reduce
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcifar.machine import sharing

_PARTS = 8  # of a batch, at most


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    about: jax.Array,
    epsilon: float,
    axis_name: str | None,
    copies: int = 1,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise a batch, exchanging one sum; its derivative keeps nothing but `x`.

    Args:
      x: `[..., C]`.
      scale: `[C]`.
      bias: `[C]`.
      about: `[C]`, what the mean is likely to be near: the devices' second moments are taken about
        it, so that little cancels.
      epsilon: added to the variance.
      axis_name: of the devices that share the batch.
      copies: how many parts the channels are of that are normalised alike, channel by channel.

    Returns:
      `[..., C] float32`, the batch's mean and its biased variance, `[C]`. Gradients flow through
      the first.
    """
    values = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    mean, var = values.mean(axes), values.var(axes)
    if axis_name is not None or copies > 1:
        moments = jnp.stack([mean - about, var + (mean - about) ** 2])
        offset, square = _over_all(moments, axis_name, copies)
        mean, var = about + offset, square - offset**2
    y = (values - mean) * (lax.rsqrt(var + epsilon) * scale) + bias
    return y, mean, var


def _over_all(values: jax.Array, axis_name: str | None, copies: int) -> jax.Array:
    """The mean of `[n, C]` over devices, and of each channel over the copies of it."""
    mean = sharing.total(values, axis_name) / sharing.devices(axis_name)
    return mean if copies == 1 else tiled(mean.reshape(len(mean), copies, -1).mean(1), copies)


def tiled(values: jax.Array, copies: int) -> jax.Array:
    """`[..., C]` -> `[..., copies C]`.

    By a product, which is an array of its own: a CPU's elementwise operations take twice the time
    where XLA makes a concatenation a part of them.
    """
    if copies == 1:
        return values
    identities = jnp.tile(jnp.eye(values.shape[-1]), copies)
    return jnp.matmul(values, identities, precision=lax.Precision.HIGHEST)


_Arrays = tuple[jax.Array, ...]


def _batch_norm_fwd(x: jax.Array, scale: jax.Array, *others: Any) -> tuple[_Arrays, _Arrays]:
    y, mean, var = batch_norm(x, scale, *others)
    return (y, mean, var), (x, scale, mean, var)


def _batch_norm_bwd(
    epsilon: float, axis_name: str | None, copies: int, residuals: _Arrays, grads: _Arrays
) -> _Arrays:
    x, scale, mean, var = residuals
    inverse = lax.rsqrt(var + epsilon)
    grad, axes = grads[0], tuple(range(x.ndim - 1))
    normalized = (x.astype(jnp.float32) - mean) * inverse
    sums = jnp.stack([grad.sum(axes), (grad * normalized).sum(axes)])
    by_mean, by_var = _over_all(sums, axis_name, copies) / (x.size // x.shape[-1])
    x_grad = (grad - by_mean - normalized * by_var) * (inverse * scale)
    return x_grad.astype(x.dtype), sums[1], sums[0], jnp.zeros_like(mean)


batch_norm.defvjp(_batch_norm_fwd, _batch_norm_bwd)


@jax.custom_vjp
def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A product over channels alone, `[B, H, W, C]` and `[C, K]` -> `[B, H, W, K]`.

    A CPU would bring all pixels into another order for the kernel's gradient, at a tenth of a
    step's time; as a sum over a few parts of the batch it takes them as they lie.
    """
    return x @ kernel


def _pointwise_bwd(
    arrays: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = arrays
    parts = math.gcd(len(x), _PARTS)
    x_parts, grad_parts = (array.reshape(parts, -1, array.shape[-1]) for array in (x, grad))
    return grad @ kernel.T, jnp.einsum("npc,npk->nck", x_parts, grad_parts).sum(0)


pointwise.defvjp(lambda x, kernel: (pointwise(x, kernel), (x, kernel)), _pointwise_bwd)


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """`max(x, 0)`; its derivative keeps the result, which the next layer keeps anyway."""
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (relu(x),) * 2, lambda y, grad: (jnp.where(y > 0, grad, 0),))


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """`x P(X <= x)` of a normal X (Hendrycks and Gimpel 2016), by PyTorch's exact formula.

    On a CPU a third of the time that `jax.nn.gelu` and its derivative take. Computed in float32: of
    a negative x, `1 + erf` has few digits left.
    """
    value = x.astype(jnp.float32)
    return (value * _normal_cdf(value)).astype(x.dtype)


def _gelu_bwd(x: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
    value = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * value * value) * (2 * math.pi) ** -0.5
    return ((grad * (_normal_cdf(value) + value * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_bwd)


def _normal_cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + lax.erf(x * 0.5**0.5))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: jax.Array, size: int, width: int) -> jax.Array:
    """Maximum over windows every `size` pixels, for a CPU.

    Of equal pixels the first has the gradient, as in PyTorch. On a CPU a fraction of the time that
    XLA's window reduction, or a reduction of reshaped pixels, takes with its gradient.

    Args:
      x: `[B, H, W, C]`.
      size: height of a window, and the distance from one to the next along both axes.
      width: of a window.

    Returns:
      `[B, H // size, (W - width) // size + 1, C]`.
    """
    return reduce(jnp.maximum, (pixel for _, pixel in _window_pixels(x, size, width)))


def _max_pool_bwd(
    size: int, width: int, arrays: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array]:
    x, most = arrays
    found, at_place = jnp.zeros(most.shape, bool), {}
    for place, pixel in _window_pixels(x, size, width):
        chosen = (pixel == most) & ~found
        found |= chosen
        at_place[place] = jnp.where(chosen, grad, 0)
    columns = -(-x.shape[2] // size)

    def of_column(i: int, j: int) -> jax.Array:
        """Where windows overlap, a column is the next window's too."""
        parts = [at_place[i, column] for column in range(j, width, size)]
        ends = [(k, columns - k - most.shape[2]) for k in range(len(parts))]
        none = (0, 0)
        return sum(jnp.pad(a, (none, none, end, none)) for a, end in zip(parts, ends, strict=True))

    rows = [jnp.stack([of_column(i, j) for j in range(size)], 3) for i in range(size)]
    x_grad = jnp.stack(rows, 2).reshape(len(x), most.shape[1] * size, columns * size, -1)
    x_grad = x_grad[:, :, : x.shape[2]]
    return (jnp.pad(x_grad, ((0, 0), (0, x.shape[1] - x_grad.shape[1]), (0, 0), (0, 0))),)


max_pool.defvjp(
    lambda x, size, width: (y := max_pool(x, size, width), (x, y)),
    _max_pool_bwd,
)


def _window_pixels(
    x: jax.Array, size: int, width: int
) -> Iterator[tuple[tuple[int, int], jax.Array]]:
    """Each place in a window, and that pixel of every window."""
    heights, widths = (x.shape[1] - size, x.shape[2] - width)
    for i, j in product(range(size), range(width)):
        yield (i, j), x[:, i : i + heights + 1 : size, j : j + widths + 1 : size]
