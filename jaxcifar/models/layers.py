"""The layers both networks are made of, computing what PyTorch's layers of that name compute.

Images are `[B, H, W, C]`. Parameters and statistics are float32; `dtype` is what a layer computes
in and returns. Weights and biases start as PyTorch's do: uniform in ±1/sqrt(fan_in), fan_in being
the number of inputs to one output (He et al. 2015 with a = sqrt(5), as `torch.nn` calls it).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

Dtype = jnp.dtype | type


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's default initialisation, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Conv(nn.Module):
    """Convolution with an odd square kernel, padded by `kernel_size // 2` zeros on every side.

    At stride 2 that differs from "SAME", which pads only on the right.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` -> `[B, ceil(H / stride), ceil(W / stride), features]`."""
        size, pad = self.kernel_size, self.kernel_size // 2
        init = torch_uniform(size * size * x.shape[-1])
        kernel = self.param("kernel", init, (size, size, x.shape[-1], self.features))
        y = lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=[(pad, pad), (pad, pad)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if self.use_bias:
            y += self.param("bias", init, (self.features,)).astype(self.dtype)
        return y


class Dense(nn.Module):
    """Matrix product with bias."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, F]` -> `[B, features]`."""
        init = torch_uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,))
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)


class BatchNorm(nn.Module):
    """Normalisation over all axes but the last (Ioffe and Szegedy 2015), as PyTorch has it.

    In training the batch is normalised by its own biased variance while the running variance
    takes in the unbiased one; Flax's BatchNorm takes the biased one there too, which shows in
    evaluation. Statistics are float32 whatever `dtype` is.
    """

    momentum: float = 0.9  # the part of the running statistics kept at a step
    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[..., C]` -> `[..., C]`; updates the collection `batch_stats` if `train`."""
        features = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,))
        x = x.astype(jnp.float32)
        if train:
            axes = tuple(range(x.ndim - 1))
            mean, var = x.mean(axes), x.var(axes)
            count = x.size // features
            self._keep(running_mean, mean)
            self._keep(running_var, var * (count / max(count - 1, 1)))
        else:
            mean, var = running_mean.value, running_var.value
        return ((x - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias).astype(self.dtype)

    def _keep(self, running: nn.Variable, batch: jax.Array) -> None:
        running.value = self.momentum * running.value + (1 - self.momentum) * batch


class ReLU(nn.Module):
    """`max(x, 0)`, as a module where the layer table lists it."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Any shape."""
        return nn.relu(x)


class MaxPool(nn.Module):
    """Maximum over 2x2 windows, stride 2."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` with even H and W -> `[B, H / 2, W / 2, C]`."""
        batch, height, width, channels = x.shape
        # As a reduction, whose gradient is cheaper than that of XLA's window reduction.
        return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
