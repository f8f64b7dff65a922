"""A network that learns CIFAR-10 in a few epochs.

With default arguments it has 1,971,352 parameters, and the layers and first weights of airbench94
(Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024). airbench94 is based on
hlb-CIFAR10 (Balsam, 2023), which is based on Page's "How to train your ResNet" (2018-19). With the
arguments of its recipe the network has 2,166,290 parameters.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.networks.initializers import input_copying_initializer
from jaxcifar.networks.layers import GELU, BatchNorm, Conv, Dense, Dtype, MaxBlurPool, MaxPool
from jaxcifar.networks.mirrored import MirroredConv
from jaxcifar.networks.whitening import Whitening

_STATISTICS_MOMENTUM = 0.6  # airbench's; with 0.9 the statistics lag behind in a short training
LOGIT_SCALE = 1 / 9  # hlb-CIFAR10's value; small logits keep the first, large steps stable


class ConvGroup(nn.Module):
    """3x3 convolutions, with a 2x2 pool directly after the first.

    The normalisation comes after the pool, so it has only a quarter of the pixels to normalise. In
    a group of three or more convolutions, the output of the first is added to the output of the
    last, as in airbench96: deep networks learn faster with such a skip connection. A smooth
    activation generalises better (Page, part 8); hlb-CIFAR10 chose GELU. The normalisations have no
    scale, because Page found that a scale changes little.
    """

    features: int
    depth: int = 2
    mirrored: bool = False  # half of the features are mirrored partners, see `MirroredConv`
    inputs_without_partner: int = 0  # input channels, if `mirrored`
    blurred: bool = False
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch height//2 width//2 {self.features}"]:
        convolution = partial(
            MirroredConv if self.mirrored else Conv,
            self.features,
            kernel_init=input_copying_initializer,
            dtype=self.dtype,
        )
        first_convolution = convolution
        if self.mirrored:
            first_convolution = partial(
                convolution, inputs_without_partner=self.inputs_without_partner
            )
        features_with_same_statistics = 2 if self.mirrored else 1  # a feature and its partner
        norm = partial(
            BatchNorm,
            _STATISTICS_MOMENTUM,
            use_scale=False,
            dtype=self.dtype,
            axis_name=self.axis_name,
            channel_groups=features_with_same_statistics,
        )
        pool = MaxBlurPool() if self.blurred else MaxPool(mirrored=self.mirrored)

        x = pool(first_convolution()(x))
        first_output = GELU()(norm()(x, train))
        x = first_output
        has_skip_connection = self.depth > 2
        for convolution_number in range(2, self.depth + 1):
            x = norm()(convolution()(x), train)
            is_last_convolution = convolution_number == self.depth
            if is_last_convolution and has_skip_connection:
                x = x + first_output
            x = GELU()(x)
        return x


def mean_of_maxima(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """Return for each channel the mean of the maxima over all windows of 2x2 pixels, stride 1."""
    for axis in (1, 2):
        extent = x.shape[axis]
        if extent > 1:
            pixels = lax.slice_in_dim(x, 0, extent - 1, axis=axis)
            next_pixels = lax.slice_in_dim(x, 1, extent, axis=axis)
            x = jnp.maximum(pixels, next_pixels)
    return x.mean((1, 2))


class FastNet(nn.Module):
    """A whitening convolution, groups of convolutions, a pool and a linear layer (Jordan 2024).

    Attributes:
      widths: number of features of each group.
      depths: number of convolutions in each group; two each by default.
      mirrored: give the same logits for an image and its mirror image (see `networks/mirrored.py`).
        The widths must be even. The linear layer gets sums over the image and its mirror image.
      blurred: pool by `MaxBlurPool`, and at the end by `mean_of_maxima` instead of the maximum.
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
        """The number of convolutions in each `ConvGroup`.

        Raises:
          ValueError: `depths` has more or fewer numbers than there are groups, or a number below 1.
        """
        depths = self.depths or (2,) * len(self.widths)
        if len(depths) != len(self.widths) or min(depths) < 1:
            raise ValueError(f"depths is {depths}; give one depth, at least 1, for each width")
        return depths

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool
    ) -> Float32[Array, "batch {self.num_classes}"]:
        """Return the logits of images.

        Call `init` with training images, because the whitening kernel is computed from them (Page,
        part 8). If `train`, the collection "batch_stats" must be mutable.
        """
        options: dict[str, Any] = {"dtype": self.dtype, "axis_name": self.axis_name}
        x = GELU()(Whitening(self.mirrored, self.dtype)(x))
        # Half of the whitened features have no mirrored partner: mirroring only mirrors them.
        inputs_without_partner = x.shape[-1] // 2
        for features, depth in zip(self.widths, self.group_depths, strict=True):
            group = ConvGroup(
                features, depth, self.mirrored, inputs_without_partner, self.blurred, **options
            )
            x = group(x, train)
            inputs_without_partner = 0  # of the groups that follow
        # Of 32x32 pixels, the whitening and three pools have left 3x3.
        rows_and_columns = (1, 2)
        x = mean_of_maxima(x) if self.blurred else x.max(rows_and_columns)
        if self.mirrored:
            batch = len(x)
            features_and_partners = x.reshape(batch, 2, -1)
            x = features_and_partners.sum(1)
        logits = Dense(self.num_classes, use_bias=False, dtype=self.dtype)(x)
        return LOGIT_SCALE * logits.astype(jnp.float32)
