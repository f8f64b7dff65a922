"""2-D convolution of any form by matrix products, for a CPU.

Before jaxlib 0.12, XLA's own convolution is 10 to 100 times slower inside a loop than outside. Its
gradient of a kernel can take seconds. Here images and kernel are rearranged until stride, dilation,
groups and padding are gone. Winograd's method or one matrix product computes what remains.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from jaxcifar.array_types import Float
from jaxcifar.kernels.chunks import largest_divisor, split_into_chunks
from jaxcifar.kernels.depthwise import depthwise
from jaxcifar.kernels.gradients import pointwise
from jaxcifar.kernels.im2col import convolve_by_im2col
from jaxcifar.kernels.rearrangements import (
    Paddings,
    Pair,
    batch_to_dilation,
    dilation_to_batch,
    join_groups,
    pad_images,
    space_to_depth,
    split_kernel,
)
from jaxcifar.kernels.winograd import winograd
from jaxcifar.kernels.winograd_tiling import Tiling

MAX_IM2COL_CHANNELS = 8  # with so few channels, products over channels only are inefficient
_WINOGRAD_OVERHEAD = 1.5  # for the time that its transforms take
_MAX_WIDTH_OF_JOINED_GROUPS = 32  # channels
_CHUNK_BYTES = 2**22  # of rearranged images at a time, unless the kernel is larger


@dataclass(frozen=True)
class Geometry:
    """The form of a convolution, besides the shapes of its images and its kernel.

    Attributes:
      strides: distances between the inputs of neighbouring outputs, along both axes.
      padding: zeros above and below, left and right; negative to remove rows or columns.
      dilation: distances between the pixels that neighbouring weights read, along both axes.
      groups: number of groups of channels; each group has its own weights.
    """

    strides: Pair
    padding: Paddings
    dilation: Pair = (1, 1)
    groups: int = 1

    def output_extents(self, images_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> Pair:
        """Return the height and width of the output; not positive if there is no output."""
        image_extents = images_shape[1:3]
        extents = []
        for axis, (leading_zeros, trailing_zeros) in enumerate(self.padding):
            padded_extent = leading_zeros + image_extents[axis] + trailing_zeros
            dilated_kernel_extent = self.dilation[axis] * (kernel_shape[axis] - 1) + 1
            possible_positions = padded_extent - dilated_kernel_extent + 1
            extents.append(math.ceil(possible_positions / self.strides[axis]))
        return tuple(extents)


def can_convolve_by_products(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows columns inputs features"],
    geometry: Geometry,
) -> bool:
    """Return True if `convolve_by_products` can compute a convolution.

    `convolve_by_products` computes in float32, so float32 must represent all values of the arrays'
    dtype exactly. Images, kernel and output must not be empty.
    """
    fits_float32 = jnp.promote_types(x.dtype, jnp.float32) == jnp.float32
    extents = geometry.output_extents(x.shape, kernel.shape)
    return fits_float32 and min(extents) > 0 and min(x.size, kernel.size) > 0


# Compiled by itself, so that JAX traces and differentiates equal convolutions only once.
@partial(jax.jit, static_argnames=("geometry", "product_dtype"))
def convolve_by_products(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows columns inputs features"],
    geometry: Geometry,
    product_dtype: DTypeLike | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images with a kernel of any size; sums are computed in float32.

    Args:
      x: images.
      kernel: weights; `inputs` is the number of channels in a group.
      geometry: strides, padding, dilation and groups.
      product_dtype: dtype to which the operands of matrix products are rounded where Winograd's
        method is used; None for float32.
    """
    images = pad_images(x.astype(jnp.float32), geometry.padding)
    weights = kernel.astype(jnp.float32)
    extents = geometry.output_extents(x.shape, kernel.shape)
    kernel_size = kernel.shape[:2]
    strides, dilation = _divide_by_common_factors(geometry.strides, geometry.dilation, kernel_size)
    row_factor, column_factor = geometry.strides[0] // strides[0], geometry.strides[1] // strides[1]
    read_pixels = images[:, ::row_factor, ::column_factor]
    parts = dilation_to_batch(read_pixels, kernel_size, strides, dilation, extents)
    part_extents = tuple(
        math.ceil(extent / distance) for extent, distance in zip(extents, dilation, strict=True)
    )
    convolve = partial(_convolve_undilated, product_dtype=product_dtype or jnp.float32)
    outputs_of_parts = convolve(parts, weights, strides, geometry.groups, part_extents)
    return batch_to_dilation(outputs_of_parts, dilation, extents).astype(x.dtype)


