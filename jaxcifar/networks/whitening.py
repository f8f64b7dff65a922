"""The first layer of FastNet: a convolution that whitens small patches of images."""

from itertools import product

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Float32
from jaxcifar.kernels.convolution import conv2d
from jaxcifar.networks.layers import Dtype

_PATCH_SIZE = 2  # height and width of a whitened patch, in pixels
_WHITENING_EPSILON = 5e-4  # airbench's value; directions with less variance are hardly amplified


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
    weights_of_combination = _whitening_matrix(combined_columns)
    weights_of_left_column = weights_of_combination / root_2
    channels = left_column.shape[-1] // _PATCH_SIZE
    left_weights = weights_of_left_column.reshape(_PATCH_SIZE, channels, -1)
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
        shared_count = feature_count // 4 if self.mirrored else 0
        learnt_count = feature_count - shared_count
        learnt_bias = self.param("bias", nn.initializers.zeros, (learnt_count,))
        shared_bias = learnt_bias[learnt_count - shared_count :]
        bias = jnp.concatenate([learnt_bias, shared_bias])
        x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        return conv2d(x, kernel, bias=bias, padding=(0, 0))
