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

_TO_THE_START = -(2**31)  # the end of a slice that goes backwards to the first element


def slice_(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that slices an array at constant positions."""
    x = only_input(step)
    starts = _pairs(step, "start_indices")
    limits = _pairs(step, "limit_indices")
    strides = step.params["strides"] or (1,) * len(x.shape)
    return sliced(graph, x, starts, limits, strides)


def sliced(
    graph: OnnxBuilder,
    x: Tensor,
    starts: Sequence[Size],
    limits: Sequence[Size],
    strides: Sequence[int],
) -> Tensor:
    """Return the elements of a tensor from `starts` to `limits` (exclusive) along each axis.

    Raises:
      UnconvertibleError: the slice takes some images of the batch, or its position or size depends
        on the number of images.
    """
    cut_axes = []
    for axis, (start, limit, stride) in enumerate(zip(starts, limits, strides, strict=True)):
        is_whole = start == (0, 0) and limit == x.shape[axis] and stride == 1
        if not is_whole:
            cut_axes.append(axis)
    if not all(x.shape[axis].is_fixed for axis in cut_axes):
        raise UnconvertibleError(
            "a slice of the batch can't be converted; slice along other axes only"
        )
    shape, sizes_in_graph = list(x.shape), list(x.sizes_in_graph)
    for axis in cut_axes:
        if not (starts[axis].is_fixed and limits[axis].is_fixed):
            raise UnconvertibleError(
                "a slice whose position depends on the number of images can't be converted; slice "
                "at a fixed position"
            )
        count = len(range(starts[axis].for_two, limits[axis].for_two, strides[axis]))
        is_repeated = x.sizes_in_graph[axis] != x.shape[axis]
        shape[axis] = Size(count, count)
        sizes_in_graph[axis] = ONE if is_repeated else shape[axis]
    axes_to_slice = [axis for axis in cut_axes if x.sizes_in_graph[axis] == x.shape[axis]]
    result = dataclasses.replace(x, shape=tuple(shape), sizes_in_graph=tuple(sizes_in_graph))
    if not axes_to_slice:
        return result
    cut_starts = [starts[axis].for_two for axis in axes_to_slice]
    cut_limits = [limits[axis].for_two for axis in axes_to_slice]
    cut_strides = [strides[axis] for axis in axes_to_slice]
    axes_in_graph = [x.order.index(axis) for axis in axes_to_slice]
    name = _add_slice(graph, x.name, cut_starts, cut_limits, axes_in_graph, cut_strides)
    result = dataclasses.replace(result, name=name)
    starts_at_zero = not any(cut_starts)
    if starts_at_zero and set(cut_strides) == {1}:
        graph.uncropped[result] = x
    return result


def _add_slice(
    graph: OnnxBuilder,
    name: str,
    starts: list[int],
    limits: list[int],
    axes: list[int],
    strides: list[int],
) -> str:
    """Add a node "Slice" for a tensor of the graph; return the name of the result.

    The lists have a number for each axis in `axes`, the axes along which the tensor is sliced.
    """
    inputs = [graph.integers(numbers) for numbers in (starts, limits, axes, strides)]
    return graph.add("Slice", name, *inputs)


def dynamic_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that slices an array at computed positions, which must be constants."""
    x = step.inputs[0]
    starts = clamped_starts(step, first=1, shape=x.shape, sizes=step.shape)
    if isinstance(x, Constant):
        raise UnconvertibleError(
            "a slice at a position that depends on the images can't be converted; slice at a "
            "constant position"
        )
    limits = [
        Size(start.for_two + size.for_two, start.for_three + size.for_three)
        for start, size in zip(starts, step.shape, strict=True)
    ]
    return sliced(graph, x, starts, limits, [1] * len(starts))


def clamped_starts(step: Step, first: int, shape: Shape, sizes: Shape) -> list[Size]:
    """Return the positions where a dynamic slice starts, moved so that the slice fits.

    Args:
      step: the operation.
      first: index of the first position among the operation's inputs.
      shape: shape of the sliced array.
      sizes: shape of the slice.
    """
    positions = step.constant_inputs(first, "positions")
    starts = []
    for position, array_size, slice_size in zip(positions, shape, sizes, strict=True):
        last_for_two = array_size.for_two - slice_size.for_two
        last_for_three = array_size.for_three - slice_size.for_three
        start_for_two = np.clip(int(position.for_two), 0, last_for_two)
        start_for_three = np.clip(int(position.for_three), 0, last_for_three)
        starts.append(Size(int(start_for_two), int(start_for_three)))
    return starts


def rev(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that reverses an array along some axes."""
    x = only_input(step)
    axes = [axis for axis in step.params["dimensions"] if x.sizes_in_graph[axis] != ONE]
    if not axes:
        return x
    starts, strides = [-1] * len(axes), [-1] * len(axes)  # backwards from the last element
    limits = [_TO_THE_START] * len(axes)
    axes_in_graph = [x.order.index(axis) for axis in axes]
    name = _add_slice(graph, x.name, starts, limits, axes_in_graph, strides)
    return dataclasses.replace(x, name=name)


def _pairs(step: Step, parameter: str) -> list[Size]:
    """Return a list parameter, such as `start_indices`, with each entry's value in both traces."""
    for_two, for_three = step.for_two.params[parameter], step.for_three.params[parameter]
    return [Size(*pair) for pair in zip(for_two, for_three, strict=True)]
