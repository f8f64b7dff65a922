"""A small convolutional network with 551,722 parameters."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.activations import relu
from jaxcifar.networks.layers import BatchNorm, Conv, Dense, Dropout, Dtype, MaxPool

_CONVOLUTIONS_PER_STAGE = 2


class CNN(nn.Module):
    """Three stages of two convolutions and a 2x2 pool, then two dense layers."""

    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 128
    num_classes: int = 10
    dropout: float = 0.5
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float32[Array, "batch {self.num_classes}"]:
        """Return the logits of images.

        In training mode (`train`), the random stream "dropout" and a mutable collection
        "batch_stats" are needed.
        """
        for width in self.widths:
            for _ in range(_CONVOLUTIONS_PER_STAGE):
                x = Conv(width, use_bias=True, dtype=self.dtype)(x)
                x = relu(BatchNorm(dtype=self.dtype, axis_name=self.axis_name)(x, train))
            x = MaxPool()(x)
        flattened = x.reshape(len(x), -1)
        x = Dense(self.hidden, dtype=self.dtype)(flattened)
        x = relu(BatchNorm(dtype=self.dtype, axis_name=self.axis_name)(x, train))
        x = Dropout(self.dropout, axis_name=self.axis_name)(x, train)
        return Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)
