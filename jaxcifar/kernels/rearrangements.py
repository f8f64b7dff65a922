"""Rearrangements of images and kernels, after which a convolution has a simpler form.

Each function replaces one property of a convolution: padding, dilation, stride, groups or a large
kernel. A convolution of the rearranged arrays has the same outputs.
"""

import math
from itertools import product

import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float32
from jaxcifar.kernels.axes import reorder_axes

Pair = tuple[int, ...]  # a number for the rows and a number for the columns
Paddings = tuple[tuple[int, int], ...]  # zeros above and below, left and right


def pad_images(
    x: Float32[Array, "batch height width channels"], padding: Paddings
) -> Float32[Array, "batch padded_height padded_width channels"]:
    """Add zeros around images; a negative number removes rows or columns instead."""
    pads = [(leading, trailing, 0) for leading, trailing in padding]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])


def dilation_to_batch(
    x: Float32[Array, "batch height width channels"],
    kernel_size: Pair,
    strides: Pair,
    dilation: Pair,
    output_extents: Pair,
) -> Float32[Array, "more_images part_height part_width channels"]:
    """Divide images for a dilated kernel into smaller images for an undilated kernel.

    Take an axis with dilation d and stride s. Output `d * j + r` reads pixel
    `s * r + d * (s * j + k)` for each weight k. So the outputs with the same r read every d-th
    pixel, beginning at pixel `s * r`. An undilated kernel with stride s computes these outputs.

    Args:
      x: images that are already padded.
      kernel_size: height and width of the kernel.
      strides: strides along both axes.
      dilation: distances between the pixels that neighbouring weights read.
      output_extents: height and width of the convolution's output.

    Returns:
      one batch of smaller images for each r of the rows and each r of the columns. The batches are
      concatenated; r of the columns changes first.
    """
    rows, columns = 0, 1
    for axis in (columns, rows):  # so that the rows are the slower index of the batch
        stride, distance, output_extent = strides[axis], dilation[axis], output_extents[axis]
        part_count = min(distance, output_extent)
        outputs_of_part = math.ceil(output_extent / distance)
        pixels_of_part = stride * (outputs_of_part - 1) + kernel_size[axis]
        extent_of_part = distance * (pixels_of_part - 1) + 1  # with the pixels between
        starts_of_parts = [stride * part for part in range(part_count)]
        extent_of_all_parts = starts_of_parts[-1] + extent_of_part
        axis_of_x = axis + 1  # after the batch
        x = _resize_axis(x, axis_of_x, extent_of_all_parts)
        parts = [
            lax.slice_in_dim(x, start, start + extent_of_part, distance, axis_of_x)
            for start in starts_of_parts
        ]
        x = jnp.concatenate(parts)
    return x


def batch_to_dilation(
    outputs: Float32[Array, "more_images part_height part_width features"],
    dilation: Pair,
    output_extents: Pair,
) -> Float32[Array, "batch {output_extents[0]} {output_extents[1]} features"]:
    """Return the outputs of a dilated convolution, whose parts were computed separately.

    Args:
      outputs: outputs for the smaller images into which `dilation_to_batch` divides images.
      dilation: distances between the pixels that neighbouring weights read.
      output_extents: height and width of the convolution's output.
    """
    height, width = output_extents
    row_parts = min(dilation[0], height)
    column_parts = min(dilation[1], width)
    _, part_height, part_width, features = outputs.shape
    parts = outputs.reshape(row_parts, column_parts, -1, part_height, part_width, features)
    interleaved = reorder_axes(
        parts,
        "row_part column_part image row column feature"
        " -> image row row_part column column_part feature",
    )
    images = interleaved.reshape(-1, part_height * row_parts, part_width * column_parts, features)
    return images[:, :height, :width]


def space_to_depth(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "rows columns inputs features"],
    strides: Pair,
    groups: int,
    output_extents: Pair,
) -> tuple[
    Float32[Array, "batch block_rows block_columns more_channels"],
    Float32[Array, "kernel_rows kernel_columns more_inputs features"],
]:
    """Return images and a kernel whose convolution at stride 1 replaces one with larger strides.

    Each block of pixels becomes one pixel with more channels. A block has as many rows and columns
    as the strides. Channels stay in their group.

    Args:
      x: images that are already padded.
      kernel: weights; `inputs` is the number of channels in a group.
      strides: strides along both axes.
      groups: number of groups of channels.
      output_extents: height and width of the convolution's output.
    """
    batch, _, _, channels = x.shape
    rows, columns, inputs, features = kernel.shape
    (row_stride, column_stride), (height, width) = strides, output_extents
    kernel_rows = math.ceil(rows / row_stride)
    kernel_columns = math.ceil(columns / column_stride)
    block_rows = height + kernel_rows - 1
    block_columns = width + kernel_columns - 1
    # A kernel smaller than a block does not read all pixels of the block.
    read_rows, read_columns = min(rows, row_stride), min(columns, column_stride)

    x = _resize_axis(x, 1, block_rows * row_stride)
    x = _resize_axis(x, 2, block_columns * column_stride)
    blocks = x.reshape(
        batch, block_rows, row_stride, block_columns, column_stride, groups, channels // groups
    )
    read_pixels = blocks[:, :, :read_rows, :, :read_columns]
    read_pixels = reorder_axes(
        read_pixels,
        "image block_row row block_column column group channel"
        " -> image block_row block_column group row column channel",
    )

    kernel = _resize_axis(kernel, 0, kernel_rows * read_rows)
    kernel = _resize_axis(kernel, 1, kernel_columns * read_columns)
    weights = kernel.reshape(kernel_rows, read_rows, kernel_columns, read_columns, inputs, features)
    weights = reorder_axes(
        weights,
        "block_row row block_column column input feature"
        " -> block_row block_column row column input feature",
    )
    new_images = read_pixels.reshape(batch, block_rows, block_columns, -1)
    new_kernel = weights.reshape(kernel_rows, kernel_columns, -1, features)
    return new_images, new_kernel


