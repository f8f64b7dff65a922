"""ResNet-18 for 32x32 images, with 11,173,962 parameters.

He et al., "Deep residual learning for image recognition", 2016.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.activations import relu
from jaxcifar.networks.layers import BatchNorm, Conv, Dense, Dtype, ReLU


class ResBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection, with a 1x1 convolution if the shape changes."""

    features: int
    stride: int = 1
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch out_height out_width {self.features}"]:
        """Apply the block; out_height is ceil(height / stride), and out_width likewise."""
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        skip = x
        y = Conv(self.features, stride=self.stride, dtype=self.dtype)(x)
        y = ReLU()(norm()(y, train))
        y = Conv(self.features, dtype=self.dtype)(y)
        y = norm()(y, train)
        if skip.shape != y.shape:
            shortcut = Conv(self.features, 1, self.stride, dtype=self.dtype, name="shortcut")
            skip = shortcut(skip)
            skip = norm(name="shortcut_norm")(skip, train)
        return relu(y + skip)


class ResNet(nn.Module):
    """A 3x3 convolution and stages of residual blocks; all later stages begin with stride 2."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    num_classes: int = 10
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float32[Array, "batch {self.num_classes}"]:
        """Return the logits of images.

        In training mode (`train`), the collection "batch_stats" must be mutable.
        """
        x = Conv(self.widths[0], dtype=self.dtype)(x)
        x = ReLU()(BatchNorm(dtype=self.dtype, axis_name=self.axis_name)(x, train))
        stages = zip(self.widths, self.blocks, strict=True)
        for stage_number, (width, block_count) in enumerate(stages):
            for block_number in range(block_count):
                halves_image = stage_number > 0 and block_number == 0
                stride = 2 if halves_image else 1
                x = ResBlock(width, stride, self.dtype, self.axis_name)(x, train)
        x = x.mean((1, 2))
        return Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)
