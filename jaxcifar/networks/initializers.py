"""The weights that layers begin with."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcifar.kernels.winograd import Dtype


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Return PyTorch's default initializer: uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def input_copying_initializer(fan_in: int) -> nn.initializers.Initializer:
    """Return an initializer for convolutions whose first output channels copy the input channels.

    The other output channels have `torch_uniform` weights. So the input of the first layer reaches
    the last layers from the first step on (Jordan 2024). The kernel's size must be odd.
    """

    def init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
        height, width, inputs, outputs = shape
        copied_channels = jnp.arange(min(inputs, outputs))
        random_kernel = torch_uniform(fan_in)(key, shape, dtype)
        kernel = random_kernel.at[..., : len(copied_channels)].set(0)
        centre_row, centre_column = height // 2, width // 2
        # Output channel i is input channel i: a single weight 1, at the centre of the kernel.
        input_channels = output_channels = copied_channels
        return kernel.at[centre_row, centre_column, input_channels, output_channels].set(1)

    return init