def _divide_by_common_factors(
    strides: Pair, dilation: Pair, kernel_size: Pair
) -> tuple[Pair, Pair]:
    """Return strides and dilation, divided by their common factor along each axis.

    With a common factor f, the convolution reads only every f-th pixel. If the other pixels are
    removed, the divided strides and dilation give the same outputs.
    """
    new_strides, new_dilation = [], []
    for stride, distance, weight_count in zip(strides, dilation, kernel_size, strict=True):
        # A single row or column of weights has no neighbours, so that its dilation has no effect.
        common_factor = stride if weight_count == 1 else math.gcd(stride, distance)
        new_strides.append(stride // common_factor)
        new_dilation.append(1 if weight_count == 1 else distance // common_factor)
    return tuple(new_strides), tuple(new_dilation)


def _convolve_undilated(
    x: Array,
    kernel: Array,
    strides: Pair,
    groups: int,
    output_extents: Pair,
    product_dtype: DTypeLike,
) -> Array:
    """Convolve padded images with an undilated kernel.

    Several groups of channels are joined to a set, which is convolved without groups.
    """
    _, _, inputs, features = kernel.shape
    if groups > 1 and inputs == 1:
        return _convolve_each_channel(x, kernel[:, :, 0], strides, output_extents)
    if max(strides) > 1:
        x, kernel = space_to_depth(x, kernel, strides, groups, output_extents)
    convolve = partial(_convolve_at_stride_1, product_dtype=product_dtype)
    if groups == 1:
        return convolve(x, kernel)
    group_width = max(kernel.shape[2], features // groups)
    groups_in_set = largest_divisor(groups, _MAX_WIDTH_OF_JOINED_GROUPS // group_width)
    images_and_kernels = join_groups(x, kernel, groups, set_count=groups // groups_in_set)
    outputs_of_sets = lax.map(lambda arrays: convolve(*arrays), images_and_kernels)
    outputs = jnp.moveaxis(outputs_of_sets, 0, 3)  # the sets before the features of each set
    return outputs.reshape(*outputs.shape[:3], features)


def _convolve_each_channel(x: Array, kernel: Array, strides: Pair, output_extents: Pair) -> Array:
    """Convolve with a kernel `[rows, columns, K]`, in which each feature reads one channel.

    Each of the C channels of the images has K / C features.
    """
    channels, features = x.shape[-1], kernel.shape[-1]
    repeated = jnp.repeat(x, features // channels, axis=-1)
    outputs_at_stride_1 = depthwise(repeated, kernel, ((0, 0), (0, 0)))
    outputs = outputs_at_stride_1[:, :: strides[0], :: strides[1]]
    height, width = output_extents
    return outputs[:, :height, :width]


def _convolve_at_stride_1(x: Array, kernel: Array, product_dtype: DTypeLike) -> Array:
    """Convolve padded images at stride 1, without groups, a chunk of the batch at a time."""
    rows, columns, _, _ = kernel.shape
    if rows == columns == 1:
        return pointwise(x, kernel[0, 0])
    output_extents = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    part_size = _size_of_winograd_parts(kernel.shape, output_extents)
    if part_size is None:
        copies = rows * columns
        convolve = convolve_by_im2col
    else:
        copies = math.ceil(rows / part_size) * math.ceil(columns / part_size)
        convolve = partial(
            _convolve_by_winograd,
            part_size=part_size,
            output_extents=output_extents,
            product_dtype=product_dtype,
        )
    max_bytes = max(_CHUNK_BYTES, kernel.nbytes)  # the computation of a chunk reads the kernel
    return _map_over_chunks(lambda images: convolve(images, kernel), x, copies, max_bytes)


def _size_of_winograd_parts(kernel_shape: Pair, output_extents: Pair) -> int | None:
    """Return the size of the parts into which to divide a kernel for Winograd's method, or None.

    A part has 2x2 or 3x3 weights, so the size is 2 or 3. None means that im2col is faster: a single
    matrix product with the whole kernel.
    """
    rows, columns, channels, _ = kernel_shape
    if channels <= MAX_IM2COL_CHANNELS:
        return None
    cost_of_im2col = math.prod((rows, columns, *output_extents))
    costs: dict[int | None, float] = {None: cost_of_im2col}
    for part_size in (3, 2):
        parts = math.ceil(rows / part_size) * math.ceil(columns / part_size)
        tiling = Tiling(part_size, output_extents)
        points_of_tile = (tiling.tile_size + part_size - 1) ** 2
        multiplications = parts * math.prod(tiling.tile_counts) * points_of_tile
        costs[part_size] = multiplications * _WINOGRAD_OVERHEAD
    return min(costs, key=lambda part_size: costs[part_size])


def _convolve_by_winograd(
    x: Array, kernel: Array, part_size: int, output_extents: Pair, product_dtype: DTypeLike
) -> Array:
    x, kernel = split_kernel(x, kernel, part_size)
    no_bias = jnp.zeros(kernel.shape[-1])
    leading_zeros = 0  # the images are padded already
    return winograd(x, kernel, no_bias, leading_zeros, output_extents, product_dtype)


def _map_over_chunks(
    convolve: Callable[[Array], Array], x: Array, copies: int, max_bytes: int
) -> Array:
    """Convolve a batch, one chunk of its images after another, to save memory.

    The gradient computes the rearranged images again, so they are not kept in memory.

    Args:
      convolve: rearranges and convolves a chunk; the rearranged images are larger than the chunk.
      x: the batch.
      copies: how many times larger the rearranged images are.
      max_bytes: most bytes of rearranged images in a chunk; a chunk of one image may have more.
    """
    batch_size = len(x)
    convolve = jax.checkpoint(convolve)
    bytes_of_image = copies * x.nbytes // batch_size
    chunks = split_into_chunks(x, max_bytes // bytes_of_image)
    if len(chunks) == 1:
        return convolve(x)
    outputs = lax.map(convolve, chunks)
    return outputs.reshape(batch_size, *outputs.shape[2:])
