"""Operations of layers, whose derivatives are cheaper than JAX's automatic derivatives."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.machine import sharing

_MAX_BATCH_PARTS = 8


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6, 7))
def batch_norm(
    x: Float[Array, "*others channels"],
    scale: Float[Array, "channels"],
    bias: Float[Array, "channels"],
    mean_estimate: Float[Array, "channels"],
    epsilon: float,
    axis_name: str | None,
    channel_groups: int = 1,
    dtype: Dtype = jnp.float32,
) -> tuple[
    Float[Array, "*others channels"], Float32[Array, "channels"], Float32[Array, "channels"]
]:
    """Normalise a batch (BatchNorm); devices that share the batch exchange data only once.

    For the derivative, only `x` and a few numbers per channel are kept in memory.

    Args:
      x: the batch.
      scale: factor of each normalised channel.
      bias: number added to each normalised and scaled channel.
      mean_estimate: an estimate of the mean. Accelerators square deviations from it, so that
        rounding loses few digits.
      epsilon: number added to the variance.
      axis_name: mapped axis of the devices that share the batch, or None.
      channel_groups: number of equal groups of channels. Channels at the same place in each group
        share their mean and variance.
      dtype: dtype of the normalised batch.

    Returns:
      the normalised batch, and the mean and the biased variance of `x`. A loss may depend on the
      normalised batch only: gradients of the mean and of the variance are ignored.
    """
    axes = tuple(range(x.ndim - 1))  # all but the channels
    x, x_to_sum, x_to_square = _separate_uses(x, 3)
    mean, var = lax.platform_dependent(
        x_to_sum,
        x_to_square,
        mean_estimate,
        cpu=partial(_mean_and_var_on_cpu, axes=axes),
        default=partial(_mean_and_var_on_accelerator, axes=axes),
    )
    if axis_name is not None or channel_groups > 1:
        # The mean of the deviations from the estimate, and the mean of their squares.
        moments = jnp.stack([mean - mean_estimate, var + (mean - mean_estimate) ** 2])
        mean_deviation, mean_squared_deviation = _mean_over_devices_and_groups(
            moments, axis_name, channel_groups
        )
        mean = mean_estimate + mean_deviation
        var = mean_squared_deviation - mean_deviation**2
    centred = x.astype(jnp.float32) - mean
    normalized = centred * (lax.rsqrt(var + epsilon) * scale) + bias
    return normalized.astype(dtype), mean, var


def _separate_uses(x: Array, count: int) -> tuple[Array, ...]:
    """Return `count` equal arrays; a CPU converts each of them to float32 where it is used.

    Otherwise XLA would convert a bfloat16 array once, write the result to memory and read it again
    for each use, which takes five times as long.
    """
    if x.dtype != jnp.bfloat16:
        return (x,) * count
    return lax.platform_dependent(
        x,
        cpu=lambda x: lax.optimization_barrier((x,) * count),
        default=lambda x: (x,) * count,
    )


def _mean_and_var_on_cpu(
    x: Array, x_to_square: Array, mean_estimate: Array, axes: tuple[int, ...]
) -> tuple[Array, Array]:
    """Return the mean and the biased variance over `axes`, in float32.

    The variance of bfloat16 values is the mean of their squares minus the squared mean. This loses
    digits where the mean is far larger than the deviation. There, rounding to bfloat16 has lost
    most digits of the deviation already.
    """
    del mean_estimate
    mean = x.astype(jnp.float32).mean(axes)
    if x.dtype != jnp.bfloat16:
        return mean, x.astype(jnp.float32).var(axes)
    mean_square = jnp.square(x_to_square.astype(jnp.float32)).mean(axes)
    return mean, jnp.maximum(mean_square - mean * mean, 0)


def _mean_and_var_on_accelerator(
    x: Array, x_to_square: Array, mean_estimate: Array, axes: tuple[int, ...]
) -> tuple[Array, Array]:
    del x_to_square
    return mean_and_var_in_one_pass(x.astype(jnp.float32), mean_estimate, axes)


def mean_and_var_in_one_pass(
    x: Float32[Array, "*others channels"],
    mean_estimate: Float[Array, "channels"],
    axes: tuple[int, ...],
) -> tuple[Float32[Array, "channels"], Float32[Array, "channels"]]:
    """Return the mean and the biased variance over `axes`, from two sums in one pass over `x`.

    An accelerator is limited by the bytes that it moves, and a variance after the mean would read
    `x` again. Deviations from an estimate of the mean are squared, so that rounding loses few
    digits.
    """
    deviations = x - mean_estimate
    mean_deviation = deviations.mean(axes)
    var = (deviations * deviations).mean(axes) - mean_deviation**2
    return mean_estimate + mean_deviation, jnp.maximum(var, 0)


def _mean_over_devices_and_groups(
    values: Array, axis_name: str | None, channel_groups: int
) -> Array:
    """Return the means of values `[n, C]` over devices and over equal groups of channels.

    `axis_name` is the mapped axis of the devices, or None for a single device. There are
    `channel_groups` groups; channels at the same place in each group get the same mean.
    """
    device_mean = sharing.sum_over_devices(values, axis_name) / sharing.device_count(axis_name)
    if channel_groups == 1:
        return device_mean
    group_mean = device_mean.reshape(len(device_mean), channel_groups, -1).mean(1)
    return repeat_channels(group_mean, channel_groups)


def repeat_channels(
    values: Float[Array, "*others channels"], repeats: int
) -> Float[Array, "*others {repeats}*channels"]:
    """Repeat all channels, as a group, `repeats` times.

    This is done by a matrix product. A concatenation would be slower on a CPU: XLA would fuse it
    into the operations that follow, and double their time.
    """
    if repeats == 1:
        return values
    repeated_identity = jnp.tile(jnp.eye(values.shape[-1]), repeats)
    return jnp.matmul(values, repeated_identity, precision=lax.Precision.HIGHEST)


_Arrays = tuple[Array, ...]


def _batch_norm_fwd(
    x: Array, scale: Array, *other_arguments: Any
) -> tuple[tuple[Array, Array, Array], _Arrays]:
    normalized, mean, var = batch_norm(x, scale, *other_arguments)
    return (normalized, mean, var), (x, scale, mean, var)


def _batch_norm_bwd(
    epsilon: float,
    axis_name: str | None,
    channel_groups: int,
    dtype: Dtype,
    residuals: _Arrays,
    grads: _Arrays,
) -> _Arrays:
    x, scale, mean, var = residuals
    grad, _, _ = grads  # mean and variance have no gradient
    axes = tuple(range(x.ndim - 1))  # all but the channels
    inverse_std = lax.rsqrt(var + epsilon)
    x, x_to_multiply = _separate_uses(x, 2)
    grad, grad_to_sum, grad_to_multiply = _separate_uses(grad, 3)
    normalized = (x.astype(jnp.float32) - mean) * inverse_std
    grad = grad.astype(jnp.float32)
    grad_sum = grad_to_sum.astype(jnp.float32).sum(axes)
    grad_times_normalized_sum = (grad * normalized).sum(axes)
    is_bfloat16 = x.dtype == jnp.bfloat16 and dtype == jnp.bfloat16
    if is_bfloat16:
        # XLA on a CPU would write the normalised images before it sums. This form avoids that.
        products = grad_to_multiply.astype(jnp.float32) * x_to_multiply.astype(jnp.float32)
        sum_on_cpu = (products.sum(axes) - mean * grad_sum) * inverse_std
        grad_times_normalized_sum = _choose_by_platform(sum_on_cpu, grad_times_normalized_sum)
    bias_and_scale_grads = jnp.stack([grad_sum, grad_times_normalized_sum])
    values_per_channel = x.size // x.shape[-1]
    mean_over_devices = _mean_over_devices_and_groups(
        bias_and_scale_grads, axis_name, channel_groups
    )
    grad_mean, grad_times_normalized_mean = mean_over_devices / values_per_channel
    x_grad = grad - grad_mean - normalized * grad_times_normalized_mean
    x_grad = x_grad * (inverse_std * scale)
    scale_grad = bias_and_scale_grads[1]
    bias_grad = bias_and_scale_grads[0]
    x_grad = x_grad.astype(x.dtype)
    mean_estimate_grad = jnp.zeros_like(mean)
    return x_grad, scale_grad, bias_grad, mean_estimate_grad


def _choose_by_platform(on_cpu: Array, elsewhere: Array) -> Array:
    """Return the first array if the program runs on a CPU, and the second one otherwise."""
    return lax.platform_dependent(
        on_cpu,
        elsewhere,
        cpu=lambda on_cpu, _: on_cpu,
        default=lambda _, elsewhere: elsewhere,
    )


batch_norm.defvjp(_batch_norm_fwd, _batch_norm_bwd)


@jax.custom_vjp
def pointwise(
    x: Float[Array, "batch height width channels"], kernel: Float[Array, "channels features"]
) -> Float[Array, "batch height width features"]:
    """Convolve with a 1x1 kernel, as a matrix product over the channels.

    For the kernel's gradient as one product, a CPU would reorder all pixels in memory, which takes
    a tenth of a training step. So the gradient is a sum of products: one for each of up to
    `_MAX_BATCH_PARTS` parts of the batch. These products need no reordering.
    """
    return x @ kernel


def _pointwise_bwd(inputs: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    part_count = math.gcd(len(x), _MAX_BATCH_PARTS)
    x_parts = x.reshape(part_count, -1, x.shape[-1])
    grad_parts = grad.reshape(part_count, -1, grad.shape[-1])
    kernel_grad = jnp.einsum("npc,npk->nck", x_parts, grad_parts).sum(0)
    return grad @ kernel.T, kernel_grad


pointwise.defvjp(lambda x, kernel: (pointwise(x, kernel), (x, kernel)), _pointwise_bwd)
