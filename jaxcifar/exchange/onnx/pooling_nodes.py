"""Convert pools: maxima and sums over windows."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Shape, Tensor, UnconvertibleError, product
from jaxcifar.exchange.onnx.traced_step import Step, only_input

MOST_SPATIAL_AXES = 3  # of ONNX Runtime's pools


def convert_max_pool(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node of a pool that takes the maximum of each window."""
    return _convert_reduce_window(graph, step, "MaxPool")


def convert_min_pool(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a pool that takes minima: the negative maxima of the negative values."""
    return _convert_reduce_window(graph, step, "MaxPool", takes_minima=True)


def convert_sum_pool(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a pool that takes sums: means times the number of elements in a window."""
    return _convert_reduce_window(graph, step, "AveragePool")


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
            window_extent = (size - 1) * dilation + 1
            if min(zeros) < 0 or max(zeros) >= window_extent:
                raise UnconvertibleError(
                    "a pool with as much padding as a window can't be converted; use less padding"
                )


def _convert_reduce_window(
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
        return add_pool(graph, x, operation, windows, step.shape)
    negative_x = dataclasses.replace(x, name=graph.add_node("Neg", x.name))
    negative_minima = add_pool(graph, negative_x, operation, windows, step.shape)
    return dataclasses.replace(negative_minima, name=graph.add_node("Neg", negative_minima.name))


def _check_pool(step: Step, operation: str, windows: Windows) -> None:
    """Raise UnconvertibleError if a pool needs something that ONNX Runtime's node lacks.

    `operation` is the node, "MaxPool" or "AveragePool".
    """
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


def add_pool(
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
    must_join_axes = len(spatial_axes) > MOST_SPATIAL_AXES
    if must_join_axes:  # the batch and all other axes except the last become one axis
        spatial_axes = windows.pooled_axes
    if len(spatial_axes) > MOST_SPATIAL_AXES:
        raise UnconvertibleError(
            f"a pool along more than {MOST_SPATIAL_AXES} axes can't be converted; pool along "
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
    return Tensor.without_broadcast_axes(name, shape, order, x.dtype)
