"""The layers of the networks; each computes the same as PyTorch's layer of the same name.

Parameters and statistics are float32. A layer computes in `dtype`, and its result has this dtype.
Weights and biases begin as in PyTorch, uniform in ±1/sqrt(fan_in), where fan_in is the number of
inputs to one output (`torch.nn` calls this He et al. 2015 with a = sqrt(5)).
"""

import math
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Int32
from jaxcifar.kernels.activations import gelu, relu
from jaxcifar.kernels.convolution import conv2d
from jaxcifar.kernels.gradients import batch_norm, repeat_channels
from jaxcifar.kernels.pools import max_pool, pair_maxima
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.machine import sharing
from jaxcifar.networks.initializers import torch_uniform

EXAMPLE_STREAM = "examples"  # a random stream that is the same on all devices


class Conv(nn.Module):
    """Convolution with a square kernel.

    The padding on every side is `padding` zeros; None means `kernel_size // 2` zeros. At stride 2,
    Flax's "SAME" would pad only on the right. On a CPU, the inputs of matrix products are rounded
    to `product_dtype`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = False
    padding: int | None = None
    kernel_init: Callable[[int], nn.initializers.Initializer] = torch_uniform  # of the fan_in
    dtype: Dtype = jnp.float32
    product_dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Convolve images; out_height is ceil(height / stride) for odd kernels by default."""
        kernel = self.weights(x.shape[-1], self.features)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        bias = None
        if self.use_bias:
            fan_in = kernel[..., 0].size
            bias = self.param("bias", torch_uniform(fan_in), (self.features,)).astype(self.dtype)
        padding = self.kernel_size // 2 if self.padding is None else self.padding
        return conv2d(x, kernel, self.stride, bias, (padding, padding), self.product_dtype)

    def weights(
        self, channels: int, features: int
    ) -> Float[Array, "{self.kernel_size} {self.kernel_size} {channels} {features}"]:
        """Return the kernel, a parameter, for `channels` inputs and `features` outputs."""
        filter_shape = (self.kernel_size, self.kernel_size, channels)
        fan_in = math.prod(filter_shape)
        return self.param("kernel", self.kernel_init(fan_in), (*filter_shape, features))


class Dense(nn.Module):
    """Matrix product with an optional bias (a fully connected layer)."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch {self.features}"]:
        init = torch_uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        product = x.astype(self.dtype) @ kernel.astype(self.dtype)
        if not self.use_bias:
            return product
        bias = self.param("bias", init, (self.features,))
        return product + bias.astype(self.dtype)


class BatchNorm(nn.Module):
    """Normalisation over all axes except the last (Ioffe and Szegedy 2015), as in PyTorch.

    In training the batch is normalised by its biased variance, and the running variance is updated
    with the unbiased variance. Flax's BatchNorm uses the biased variance for both, which gives
    other numbers in evaluation. If `axis_name` names a mapped axis of devices, statistics are
    computed over the batch of all devices. With `channel_groups` above 1, the channels are divided
    into that many equal groups, and all groups use the same parameters and statistics.
    """

    momentum: float = 0.9  # fraction of the running statistics that is kept at each step
    epsilon: float = 1e-5
    use_scale: bool = True
    dtype: Dtype = jnp.float32
    axis_name: str | None = None
    channel_groups: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "*others channels"], train: bool
    ) -> Float[Array, "*others channels"]:
        """Normalise a batch: by its own statistics if `train`, else by the running statistics."""
        group_size = x.shape[-1] // self.channel_groups
        repeat = partial(repeat_channels, repeats=self.channel_groups)
        if self.use_scale:
            scale = self.param("scale", nn.initializers.ones, (group_size,))
        else:
            scale = jnp.ones(group_size)
        bias = self.param("bias", nn.initializers.zeros, (group_size,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (group_size,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (group_size,))
        if not train:
            inverse_std = lax.rsqrt(running_var.value + self.epsilon)
            centred = x.astype(jnp.float32) - repeat(running_mean.value)
            normalized = centred * repeat(inverse_std * scale) + repeat(bias)
            return normalized.astype(self.dtype)
        scale, bias, mean_estimate = repeat(scale), repeat(bias), repeat(running_mean.value)
        dtype = jnp.dtype(self.dtype)
        normalized, repeated_mean, repeated_var = batch_norm(
            x, scale, bias, mean_estimate, self.epsilon, self.axis_name, self.channel_groups, dtype
        )
        samples_per_feature = (x.size // group_size) * sharing.device_count(self.axis_name)
        unbiased_factor = samples_per_feature / max(samples_per_feature - 1, 1)
        self._update_running_statistic(running_mean, repeated_mean[:group_size])
        group_var = repeated_var[:group_size] * unbiased_factor
        self._update_running_statistic(running_var, group_var)
        return normalized

    def _update_running_statistic(self, running: nn.Variable, batch_value: Array) -> None:
        running.value = self.momentum * running.value + (1 - self.momentum) * batch_value


class Dropout(nn.Module):
    """Set random activations to zero, and scale the others up (Srivastava et al. 2014)."""

    rate: float
    axis_name: str | None = None
    first_position: Int32[Array, ""] | None = None  # of a part of a batch, in the whole batch

    @nn.compact
    def __call__(self, x: Float[Array, "batch *rest"], train: bool) -> Float[Array, "batch *rest"]:
        """In training mode (`train`), set random activations to zero; otherwise change nothing."""
        if not train or self.rate == 0:
            return x
        stream = EXAMPLE_STREAM if self.has_rng(EXAMPLE_STREAM) else "dropout"
        key = self.make_rng(stream)
        positions = sharing.batch_positions(len(x), self.axis_name)
        if self.first_position is not None:
            positions += self.first_position
        keys = sharing.keys_at(key, positions)
        keep_probability = 1 - self.rate
        sample_mask = partial(jax.random.bernoulli, p=keep_probability, shape=x.shape[1:])
        is_kept = jax.vmap(sample_mask)(keys)
        return jnp.where(is_kept, x / keep_probability, 0)


class ReLU(nn.Module):
    """The activation max(x, 0) as a module, so that the table of a network's layers lists it."""

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return relu(x)


