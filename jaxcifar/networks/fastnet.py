"""A network that learns CIFAR-10 in a few epochs; 2,166,290 parameters as its recipe has it.

Plain, with 1,971,352 parameters, its layers and first weights are those of airbench94 (Jordan, "94%
on CIFAR-10 in 3.29 seconds on a single GPU", 2024), which descends from hlb-CIFAR10 (Balsam 2023)
and that from Page's "How to train your ResNet" (2018-19).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.convolution import conv2d
from jaxcifar.networks.layers import (
    GELU,
    BatchNorm,
    Conv,
    Dense,
    Dtype,
    MaxBlurPool,
    MaxPool,
    torch_uniform,
)
from jaxcifar.networks.mirrored import MirroredConv

_SIZE = 2  # of a whitened patch, along both axes
_EPSILON = 5e-4  # airbench's: directions of less variance than this are hardly amplified
_STATS_KEPT = 0.6  # airbench's: averages over ten steps would lag behind so short a training
LOGIT_SCALE = 1 / 9  # hlb-CIFAR10's: logits that begin small keep the first, large steps stable


def whitening_kernel(
    images: Float32[Array, "images height width channels"],
) -> Float32[Array, "2 2 channels 8*channels"]:
    """The 2x2 kernel whose outputs over these images are uncorrelated and of variance one.

    The eigenvectors of the patches' covariance, each divided by the deviation along it, and their
    negatives, so that an activation after them loses the sign of nothing (Page, part 8).

    Args:
      images: are normalised as in training.
    """
    spots = _spots(images)
    directions = _whitening(jnp.concatenate(spots, -1))
    return _with_negatives(directions.reshape(_SIZE, _SIZE, images.shape[-1], -1))


def mirrored_whitening_kernel(
    images: Float32[Array, "images height width channels"],
) -> Float32[Array, "2 2 channels 8*channels"]:
    """As `whitening_kernel`, over these images and their mirror images together.

    What two columns have in common and what they differ in are uncorrelated there, so that each
    half is whitened by itself. First come the outputs that are the same in a mirror, then those
    that change their sign, which are the partners of their negatives.

    Args:
      images: are normalised as in training.
    """
    top_left, top_right, left, right = _spots(images)
    columns = [jnp.concatenate(column, -1) for column in ((top_left, left), (top_right, right))]
    halves = []
    for sign in (1, -1):
        directions = _whitening((columns[0] + sign * columns[1]) / 2**0.5) / 2**0.5
        rows = directions.reshape(_SIZE, images.shape[-1], -1)
        halves.append(_with_negatives(jnp.stack([rows, sign * rows], 1)))
    return jnp.concatenate(halves, -1)


def _spots(images: Array) -> list[Array]:
    """The pixels at each place of a patch, row by row, `[B, H - 1, W - 1, C]`."""
    height, width = (extent - _SIZE + 1 for extent in images.shape[1:3])
    return [images[:, i : i + height, j : j + width] for i in range(_SIZE) for j in range(_SIZE)]


def _whitening(values: Array) -> Array:
    """Of `[..., F]` the matrix `[F, F]` whose products with them have variance one."""
    values = values.reshape(-1, values.shape[-1])
    centred = values - values.mean(0)
    # Small eigenvalues would drown in the rounding of an accelerator's default products.
    covariance = jnp.matmul(centred.T, centred, precision=lax.Precision.HIGHEST) / len(values)
    variances, directions = jnp.linalg.eigh(covariance)
    return directions / jnp.sqrt(jnp.maximum(variances, 0) + _EPSILON)


def _with_negatives(kernel: Array) -> Array:
    return jnp.concatenate([kernel, -kernel], -1)


def identity_first(fan_in: int) -> nn.initializers.Initializer:
    """As `torch_uniform`, but of an odd kernel the first outputs begin as copies of the inputs.

    What is whitened then reaches the last layers from the first step on (Jordan).
    """

    def init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
        height, width, inputs, outputs = shape
        copied = jnp.arange(min(inputs, outputs))
        kernel = torch_uniform(fan_in)(key, shape, dtype).at[..., : len(copied)].set(0)
        return kernel.at[height // 2, width // 2, copied, copied].set(1)

    return init


class Whitening(nn.Module):
    """A 2x2 convolution without padding that whitens patches.

    Its kernel is a variable "whitening", found from the images that it is initialised with and not
    trained: at the first, large steps it would be lost (Page, part 8). Its bias, a parameter, is
    airbench's; partners share it.
    """

    mirrored: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height-1 width-1 8*channels"]:
        """Whiten the patches of images."""
        find = mirrored_whitening_kernel if self.mirrored else whitening_kernel
        kernel = self.variable("whitening", "kernel", find, x).value
        outputs = kernel.shape[-1]
        shared = outputs // 4 if self.mirrored else 0
        bias = self.param("bias", nn.initializers.zeros, (outputs - shared,))
        bias = jnp.concatenate([bias, bias[len(bias) - shared :]])
        arrays = x.astype(self.dtype), kernel.astype(self.dtype)
        return conv2d(*arrays, bias=bias.astype(self.dtype), padding=(0, 0))


class ConvGroup(nn.Module):
    """3x3 convolutions; a 2x2 pool right after the first, to normalise a fourth of the pixels.

    Of three or more, the last is given what the first one has found besides, as in airbench96: so
    deep a network learns faster with a short way through it.

    The activation is smooth, which Page found to generalise better (part 8, of CELU); GELU is
    hlb-CIFAR10's. The scales of the normalisations, which Page found to move little, are left out.
    """

    features: int
    depth: int = 2
    mirrored: bool = False
    unpaired: int = 0  # of its inputs; see `MirroredConv`
    blurred: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch height//2 width//2 {self.features}"]:
        """Apply the convolutions and the pool."""
        first: Callable[..., Conv] = Conv
        second: Callable[..., Conv] = Conv
        if self.mirrored:
            first, second = partial(MirroredConv, unpaired=self.unpaired), MirroredConv
        kernels: dict[str, Any] = {"kernel_init": identity_first, "dtype": self.dtype}
        norm = partial(
            BatchNorm,
            _STATS_KEPT,
            use_scale=False,
            dtype=self.dtype,
            axis_name=self.axis_name,
            copies=1 + self.mirrored,
        )
        pool = MaxBlurPool() if self.blurred else MaxPool(mirrored=self.mirrored)
        x = pool(first(self.features, **kernels)(x))
        x = found = GELU()(norm()(x, train))
        for number in range(2, self.depth + 1):
            x = norm()(second(self.features, **kernels)(x), train)
            x = GELU()(x + found if number == self.depth > 2 else x)
        return x


def mean_of_maxima(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """The mean of the maxima of all 2x2 pixels, of the same dtype."""
    for axis, extent in ((1, x.shape[1]), (2, x.shape[2])):
        if extent > 1:
            pixels = partial(lax.slice_in_dim, x, axis=axis)
            x = jnp.maximum(pixels(0, extent - 1), pixels(1, extent))
    return x.mean((1, 2))


class FastNet(nn.Module):
    """Whitened patches, groups of convolutions, a pool and a linear head.

    A group has `depths` convolutions, two if nothing is said, of `widths` outputs each.
    If it is `mirrored` (see `jaxcifar/networks/mirrored.py`), its widths are even and the head is
    given the sum of partners. With `blurred` its pools are `MaxBlurPool`s, and the head is
    given the mean of all maxima over 2x2 pixels instead of the maximum.
    """

    widths: tuple[int, ...] = (64, 256, 256)
    depths: tuple[int, ...] = ()
    mirrored: bool = False
    blurred: bool = False
    num_classes: int = 10
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @property
    def group_depths(self) -> tuple[int, ...]:
        """Convolutions of each group.

        Raises:
          ValueError: they are not one number a group, each at least 1.
        """
        depths = self.depths or (2,) * len(self.widths)
        if len(depths) != len(self.widths) or min(depths) < 1:
            raise ValueError(f"depths {depths}: give one for each of the widths, at least 1")
        return depths

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float32[Array, "batch {self.num_classes}"]:
        """Logits of images.

        It is to be initialised with training images. Training needs the collection "batch_stats"
        mutable.
        """
        shared: dict[str, Any] = {"dtype": self.dtype, "axis_name": self.axis_name}
        x = GELU()(Whitening(self.mirrored, self.dtype)(x))
        unpaired = x.shape[-1] // 2  # the same in a mirror: half of what is whitened, then none
        for width, depth in zip(self.widths, self.group_depths, strict=True):
            group = ConvGroup(width, depth, self.mirrored, unpaired, self.blurred, **shared)
            x, unpaired = group(x, train), 0
        # Over the 3x3 pixels that three halvings leave of 31x31.
        x = mean_of_maxima(x) if self.blurred else x.max((1, 2))
        if self.mirrored:
            x = x.reshape(len(x), 2, -1).sum(1)
        logits = Dense(self.num_classes, use_bias=False, dtype=self.dtype)(x)
        return LOGIT_SCALE * logits.astype(jnp.float32)
