"""Operations of layers, whose derivatives are cheaper than JAX's automatic derivatives."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.machine import sharing

_MAX_PARTS = 8  # of a batch


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def batch_norm(
    x: Float[Array, "*others channels"],
    scale: Float[Array, "channels"],
    bias: Float[Array, "channels"],
    about: Float[Array, "channels"],
    epsilon: float,
    axis_name: str | None,
    copies: int = 1,
) -> tuple[
    Float32[Array, "*others channels"], Float32[Array, "channels"], Float32[Array, "channels"]
]:
    """Normalise a batch with one exchange between devices; the derivative needs only `x`.

    Args:
      x: the batch.
      scale: factor of each normalised channel.
      bias: number added to each normalised and scaled channel.
      about: an estimate of the mean. Deviations from this estimate are squared, so that rounding
        loses few digits.
      epsilon: number added to the variance.
      axis_name: mapped axis of the devices that share the batch, or None.
      copies: number of equal groups of channels. Channels at the same place in each group share
        their mean and variance.

    Returns:
      the normalised batch, its mean and its biased variance. Only the batch has a gradient.
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


def _over_all(values: Array, axis_name: str | None, copies: int) -> Array:
    """Return the means of values `[n, C]` over devices and over the copies of each channel."""
    mean = sharing.sum_over_devices(values, axis_name) / sharing.device_count(axis_name)
    return mean if copies == 1 else tiled(mean.reshape(len(mean), copies, -1).mean(1), copies)


def tiled(
    values: Float[Array, "*others channels"], copies: int
) -> Float[Array, "*others {copies}*channels"]:
    """Repeat the channels `copies` times.

    This is done by a matrix product. A concatenation would be slower on a CPU: XLA would fuse it
    into the operations that follow, and double their time.
    """
    if copies == 1:
        return values
    identities = jnp.tile(jnp.eye(values.shape[-1]), copies)
    return jnp.matmul(values, identities, precision=lax.Precision.HIGHEST)


_Arrays = tuple[Array, ...]


def _batch_norm_fwd(
    x: Array, scale: Array, *others: Any
) -> tuple[tuple[Array, Array, Array], _Arrays]:
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
def pointwise(
    x: Float[Array, "batch height width channels"], kernel: Float[Array, "channels features"]
) -> Float[Array, "batch height width features"]:
    """Convolve with a 1x1 kernel, as a matrix product over the channels.

    For the kernel's gradient a CPU would reorder all pixels, which costs a tenth of a step's time.
    Computed as a sum over a few parts of the batch, the gradient needs no reordering.
    """
    return x @ kernel


def _pointwise_bwd(arrays: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = arrays
    parts = math.gcd(len(x), _MAX_PARTS)
    x_parts, grad_parts = (array.reshape(parts, -1, array.shape[-1]) for array in (x, grad))
    return grad @ kernel.T, jnp.einsum("npc,npk->nck", x_parts, grad_parts).sum(0)


pointwise.defvjp(lambda x, kernel: (pointwise(x, kernel), (x, kernel)), _pointwise_bwd)


@jax.custom_vjp
def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return `max(x, 0)`; the derivative is computed from the result, so `x` need not be kept."""
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (relu(x),) * 2, lambda y, grad: (jnp.where(y > 0, grad, 0),))


@jax.custom_vjp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return `x P(X <= x)` for a normal X (Hendrycks and Gimpel 2016), by PyTorch's exact formula.

    On a CPU, value and derivative take a third of the time of `jax.nn.gelu`. The value is computed
    in float32, because for negative x `1 + erf` has few correct digits.
    """
    value = x.astype(jnp.float32)
    return (value * _normal_cdf(value)).astype(x.dtype)


def _gelu_bwd(x: Array, grad: Array) -> tuple[Array]:
    value = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * value * value) * (2 * math.pi) ** -0.5
    return ((grad * (_normal_cdf(value) + value * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_bwd)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + lax.erf(x * 0.5**0.5))
