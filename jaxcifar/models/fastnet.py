"""A network that learns CIFAR-10 in a few epochs: 1,971,352 parameters.

Layers and first weights are those of airbench94 (Jordan, "94% on CIFAR-10 in 3.29 seconds on a
single GPU", 2024), which descends from hlb-CIFAR10 (Balsam 2023) and that from Page's "How to train
your ResNet" (2018-19).
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcifar.models.convolution import conv2d
from jaxcifar.models.layers import GELU, BatchNorm, Conv, Dense, Dtype, MaxPool, torch_uniform

_SIZE = 2  # of a whitened patch, along both axes
_EPSILON = 5e-4  # airbench's: directions of less variance than this are hardly amplified
_STATS_KEPT = 0.6  # airbench's: averages over ten steps would lag behind so short a training
LOGIT_SCALE = 1 / 9  # hlb-CIFAR10's: logits that begin small keep the first, large steps stable


def whitening_kernel(images: jax.Array) -> jax.Array:
    """The 2x2 kernel whose outputs over these images are uncorrelated and of variance one.

    The eigenvectors of the patches' covariance, each divided by the deviation along it, and their
    negatives, so that an activation after them loses the sign of nothing (Page, part 8).

    Args:
      images: `[N, H, W, C] float32`, normalised as in training.

    Returns:
      `[2, 2, C, 8 C] float32`.
    """
    channels = images.shape[-1]
    height, width = (extent - _SIZE + 1 for extent in images.shape[1:3])
    spots = [images[:, i : i + height, j : j + width] for i in range(_SIZE) for j in range(_SIZE)]
    patches = jnp.concatenate(spots, -1).reshape(-1, _SIZE**2 * channels)
    centred = patches - patches.mean(0)
    # Small eigenvalues would drown in the rounding of an accelerator's default products.
    covariance = jnp.matmul(centred.T, centred, precision=lax.Precision.HIGHEST) / len(patches)
    variances, directions = jnp.linalg.eigh(covariance)
    scaled = directions / jnp.sqrt(jnp.maximum(variances, 0) + _EPSILON)
    return jnp.concatenate([scaled, -scaled], 1).reshape(_SIZE, _SIZE, channels, -1)


def identity_first(fan_in: int) -> nn.initializers.Initializer:
    """As `torch_uniform`, but of an odd kernel the first outputs begin as copies of the inputs.

    What is whitened then reaches the last layers from the first step on (Jordan).
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> jax.Array:
        height, width, inputs, outputs = shape
        copied = jnp.arange(min(inputs, outputs))
        kernel = torch_uniform(fan_in)(key, shape, dtype).at[..., : len(copied)].set(0)
        return kernel.at[height // 2, width // 2, copied, copied].set(1)

    return init


class Whitening(nn.Module):
    """A 2x2 convolution without padding that whitens patches.

    Its kernel is a variable "whitening", found from the images that it is initialised with and not
    trained: at the first, large steps it would be lost (Page, part 8). Its bias, a parameter, is
    airbench's.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` -> `[B, H - 1, W - 1, 8 C]`."""
        kernel = self.variable("whitening", "kernel", whitening_kernel, x).value
        bias = self.param("bias", nn.initializers.zeros, kernel.shape[-1:])
        arrays = (array.astype(self.dtype) for array in (x, kernel))
        return conv2d(*arrays, bias=bias.astype(self.dtype), padding=(0, 0))


class ConvGroup(nn.Module):
    """Two 3x3 convolutions; a 2x2 pool right after the first, to normalise a fourth of the pixels.

    The activation is smooth, which Page found to generalise better (part 8, of CELU); GELU is
    hlb-CIFAR10's. The scales of the normalisations, which Page found to move little, are left out.
    """

    features: int
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B, H, W, C]` -> `[B, H // 2, W // 2, features]`."""
        conv = partial(Conv, self.features, kernel_init=identity_first, dtype=self.dtype)
        norm = partial(
            BatchNorm, _STATS_KEPT, use_scale=False, dtype=self.dtype, axis_name=self.axis_name
        )
        x = MaxPool()(conv()(x))
        x = GELU()(norm()(x, train))
        return GELU()(norm()(conv()(x), train))


class FastNet(nn.Module):
    """Whitened patches, three groups of two convolutions, a pool and a linear head."""

    widths: tuple[int, ...] = (64, 256, 256)
    num_classes: int = 10
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Images `[B, 32, 32, 3]` -> logits `[B, num_classes] float32`.

        It is to be initialised with training images. Training needs the collection "batch_stats"
        mutable.
        """
        x = GELU()(Whitening(self.dtype)(x))
        for width in self.widths:
            x = ConvGroup(width, self.dtype, self.axis_name)(x, train)
        x = x.max((1, 2))  # over the 3x3 pixels that three halvings leave of 31x31
        logits = Dense(self.num_classes, use_bias=False, dtype=self.dtype)(x)
        return LOGIT_SCALE * logits.astype(jnp.float32)
