"""A network that learns CIFAR-10 in a few epochs.

With default arguments it has 1,971,352 parameters, and the layers and first weights of airbench94
(Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024). airbench94 is based on
hlb-CIFAR10 (Balsam, 2023), which is based on Page's "How to train your ResNet" (2018-19). With the
arguments of its recipe the network has 2,166,290 parameters.
"""

from functools import partial
from itertools import product
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.convolution import conv2d
from jaxcifar.networks.initializers import input_copying_initializer
from jaxcifar.networks.layers import GELU, BatchNorm, Conv, Dense, Dtype, MaxBlurPool, MaxPool
from jaxcifar.networks.mirrored import MirroredConv

_PATCH_SIZE = 2  # height and width of a whitened patch, in pixels
_WHITENING_EPSILON = 5e-4  # airbench's value; directions with less variance are hardly amplified
_STATISTICS_MOMENTUM = 0.6  # airbench's; with 0.9 the statistics lag behind in a short training
LOGIT_SCALE = 1 / 9  # hlb-CIFAR10's value; small logits keep the first, large steps stable


def whitening_kernel(
    images: Float32[Array, "images height width channels"],
) -> Float32[Array, "2 2 channels 8*channels"]:
    """Return a 2x2 kernel whose outputs for these images are uncorrelated with variance one.

    Page, "How to train your ResNet", part 8. The first half of the kernel's features are the
    eigenvectors of the covariance of 2x2 patches, each divided by the standard deviation of the
    patches along the eigenvector. The second half are the negatives of the first half, because the
    activation that follows nearly removes negative values.

    Args:
      images: images, normalised as in training.
    """
    channels = images.shape[-1]
    patches = jnp.concatenate(_patch_pixels(images), -1)
    matrix = _whitening_matrix(patches)
    kernel = matrix.reshape(_PATCH_SIZE, _PATCH_SIZE, channels, -1)
    return _append_negatives(kernel)


def mirrored_whitening_kernel(
    images: Float32[Array, "images height width channels"],
) -> Float32[Array, "2 2 channels 8*channels"]:
    """Return a 2x2 kernel that whitens images and their mirror images together.

    Mirroring a patch swaps its two columns of pixels. The sum of the columns stays the same, and
    their difference changes its sign, so the two are uncorrelated and are whitened separately. The
    kernel's features are four equal parts: features of the sum, their negatives, features of the
    difference, and their negatives.

    Args:
      images: images, normalised as in training.
    """
    top_left, top_right, bottom_left, bottom_right = _patch_pixels(images)
    left_column = jnp.concatenate((top_left, bottom_left), -1)
    right_column = jnp.concatenate((top_right, bottom_right), -1)
    kernel_of_sum = _kernel_for_columns(left_column, right_column, sign_of_right=1)
    kernel_of_difference = _kernel_for_columns(left_column, right_column, sign_of_right=-1)
    return jnp.concatenate([kernel_of_sum, kernel_of_difference], -1)


def _kernel_for_columns(left_column: Array, right_column: Array, sign_of_right: int) -> Array:
    """Return a kernel that whitens the sum (sign 1) or the difference (-1) of two columns.

    The second half of the kernel's features are the negatives of the first half.
    """
    root_2 = 2**0.5  # the sum and the difference of two columns, divided by it, keep the variance
    combined_columns = (left_column + sign_of_right * right_column) / root_2
    matrix = _whitening_matrix(combined_columns) / root_2
    channels = left_column.shape[-1] // _PATCH_SIZE
    left_weights = matrix.reshape(_PATCH_SIZE, channels, -1)
    right_weights = sign_of_right * left_weights
    column_axis = 1
    kernel = jnp.stack([left_weights, right_weights], column_axis)
    return _append_negatives(kernel)


def _patch_pixels(images: Array) -> list[Array]:
    """Return the pixels of all 2x2 patches: four arrays `[B, H - 1, W - 1, C]`, row by row."""
    _, image_height, image_width, _ = images.shape
    height, width = image_height - _PATCH_SIZE + 1, image_width - _PATCH_SIZE + 1
    positions = product(range(_PATCH_SIZE), repeat=2)
    return [images[:, row : row + height, column : column + width] for row, column in positions]


def _whitening_matrix(patches: Array) -> Array:
    """Return a matrix `[F, F]` that whitens patches of F numbers each.

    The F outputs of `patch @ matrix` are uncorrelated and have a variance of about one.
    """
    patches = patches.reshape(-1, patches.shape[-1])
    centred = patches - patches.mean(0)
    # An accelerator's default precision would lose small eigenvalues.
    covariance = jnp.matmul(centred.T, centred, precision=lax.Precision.HIGHEST) / len(patches)
    variances, directions = jnp.linalg.eigh(covariance)
    return directions / jnp.sqrt(jnp.maximum(variances, 0) + _WHITENING_EPSILON)


def _append_negatives(kernel: Array) -> Array:
    return jnp.concatenate([kernel, -kernel], -1)


class Whitening(nn.Module):
    """A 2x2 convolution without padding that whitens patches (Page, part 8).

    The kernel is computed from the images given to `init`, and is a variable of the collection
    "whitening". It is not trained, because the first, large steps would destroy it. The bias is
    trained, as in airbench. If `mirrored`, the last quarter of the features shares the biases of
    the quarter before it: mirroring an image swaps the two (see `mirrored_whitening_kernel`).
    """

    mirrored: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height-1 width-1 8*channels"]:
        compute_kernel = mirrored_whitening_kernel if self.mirrored else whitening_kernel
        kernel = self.variable("whitening", "kernel", compute_kernel, x).value
        feature_count = kernel.shape[-1]
        one_quarter = feature_count // 4
        shared_count = one_quarter if self.mirrored else 0
        learnt_count = feature_count - shared_count
        learnt_bias = self.param("bias", nn.initializers.zeros, (learnt_count,))
        shared_bias = learnt_bias[learnt_count - shared_count :]
        bias = jnp.concatenate([learnt_bias, shared_bias])
        x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        return conv2d(x, kernel, bias=bias, padding=(0, 0))


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
        for number in range(2, self.depth + 1):
            x = norm()(convolution()(x), train)
            is_last_convolution = number == self.depth
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
