"""Winograd's convolution, which needs few multiplications, all of them in matrix products.

Winograd, "On computing the discrete Fourier transform", 1978, in the two-dimensional form of Lavin
and Gray, "Fast algorithms for convolutional neural networks", 2016. A tile of m x m outputs of an
r x r kernel takes n^2 multiplications with n = m + r - 1, not m^2 r^2: the kernel and each tile are
transformed to n x n numbers, which are multiplied one by one. We call the n x n places of these
numbers points. Rounding errors grow with m. The matrices of the transforms were chosen for small
errors: Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution for deep
neural networks", 2020.

The operands of the products may be bfloat16, which a CPU multiplies faster if the sums are float32.
Elementwise operations are always float32, because they would be slower in bfloat16.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from jaxcifar.array_types import Float32
from jaxcifar.kernels.chunks import split_into_chunks
from jaxcifar.kernels.winograd_tiling import Extents, Tiling
from jaxcifar.kernels.winograd_transforms import (
    kernel_grad_from_points,
    outputs_from_points,
    pad_to_extents,
    transform_input_tiles,
    transform_kernel,
    transform_tiles,
)

_CHUNK_BYTES = 5 * 2**18  # of transformed images at a time, so that they fit a core's cache

Dtype = DTypeLike

_float32_einsum = partial(jnp.einsum, preferred_element_type=jnp.float32)

# In the subscripts of einsum: p for points, t for tiles, c for channels, f for features.
_OUTPUTS_AT_EACH_POINT = "ptc,pcf->ptf"
_KERNEL_GRAD_AT_EACH_POINT = "ptc,ptf->pcf"


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def winograd(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "size size channels features"],
    bias: Float32[Array, "features"],
    top_left_padding: int,
    output_extents: Extents,
    product_dtype: Dtype,
) -> Float32[Array, "batch {output_extents[0]} {output_extents[1]} features"]:
    """Convolve images with a kernel of 2 x 2 or 3 x 3, at stride 1, by Winograd's method.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      bias: added to every output.
      top_left_padding: zeros above and to the left of the image; below and to the right are as many
        zeros as the output needs.
      output_extents: height and width of the output.
      product_dtype: dtype to which the operands of matrix products are rounded, also in the
        computation of gradients.
    """
    tiling = Tiling(len(kernel), output_extents)
    # The kernel is transformed once, not in every chunk.
    transformed_kernel = transform_kernel(kernel, tiling).astype(product_dtype)

    def convolve_images(images: Array) -> Array:
        transformed_tiles = transform_input_tiles(images, top_left_padding, tiling)
        transformed_outputs = _float32_einsum(
            _OUTPUTS_AT_EACH_POINT, transformed_tiles.astype(product_dtype), transformed_kernel
        )
        return outputs_from_points(transformed_outputs, tiling) + bias

    chunks = _split_into_chunks(x, transformed_kernel, tiling)
    outputs_of_chunks = lax.map(convolve_images, chunks)
    batch, features = len(x), kernel.shape[-1]
    return outputs_of_chunks.reshape(batch, *output_extents, features)


def _winograd_fwd(
    x: Array, kernel: Array, *other_arguments: Any
) -> tuple[Array, tuple[Array, Array]]:
    return winograd(x, kernel, *other_arguments), (x, kernel)


def _winograd_bwd(
    top_left_padding: int,
    output_extents: Extents,
    product_dtype: Dtype,
    inputs: tuple[Array, Array],
    output_grad: Array,
) -> tuple[Array, Array, Array]:
    x, kernel = inputs
    kernel_size, image_extents, channels = len(kernel), x.shape[1:3], x.shape[-1]
    # The images' gradient is a convolution of the output's gradient with a turned kernel.
    turned_kernel = kernel[::-1, ::-1]
    kernel_from_features_to_channels = turned_kernel.swapaxes(2, 3)
    x_grad = winograd(
        output_grad,
        kernel_from_features_to_channels,
        bias=jnp.zeros(channels),
        top_left_padding=kernel_size - 1 - top_left_padding,
        output_extents=image_extents,
        product_dtype=product_dtype,
    )
    kernel_grad = _kernel_grad(x, output_grad, top_left_padding, kernel_size, product_dtype)
    batch_rows_columns = (0, 1, 2)
    bias_grad = output_grad.sum(batch_rows_columns)
    return x_grad, kernel_grad, bias_grad


winograd.defvjp(_winograd_fwd, _winograd_bwd)


def _kernel_grad(
    x: Array, output_grad: Array, top_left_padding: int, kernel_size: int, product_dtype: Dtype
) -> Array:
    """Return the gradient of a kernel of r x r weights, `[r, r, C, K]`.

    Args:
      x: images, `[B, H, W, C]`.
      output_grad: gradient of the output, `[B, H', W', K]`.
      top_left_padding: zeros above and to the left of the images.
      kernel_size: height and width r of the kernel.
      product_dtype: dtype to which the operands of products are rounded.
    """
    tiling = Tiling(kernel_size, output_grad.shape[1:3])
    output_to_points = tiling.matrices.to_output.T

    def add_images(total: Array, images_and_grads: tuple[Array, Array]) -> tuple[Array, None]:
        images, output_grads = images_and_grads
        padded_grads = pad_to_extents(output_grads, 0, tiling.covered_extents)
        image_tiles = transform_input_tiles(images, top_left_padding, tiling)
        grad_tiles = transform_tiles(padded_grads, output_to_points, tiling)
        grad_of_images = _float32_einsum(
            _KERNEL_GRAD_AT_EACH_POINT,
            image_tiles.astype(product_dtype),
            grad_tiles.astype(product_dtype),
        )
        return total + grad_of_images, None

    point_count = len(output_to_points) ** 2
    channels, features = x.shape[-1], output_grad.shape[-1]
    zeros = jnp.zeros((point_count, channels, features))
    image_chunks = _split_into_chunks(x, zeros, tiling)
    grad_chunks = _split_into_chunks(output_grad, zeros, tiling)
    grad_at_points, _ = lax.scan(add_images, zeros, (image_chunks, grad_chunks))
    return kernel_grad_from_points(grad_at_points, tiling)


def _split_into_chunks(x: Array, transformed_kernel: Array, tiling: Tiling) -> Array:
    """Divide a batch of images `[B, ...]` into chunks, `[chunks, images, ...]`.

    A transformed chunk fits a core's cache, but is at least as large as the transformed kernel,
    because the computation of each chunk reads the whole kernel.
    """
    point_count, channels, features = transformed_kernel.shape
    numbers_of_image = point_count * math.prod(tiling.tile_counts) * max(channels, features)
    bytes_of_image = numbers_of_image * x.dtype.itemsize
    max_bytes = max(_CHUNK_BYTES, transformed_kernel.nbytes)
    return split_into_chunks(x, max_bytes // bytes_of_image)
