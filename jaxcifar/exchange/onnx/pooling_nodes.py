"""Convert pools: maxima and sums over windows."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.axis_groups import axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Shape, Size, Tensor, UnconvertibleError, product
from jaxcifar.exchange.onnx.traced_step import Step, only_input

# The pool that computes a reduction over windows that lie side by side.
_POOLS = {"ReduceMax": "MaxPool", "ReduceSum": "AveragePool"}
_MOST_SPATIAL_AXES = 3  # of ONNX Runtime's pools


def convert_max_pool(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node of a pool that takes the maximum of each window."""
    return _convert_pool(graph, step, "MaxPool")


def convert_min_pool(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a pool that takes minima: the negative maxima of the negative values."""
    return _convert_pool(graph, step, "MaxPool", takes_minima=True)


def convert_sum_pool(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a pool that takes sums: means times the number of elements in a window."""
    return _convert_pool(graph, step, "AveragePool")


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a pool; each attribute has an entry for every axis of the array.

    Attributes:
      size: number of elements in a window.
      strides: distance between windows.
      padding: numbers of elements that are added before and after the array.
      dilation: distance between the elements of a window.
    """

    size: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    dilation: Sequence[int]

    @property
    def pooled_axes(self) -> list[int]:
        """The axes along which the windows have several elements, or strides larger than 1."""
        axes = range(len(self.size))
        return [axis for axis in axes if self.size[axis] != 1 or self.strides[axis] != 1]

    def check_padding(self) -> None:
        """Raise UnconvertibleError for padding that ONNX Runtime does not take."""
        for size, dilation, zeros in zip(self.size, self.dilation, self.padding, strict=True):
            extent = (size - 1) * dilation + 1
            if min(zeros) < 0 or max(zeros) >= extent:
                raise UnconvertibleError(
                    "a pool with as much padding as a window can't be converted; use less padding"
                )


def _convert_pool(
    graph: OnnxBuilder, step: Step, operation: str, takes_minima: bool = False
) -> Tensor:
    """Add the nodes of a pool, "MaxPool" or "AveragePool"; return its result.

    ONNX has no pool that takes minima. If `takes_minima` is True, a "MaxPool" gets the negative
    values, and its result is negated.
    """
    x = only_input(step)
    params = step.params
    windows = Windows(
        size=params["window_dimensions"],
        strides=params["window_strides"],
        padding=params["padding"],
        dilation=params["window_dilation"],
    )
    _check_pool(step, operation, windows)
    has_windows_of_one_element = not windows.pooled_axes
    if has_windows_of_one_element:
        return x
    if not takes_minima:
        return _add_pool(graph, x, operation, windows, step.shape)
    negative_x = dataclasses.replace(x, name=graph.add_node("Neg", x.name))
    negative_minima = _add_pool(graph, negative_x, operation, windows, step.shape)
    return dataclasses.replace(negative_minima, name=graph.add_node("Neg", negative_minima.name))


def _check_pool(step: Step, operation: str, windows: Windows) -> None:
    """Raise UnconvertibleError if the node `operation` of ONNX Runtime can't compute a pool."""
    windows.check_padding()
    if only_input(step).dtype != np.float32:
        raise UnconvertibleError("a pool of integers can't be converted; pool floats")
    has_dilated_inputs = set(step.params["base_dilation"]) != {1}
    if has_dilated_inputs:
        raise UnconvertibleError(
            "a pool with dilated inputs can't be converted; do not dilate them"
        )
    has_gaps_in_windows = set(windows.dilation) != {1}
    if operation == "AveragePool" and has_gaps_in_windows:
        raise UnconvertibleError(
            "sums over windows with gaps can't be converted; use windows without gaps"
        )


def _add_pool(
    graph: OnnxBuilder, x: Tensor, operation: str, windows: Windows, shape: Shape
) -> Tensor:
    """Add the nodes of a pool; return its result: the maximum or the sum of each window.

    Args:
      graph: the graph.
      x: the array.
      operation: "MaxPool" for maxima, "AveragePool" for sums.
      windows: the windows.
      shape: the result's shape.
    """
    axes = range(len(shape))
    other_axes = [axis for axis in axes if axis not in windows.pooled_axes]
    if len(other_axes) < 2:
        raise UnconvertibleError(
            "a pool of an array without batch and channels can't be converted; do not pool along "
            "these two axes"
        )
    batch_axis, channel_axis = other_axes[0], other_axes[-1]
    # ONNX pools over all axes but two, for example over height and width.
    spatial_axes = [axis for axis in axes if axis not in (batch_axis, channel_axis)]
    must_join_axes = len(spatial_axes) > _MOST_SPATIAL_AXES
    if must_join_axes:  # the batch and all other axes except the last become one axis
        spatial_axes = windows.pooled_axes
    if len(spatial_axes) > _MOST_SPATIAL_AXES:
        raise UnconvertibleError(
            f"a pool along more than {_MOST_SPATIAL_AXES} axes can't be converted; pool along "
            "fewer axes at a time"
        )
    attributes = {
        "kernel_shape": [windows.size[axis] for axis in spatial_axes],
        "strides": [windows.strides[axis] for axis in spatial_axes],
    }
    added_before = [windows.padding[axis][0] for axis in spatial_axes]
    added_after = [windows.padding[axis][1] for axis in spatial_axes]
    if any(added_before + added_after):
        attributes["pads"] = added_before + added_after
    if set(windows.dilation) != {1}:
        attributes["dilations"] = [windows.dilation[axis] for axis in spatial_axes]
    order = (batch_axis, channel_axis, *spatial_axes)
    if must_join_axes:
        order = (*other_axes, *spatial_axes)
    name = graph.reorder_and_expand(x, order).name
    if must_join_axes:
        joined_size = product(x.shape[axis] for axis in other_axes[:-1])
        sizes = [x.shape[axis] for axis in (channel_axis, *spatial_axes)]
        name = graph.add_reshape(name, [joined_size, *sizes])
    if operation == "MaxPool":
        name = graph.add_node("MaxPool", name, **attributes)
    else:
        means = graph.add_node("AveragePool", name, count_include_pad=1, **attributes)
        name = graph.add_node("Mul", means, graph.add_scalar(math.prod(windows.size)))
    if must_join_axes:
        name = graph.add_reshape(name, [shape[axis] for axis in order])
    return Tensor(name, shape, shape, order, x.dtype)


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
    images = graph.tensors_before_reshape.get(x)  # before the reshape into blocks
    if images is None or operation not in _POOLS or x.dtype != np.float32:
        return None
    has_repeats = images.sizes_in_graph != images.shape
    if has_repeats:
        return None
    size = _block_size(images.shape, x.shape, axes)
    if size is None:
        return None
    windows = Windows(
        size=size, strides=size, padding=[(0, 0)] * len(size), dilation=[1] * len(size)
    )
    has_batch_and_channels = len(size) - len(windows.pooled_axes) >= 2
    if not has_batch_and_channels or len(windows.pooled_axes) > _MOST_SPATIAL_AXES:
        return None
    uncropped_images = graph.tensors_before_cut.get(images)
    if uncropped_images is not None:
        cut_is_needless = _window_counts(uncropped_images.shape, size) == shape
        if cut_is_needless:  # the pool leaves the last rows and columns out by itself
            images = uncropped_images
    return _add_pool(graph, images, _POOLS[operation], windows, shape)


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
        is_unchanged = not group.is_reshaped and not reduced_axes_of_group
        if is_unchanged:
            continue
        is_split_in_two = len(group.axes_before) == 1 and len(group.axes_after) == 2
        if not is_split_in_two:
            return None
        [axis], [_, axis_in_block] = group.axes_before, group.axes_after
        size = shape_in_blocks[axis_in_block]
        # The size of a window is a number in the graph, so it can't depend on the batch.
        if reduced_axes_of_group != [axis_in_block] or not size.is_fixed:
            return None
        block_size[axis] = size.fixed_value
    return block_size


def _window_counts(shape: Shape, window_size: Sequence[int]) -> Shape:
    """Return the number of windows in an array along each axis, if windows lie side by side."""
    counts = []
    for size, window in zip(shape, window_size, strict=True):
        counts.append(Size(size.for_two_images // window, size.for_three_images // window))
    return tuple(counts)