def _resize_axis(x: Array, axis: int, extent: int) -> Array:
    """Append zeros along an axis, or cut off its end, so that its length is `extent`."""
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (0, extent - x.shape[axis], 0)
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def join_groups(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "rows columns inputs features"],
    groups: int,
    set_count: int,
) -> tuple[
    Float32[Array, "{set_count} batch height width channels_of_set"],
    Float32[Array, "{set_count} rows columns channels_of_set features_of_set"],
]:
    """Divide a convolution with groups into convolutions without groups.

    Neighbouring groups of channels are joined to sets of equal size. In the kernel of a set, the
    weights between the inputs of a group and the outputs of another group are 0.

    Args:
      x: images.
      kernel: weights; `inputs` is the number of channels in a group.
      groups: number of groups of channels.
      set_count: number of sets, which divides `groups`.

    Returns:
      the images of each set, and the kernel of each set.
    """
    batch, height, width, _ = x.shape
    rows, columns, inputs, features = kernel.shape
    groups_of_set = groups // set_count
    channels_by_set = x.reshape(batch, height, width, set_count, -1)
    images_of_sets = jnp.moveaxis(channels_by_set, 3, 0)
    features_of_group = features // groups
    weights = kernel.reshape(rows, columns, inputs, set_count, groups_of_set, features_of_group)
    weights_of_groups = reorder_axes(
        weights, "row column input set group feature -> group set row column input feature"
    )
    # Not a product with an identity matrix: XLA's code for the gradient's sum over seven axes
    # ends the process on a CPU (jax 0.10.2).
    padded_weights = []
    for group, weights_of_group in enumerate(weights_of_groups):
        features_before = group * features_of_group
        features_after = features_of_group * (groups_of_set - 1 - group)
        no_pads_of_other_axes = [(0, 0)] * (weights_of_group.ndim - 1)
        pads = [*no_pads_of_other_axes, (features_before, features_after)]
        padded_weights.append(jnp.pad(weights_of_group, pads))
    input_axis = -2
    kernels_of_sets = jnp.concatenate(padded_weights, input_axis)
    return images_of_sets, kernels_of_sets


def split_kernel(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "rows columns channels features"],
    part_size: int,
) -> tuple[
    Float32[Array, "batch part_height part_width more_channels"],
    Float32[Array, "{part_size} {part_size} more_channels features"],
]:
    """Return images and a small kernel whose convolution replaces one with a large kernel.

    The large kernel is divided into parts of `part_size` x `part_size` weights. The new images have
    a shifted copy of all channels for each part. So one convolution computes all parts and adds
    them up.
    """
    rows, columns, channels, features = kernel.shape
    _, image_height, image_width, _ = x.shape
    row_parts = math.ceil(rows / part_size)
    column_parts = math.ceil(columns / part_size)
    kernel = _resize_axis(kernel, 0, row_parts * part_size)
    kernel = _resize_axis(kernel, 1, column_parts * part_size)
    weights = kernel.reshape(row_parts, part_size, column_parts, part_size, channels, features)
    weights = reorder_axes(
        weights,
        "row_part row column_part column channel feature"
        " -> row column row_part column_part channel feature",
    )
    new_kernel = weights.reshape(part_size, part_size, -1, features)

    part_height = image_height - rows + part_size
    part_width = image_width - columns + part_size
    x = _resize_axis(x, 1, part_height + (row_parts - 1) * part_size)
    x = _resize_axis(x, 2, part_width + (column_parts - 1) * part_size)
    first_rows = range(0, row_parts * part_size, part_size)  # of the parts
    first_columns = range(0, column_parts * part_size, part_size)
    shifted_images = [
        x[:, row : row + part_height, column : column + part_width]
        for row, column in product(first_rows, first_columns)
    ]
    return jnp.concatenate(shifted_images, axis=-1), new_kernel
