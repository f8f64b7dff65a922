"""Convert slices, and operations that reverse arrays, which are slices backwards."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Constant,
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
)
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_BEFORE_FIRST_ELEMENT = -(2**31)  # the end of a slice that goes backwards to the first element


def convert_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that slices an array at constant positions."""
    x = only_input(step)
    starts = _positions_in_both_traces(step, "start_indices")
    ends = _positions_in_both_traces(step, "limit_indices")
    strides = step.params["strides"] or (1,) * len(x.shape)
    return add_slice(graph, x, starts, ends, strides)


def add_slice(
    graph: OnnxBuilder,
    x: Tensor,
    starts: Sequence[Size],
    ends: Sequence[Size],
    strides: Sequence[int],
) -> Tensor:
    """Return the elements of a tensor from `starts` to `ends` (exclusive) along each axis.

    Raises:
      UnconvertibleError: the slice takes some images of the batch, or its position or size depends
        on the number of images.
    """
    cut_axes = []
    for axis, (start, end, stride) in enumerate(zip(starts, ends, strides, strict=True)):
        takes_all_elements = start == (0, 0) and end == x.shape[axis] and stride == 1
        if not takes_all_elements:
            cut_axes.append(axis)
    if not all(x.shape[axis].is_fixed for axis in cut_axes):
        raise UnconvertibleError(
            "a slice of the batch can't be converted; slice along other axes only"
        )
    shape, sizes_in_graph = list(x.shape), list(x.sizes_in_graph)
    for axis in cut_axes:
        if not (starts[axis].is_fixed and ends[axis].is_fixed):
            raise UnconvertibleError(
                "a slice whose position depends on the number of images can't be converted; slice "
                "at a fixed position"
            )
        count = len(range(starts[axis].fixed_value, ends[axis].fixed_value, strides[axis]))
        is_broadcast_axis = x.sizes_in_graph[axis] != x.shape[axis]
        shape[axis] = Size(count, count)
        sizes_in_graph[axis] = ONE if is_broadcast_axis else shape[axis]
    axes_to_slice = [axis for axis in cut_axes if x.sizes_in_graph[axis] == x.shape[axis]]
    result = dataclasses.replace(x, shape=tuple(shape), sizes_in_graph=tuple(sizes_in_graph))
    if not axes_to_slice:
        return result
    cut_starts = [starts[axis].fixed_value for axis in axes_to_slice]
    cut_ends = [ends[axis].fixed_value for axis in axes_to_slice]
    cut_strides = [strides[axis] for axis in axes_to_slice]
    axes_in_graph = [x.axis_in_graph(axis) for axis in axes_to_slice]
    name = _add_slice_node(graph, x.name, cut_starts, cut_ends, axes_in_graph, cut_strides)
    result = dataclasses.replace(result, name=name)
    starts_at_zero = not any(cut_starts)
    if starts_at_zero and set(cut_strides) == {1}:
        graph.tensors_before_crop[result] = x
    return result


def _add_slice_node(
    graph: OnnxBuilder,
    name: str,
    starts: list[int],
    ends: list[int],
    axes: list[int],
    strides: list[int],
) -> str:
    """Add a node "Slice" for a tensor of the graph; return the name of the result.

    The lists have a number for each axis in `axes`, the axes along which the tensor is sliced.
    """
    inputs = [graph.add_integers(numbers) for numbers in (starts, ends, axes, strides)]
    return graph.add_node("Slice", name, *inputs)


def convert_dynamic_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that slices an array at positions that are inputs of the operation.

    The positions must be constants.
    """
    x, *_ = step.inputs
    starts = clamped_starts(
        step, index_of_first_position=1, array_shape=x.shape, slice_shape=step.shape
    )
    if isinstance(x, Constant):
        raise UnconvertibleError(
            "a slice at a position that depends on the images can't be converted; slice at a "
            "constant position"
        )
    ends = [
        Size(
            start.for_two_images + size.for_two_images,
            start.for_three_images + size.for_three_images,
        )
        for start, size in zip(starts, step.shape, strict=True)
    ]
    return add_slice(graph, x, starts, ends, [1] * len(starts))


def clamped_starts(
    step: Step, index_of_first_position: int, array_shape: Shape, slice_shape: Shape
) -> list[Size]:
    """Return the positions where a dynamic slice starts, one for each axis.

    As in JAX, a slice that would reach beyond the array is moved into the array.

    Args:
      step: the operation.
      index_of_first_position: index of the first position among the operation's inputs.
      array_shape: shape of the sliced array.
      slice_shape: shape of the slice.
    """
    positions = step.constant_inputs(index_of_first_position, "positions")
    starts = []
    for position, array_size, slice_size in zip(positions, array_shape, slice_shape, strict=True):
        last_start_for_two = array_size.for_two_images - slice_size.for_two_images
        last_start_for_three = array_size.for_three_images - slice_size.for_three_images
        start_for_two = np.clip(int(position.for_two_images), 0, last_start_for_two)
        start_for_three = np.clip(int(position.for_three_images), 0, last_start_for_three)
        starts.append(Size(int(start_for_two), int(start_for_three)))
    return starts


def convert_rev(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that reverses an array along some axes."""
    x = only_input(step)
    reversed_axes = [axis for axis in step.params["dimensions"] if x.sizes_in_graph[axis] != ONE]
    if not reversed_axes:
        return x
    last_element, backwards = -1, -1
    starts = [last_element] * len(reversed_axes)
    ends = [_BEFORE_FIRST_ELEMENT] * len(reversed_axes)
    strides = [backwards] * len(reversed_axes)
    axes_in_graph = [x.axis_in_graph(axis) for axis in reversed_axes]
    name = _add_slice_node(graph, x.name, starts, ends, axes_in_graph, strides)
    return dataclasses.replace(x, name=name)


def _positions_in_both_traces(step: Step, parameter: str) -> list[Size]:
    """Return a parameter such as `start_indices`, which has one position for each axis.

    A position is returned as a `Size`, which holds one number for each of the two traces.
    """
    positions_for_two = step.params[parameter]
    positions_for_three = step.params_for_three_images[parameter]
    return [Size(*pair) for pair in zip(positions_for_two, positions_for_three, strict=True)]
