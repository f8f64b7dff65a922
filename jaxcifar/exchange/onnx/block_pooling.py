"""Find reductions over blocks of images, such as 2x2 pixels, and compute them by pools."""

from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.axis_groups import axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Shape, Size, Tensor
from jaxcifar.exchange.onnx.pooling_nodes import MOST_SPATIAL_AXES, Windows, add_pool

_POOL_OF_REDUCTION = {"ReduceMax": "MaxPool", "ReduceSum": "AveragePool"}


def add_pool_of_blocks_if_found(
    graph: OnnxBuilder, x: Tensor, axes: Sequence[int], operation: str, shape: Shape
) -> Tensor | None:
    """Add a pool in place of a reduction over blocks; return None if there are no such blocks.

    The array must have been reshaped into blocks. For example,
    `images.reshape(B, H // 2, 2, W // 2, 2, C).max((2, 4))` is a max pool.

    Args:
      graph: the graph.
      x: the array that is reduced.
      axes: the axes over which it is reduced.
      operation: the reduction, such as "ReduceMax".
      shape: shape of the result.
    """
    images = graph.tensors_before_reshape.get(x)
    has_equivalent_pool = operation in _POOL_OF_REDUCTION and x.dtype == np.float32
    if images is None or not has_equivalent_pool:
        return None
    has_broadcast_axes = images.sizes_in_graph != images.shape
    if has_broadcast_axes:
        return None
    block_size = _block_size(images.shape, x.shape, axes)
    if block_size is None:
        return None
    axis_count = len(block_size)
    windows = Windows(
        size=block_size,
        strides=block_size,
        padding=[(0, 0)] * axis_count,
        dilation=[1] * axis_count,
    )
    unpooled_axis_count = axis_count - len(windows.pooled_axes)
    has_batch_and_channels = unpooled_axis_count >= 2
    pools_too_many_axes = len(windows.pooled_axes) > MOST_SPATIAL_AXES
    if not has_batch_and_channels or pools_too_many_axes:
        return None
    images_before_crop = graph.tensors_before_crop.get(images)
    if images_before_crop is not None:
        result_shape_without_crop = _window_counts(images_before_crop.shape, block_size)
        is_crop_unnecessary = result_shape_without_crop == shape
        if is_crop_unnecessary:
            images = images_before_crop
    return add_pool(graph, images, _POOL_OF_REDUCTION[operation], windows, shape)


def _block_size(
    shape_before: Shape, shape_in_blocks: Shape, reduced_axes: Sequence[int]
) -> list[int] | None:
    """Return the size of the blocks of an array that a reduction turns into one element each.

    Args:
      shape_before: shape of the array before it was reshaped into blocks.
      shape_in_blocks: shape of the array after it was reshaped into blocks.
      reduced_axes: the axes over which the array in blocks is reduced.

    Returns:
      the size of a block along each axis of `shape_before`; None if the array has no such blocks.
    """
    block_size = [1] * len(shape_before)
    for group in axis_groups(shape_before, shape_in_blocks):
        reduced_axes_of_group = [axis for axis in group.axes_after if axis in reduced_axes]
        has_no_blocks = not group.is_reshaped and not reduced_axes_of_group
        if has_no_blocks:
            continue
        is_split_into_blocks = len(group.axes_before) == 1 and len(group.axes_after) == 2
        if not is_split_into_blocks:
            return None
        [split_axis] = group.axes_before
        [_axis_of_blocks, axis_within_block] = group.axes_after
        reduces_each_block_to_one_element = reduced_axes_of_group == [axis_within_block]
        size_within_block = shape_in_blocks[axis_within_block]
        # The size of a window is a number in the graph, so it can't depend on the batch.
        if not reduces_each_block_to_one_element or not size_within_block.is_fixed:
            return None
        block_size[split_axis] = size_within_block.fixed_value
    return block_size


def _window_counts(array_shape: Shape, window_shape: Sequence[int]) -> Shape:
    """Return how many windows fit into an array along each axis, without overlap."""
    counts = []
    for size, window_size in zip(array_shape, window_shape, strict=True):
        count_for_two = size.for_two_images // window_size
        count_for_three = size.for_three_images // window_size
        counts.append(Size(count_for_two, count_for_three))
    return tuple(counts)
