"""Convert pools: maxima and sums over windows."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.axis_groups import axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Shape, Tensor, UnconvertibleError, product
from jaxcifar.exchange.onnx.traced_step import Step, only_input

# The pool that computes a reduction over windows that lie side by side.
_POOLS = {"ReduceMax": "MaxPool", "ReduceSum": "AveragePool"}
_MOST_SPATIAL_AXES = 3  # of ONNX Runtime's pools


def max_window(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node of a pool that takes the maximum of each window."""
    return _convert_pool(graph, step, "MaxPool")


def min_window(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a pool that takes minima: the negative maxima of the negative values."""
    return _convert_pool(graph, step, "MaxPool", is_negated=True)


def sum_window(graph: OnnxBuilder, step: Step) -> Tensor:
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
    def axes(self) -> list[int]:
        """The axes along which the windows have several elements, or strides larger than 1."""
        axes = range(len(self.size))
        return [axis for axis in axes if self.size[axis] != 1 or self.strides[axis] != 1]

    def check(self) -> None:
        """Raise UnconvertibleError for padding that ONNX Runtime does not take."""
        for size, dilation, zeros in zip(self.size, self.dilation, self.padding, strict=True):
            extent = (size - 1) * dilation + 1
            if min(zeros) < 0 or max(zeros) >= extent:
                raise UnconvertibleError(
                    "a pool with as much padding as a window can't be converted; use less padding"
                )


def _convert_pool(
    graph: OnnxBuilder, step: Step, operation: str, is_negated: bool = False
) -> Tensor:
    """Add the nodes of a pool, "MaxPool" or "AveragePool"; return its result.

    If `is_negated` is True, the pool gets the negative values, and its result is negated.
    """
    x = only_input(step)
    params = step.params
    windows = Windows(
        size=params["window_dimensions"],
        strides=params["window_strides"],
        padding=params["padding"],
        dilation=params["window_dilation"],
    )
    windows.check()
    if x.dtype != np.float32:
        raise UnconvertibleError("a pool of integers can't be converted; pool floats")
    has_dilated_inputs = set(params["base_dilation"]) != {1}
    if has_dilated_inputs:
        raise UnconvertibleError(
            "a pool with dilated inputs can't be converted; do not dilate them"
        )
    has_gaps_in_windows = set(windows.dilation) != {1}
    if operation == "AveragePool" and has_gaps_in_windows:
        raise UnconvertibleError(
            "sums over windows with gaps can't be converted; use windows without gaps"
        )
    if not windows.axes:  # each window is one element
        return x
    if not is_negated:
        return _pool(graph, x, operation, windows, step.shape)
    negative_x = dataclasses.replace(x, name=graph.add("Neg", x.name))
    negative_result = _pool(graph, negative_x, operation, windows, step.shape)
    return dataclasses.replace(negative_result, name=graph.add("Neg", negative_result.name))


def _pool(graph: OnnxBuilder, x: Tensor, operation: str, windows: Windows, shape: Shape) -> Tensor:
    """Add the nodes of a pool; return its result.

    Args:
      graph: the graph.
      x: the array.
      operation: "MaxPool", or "AveragePool", whose means are multiplied by the windows' size.
      windows: the windows.
      shape: the result's shape.
    """
    axes = range(len(shape))
    other_axes = [axis for axis in axes if axis not in windows.axes]
    if len(other_axes) < 2:
        raise UnconvertibleError(
            "a pool of an array without batch and channels can't be converted; do not pool along "
            "these two axes"
        )
    batch_axis, channel_axis = other_axes[0], other_axes[-1]
    # ONNX pools over all axes but two, for example over height and width.
    spatial_axes = [axis for axis in axes if axis not in (batch_axis, channel_axis)]
    is_joined = len(spatial_axes) > _MOST_SPATIAL_AXES
    if is_joined:  # all other axes but the last are joined with the batch
        spatial_axes = windows.axes
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
    if is_joined:
        order = (*other_axes, *spatial_axes)
    name = graph.expanded_in_order(x, order).name
    if is_joined:
        joined_size = product(x.shape[axis] for axis in other_axes[:-1])
        sizes = [x.shape[axis] for axis in (channel_axis, *spatial_axes)]
        name = graph.reshape(name, [joined_size, *sizes])
    if operation == "MaxPool":
        name = graph.add("MaxPool", name, **attributes)
    else:
        means = graph.add("AveragePool", name, count_include_pad=1, **attributes)
        name = graph.add("Mul", means, graph.scalar(math.prod(windows.size)))
    if is_joined:
        name = graph.reshape(name, [shape[axis] for axis in order])
    return Tensor(name, shape, shape, order, x.dtype)


def pooled_blocks(
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
    source = graph.reshaped.get(x)
    if source is None or operation not in _POOLS or x.dtype != np.float32:
        return None
    if source.sizes_in_graph != source.shape:
        return None
    size = _block_size(source.shape, x.shape, axes)
    if size is None:
        return None
    windows = Windows(size, size, [(0, 0)] * len(size), [1] * len(size))
    has_batch_and_channels = len(size) - len(windows.axes) >= 2
    if not has_batch_and_channels or len(windows.axes) > _MOST_SPATIAL_AXES:
        return None
    uncropped = graph.uncropped.get(source)
    if uncropped is not None and _has_as_many_windows(uncropped.shape, size, shape):
        source = uncropped  # the pool leaves the last rows and columns out by itself
    return _pool(graph, source, _POOLS[operation], windows, shape)


def _block_size(before: Shape, after: Shape, axes: Sequence[int]) -> list[int] | None:
    """Return the sizes of the blocks that a reduction reduces to one element each.

    Args:
      before: shape of the array before it was reshaped into blocks.
      after: shape of the array in blocks, which is reduced.
      axes: the axes over which it is reduced.

    Returns:
      the size of a block along each axis of `before`; None if it is not a reduction over blocks.
    """
    block_size = [1] * len(before)
    for group in axis_groups(before, after):
        are_reduced = [axis in axes for axis in group.after]
        is_unchanged = not group.is_reshaped and are_reduced == [False]
        if is_unchanged:
            continue
        is_split_into_blocks = len(group.before) == 1 and are_reduced == [False, True]
        if not is_split_into_blocks:
            return None
        _, axis_in_block = group.after
        size = after[axis_in_block]
        if not size.is_fixed:  # the size of a window is a number in the graph
            return None
        [axis] = group.before
        block_size[axis] = size.for_two
    return block_size


def _has_as_many_windows(uncropped: Shape, window_size: Sequence[int], shape: Shape) -> bool:
    """Return True if an array has as many windows before its last rows were cut off as after.

    Args:
      uncropped: shape of the array before the cut.
      window_size: size of a window along each axis; windows lie side by side.
      shape: number of windows along each axis after the cut.
    """
    for axis, size in enumerate(window_size):
        window_counts = (uncropped[axis].for_two // size, uncropped[axis].for_three // size)
        if window_counts != shape[axis]:
            return False
    return True
