"""A wide residual network (Zagoruyko and Komodakis 2016, "Wide residual networks", table 1)."""

from functools import partial

import jax
from flax import linen as nn


class Block(nn.Module):
    """Normalise, activate and convolve, twice; the skip is projected if the shape changes."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return `[B, H / stride, W / stride, features]` for inputs `[B, H, W, C]`."""
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        conv = partial(nn.Conv, use_bias=False, kernel_init=nn.initializers.he_normal())
        y = nn.relu(norm()(x))
        skip = x
        if x.shape[-1] != self.features or self.stride != 1:
            skip = conv(self.features, (1, 1), self.stride)(y)
        y = conv(self.features, (3, 3), self.stride)(y)
        y = nn.relu(norm()(y))
        return skip + conv(self.features, (3, 3))(y)


class WideResNet(nn.Module):
    """Three stages of (`depth` - 4) / 6 blocks; they have 16, 32 and 64 times `width` channels."""

    depth: int = 16
    width: int = 4
    num_classes: int = 10

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Return logits `[B, num_classes]` of images `[B, 32, 32, 3]`."""
        x = nn.Conv(16, (3, 3), use_bias=False, kernel_init=nn.initializers.he_normal())(images)
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(16 * self.width * 2**stage, stride)(x, train)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))