class GELU(nn.Module):
    """The activation GELU as a module, so that the table of a network's layers lists it."""

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return gelu(x)


class MaxPool(nn.Module):
    """Maximum over square windows side by side; pixels after the last window are dropped.

    With `mirrored`, no column is dropped: if the width is not a multiple of `window`, windows are
    widened by the remainder, and overlap. So a mirrored input gives a mirrored output.

    Only a CPU uses `max_pool`, which on a TPU moves a quarter more bytes than XLA's reduction.
    """

    window: int = 2
    mirrored: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height//{self.window} width//{self.window} channels"]:
        stride = self.window
        columns_left_over = x.shape[2] % stride
        window_width = stride + columns_left_over if self.mirrored else stride
        pool_on_cpu = partial(max_pool, stride=stride, window_width=window_width)
        pool_elsewhere = partial(_max_pool_by_reshaping, stride=stride)
        if window_width > stride:  # windows overlap
            window, strides = (stride, window_width), (stride, stride)
            pool_elsewhere = partial(nn.max_pool, window_shape=window, strides=strides)
        return lax.platform_dependent(x, cpu=pool_on_cpu, default=pool_elsewhere)


def _max_pool_by_reshaping(x: Array, stride: int) -> Array:
    channels = x.shape[-1]
    height, width = x.shape[1] // stride, x.shape[2] // stride
    x = x[:, : height * stride, : width * stride]
    # The gradient of a reduction over axes is cheaper than that of XLA's window reduction.
    windows = x.reshape(len(x), height, stride, width, stride, channels)
    return windows.max((2, 4))


class MaxBlurPool(nn.Module):
    """Halve height and width: each output is a maximum of pixels, or a mean of such maxima.

    Along an even extent a window has two pixels, and its result is their maximum. Along an odd
    extent it has three pixels and overlaps the next window by one. Its result is the mean of the
    maxima of its two pairs of pixels. Either way a mirrored input gives a mirrored output.

    If an image moves by one pixel, the mean of several maxima changes less than one maximum does
    (Zhang, "Making convolutional networks shift-invariant again", 2019; this is the smallest blur).

    A TPU uses XLA's window reductions, which move half as many bytes there. A GPU may add up their
    gradients in any order, so the same run could give different numbers.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height//2 width//2 channels"]:
        return lax.platform_dependent(x, tpu=mean_of_window_maxima, default=_mean_of_pair_maxima)


def mean_of_window_maxima(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height//2 width//2 channels"]:
    """Compute `MaxBlurPool` by XLA's window reductions: maxima of 2x2 pixels, then their means."""
    max_strides = tuple(1 if extent % 2 else 2 for extent in x.shape[1:3])
    mean_windows = tuple(2 if stride == 1 else 1 for stride in max_strides)
    maxima = nn.max_pool(x, (2, 2), max_strides)
    return nn.avg_pool(maxima, mean_windows, mean_windows)


def _mean_of_pair_maxima(x: Array) -> Array:
    maxima: list[Array] = []
    for row_maxima in pair_maxima(x, 1):
        maxima += pair_maxima(row_maxima, 2)
    return reduce(jnp.add, maxima) / len(maxima)
