"""Convert operations that move values and change none, such as a reshape or a slice."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.axis_groups import AxisGroup, axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Constant,
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
    identity,
)
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_TO_THE_START = -(2**31)  # the end of a slice that goes backwards to the first element


def with_axes(
    graph: OnnxBuilder, tensor: Tensor, sources: Sequence[int | None], shape: Shape
) -> Tensor:
    """Return a tensor whose axes are axes of another tensor, in any order, and new axes.

    Args:
      graph: the graph.
      tensor: a tensor. Its axes that are not used must have the size 1 in the graph.
      sources: for each new axis the axis of `tensor`, or None for repeated values.
      shape: the new shape in JAX.
    """
    kept = [axis for axis in tensor.order if axis in sources]
    order = [sources.index(axis) for axis in kept]
    new_axes = [axis for axis, source in enumerate(sources) if source is None]
    is_in_order = order == sorted(order)
    order = sorted(order + new_axes) if is_in_order else order + new_axes
    stored = tuple(ONE if source is None else tensor.stored[source] for source in sources)
    sizes = tuple(stored[axis] for axis in order)
    name = tensor.name
    if sizes != tensor.stored_shape:
        name = graph.reshape(name, sizes)
    return Tensor(name, shape, stored, tuple(order), tensor.dtype)


def transpose(graph: OnnxBuilder, step: Step) -> Tensor:
    """Permute the axes in JAX; the graph's tensor does not change."""
    return with_axes(graph, only_input(step), step.params["permutation"], step.shape)


def squeeze(graph: OnnxBuilder, step: Step) -> Tensor:
    x = only_input(step)
    removed = step.params["dimensions"]
    kept = [axis for axis in range(len(x.shape)) if axis not in removed]
    return with_axes(graph, x, kept, step.shape)


def broadcast_in_dim(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add axes along which values repeat."""
    x = only_input(step)
    sources: list[int | None] = [None] * len(step.shape)
    for source, axis in enumerate(step.params["broadcast_dimensions"]):
        sources[axis] = source
    return with_axes(graph, x, sources, step.shape)


def reshape(graph: OnnxBuilder, step: Step) -> Tensor:
    """Reshape; the graph's order of axes stays if each group of axes can be reshaped by itself."""
    if step.params.get("dimensions") is not None:
        raise UnconvertibleError("a reshape in another order of axes")
    return reshaped(graph, only_input(step), step.shape)


def reshaped(graph: OnnxBuilder, x: Tensor, shape: Shape) -> Tensor:
    """Return a tensor with another shape and the same elements, in JAX's order."""
    groups = axis_groups(x.shape, shape)
    repeated = {axis for axis, size in enumerate(x.shape) if x.stored[axis] != size}
    if any(group.changes and repeated.intersection(group.before) for group in groups):
        x = graph.expanded(x)
    order = _reshaped_order(x, groups, len(shape))
    if order is None:
        x = graph.expanded(graph.in_order(x, identity(len(x.shape))))
        order = identity(len(shape))
    stored = list(shape)
    for group in groups:
        if not group.changes:
            stored[group.after[0]] = x.stored[group.before[0]]
    sizes = [stored[axis] for axis in order]
    if tuple(sizes) == x.stored_shape:
        return Tensor(x.name, shape, tuple(stored), order, x.dtype)
    name = graph.reshape(x.name, sizes)
    result = Tensor(name, shape, tuple(stored), order, x.dtype)
    graph.reshaped[result] = x
    return result


def _reshaped_order(
    x: Tensor, groups: Sequence[AxisGroup], axis_count: int
) -> tuple[int, ...] | None:
    """Return the order of axes after a reshape of the stored tensor; None if it is not possible.

    It is possible if the axes of each group are neighbours in the graph, in JAX's order.
    """
    stored = [axis for axis in x.order if x.stored[axis] != ONE]
    order: list[int] = []
    position = 0
    while position < len(stored):
        group = next(group for group in groups if stored[position] in group.before)
        axes = [axis for axis in group.before if x.stored[axis] != ONE]
        if stored[position : position + len(axes)] != axes:
            return None
        order += group.after
        position += len(axes)
    new_axes = [axis for axis in range(axis_count) if axis not in order]
    is_in_order = order == sorted(order)
    return tuple(sorted(order + new_axes) if is_in_order else order + new_axes)


def slice_(graph: OnnxBuilder, step: Step) -> Tensor:
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
        raise UnconvertibleError("a slice of the batch")
    shape, stored = list(x.shape), list(x.stored)
    for axis in cut_axes:
        if not (starts[axis].is_fixed and limits[axis].is_fixed):
            raise UnconvertibleError("a slice whose position depends on the number of images")
        count = len(range(starts[axis].for_two, limits[axis].for_two, strides[axis]))
        is_repeated = x.stored[axis] != x.shape[axis]
        shape[axis] = Size(count, count)
        stored[axis] = ONE if is_repeated else shape[axis]
    stored_cuts = [axis for axis in cut_axes if x.stored[axis] == x.shape[axis]]
    result = dataclasses.replace(x, shape=tuple(shape), stored=tuple(stored))
    if not stored_cuts:
        return result
    bounds = (
        [starts[axis].for_two for axis in stored_cuts],
        [limits[axis].for_two for axis in stored_cuts],
        [x.order.index(axis) for axis in stored_cuts],
        [strides[axis] for axis in stored_cuts],
    )
    name = graph.add("Slice", x.name, *(graph.integers(numbers) for numbers in bounds))
    result = dataclasses.replace(result, name=name)
    if not any(bounds[0]) and set(bounds[3]) == {1}:
        graph.uncropped[result] = x
    return result


def dynamic_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Slice from computed positions, which must be constants."""
    x = step.inputs[0]
    starts = clamped_starts(step, first=1, shape=x.shape, sizes=step.shape)
    if isinstance(x, Constant):
        raise UnconvertibleError("a slice at a position that depends on the images")
    limits = [
        Size(start.for_two + size.for_two, start.for_three + size.for_three)
        for start, size in zip(starts, step.shape, strict=True)
    ]
    return sliced(graph, x, starts, limits, [1] * len(starts))


def clamped_starts(step: Step, first: int, shape: Shape, sizes: Shape) -> list[Size]:
    """Return the first positions of a dynamic slice, moved so that the slice fits.

    Args:
      step: the operation.
      first: number of its first input that is a position.
      shape: shape of the sliced array.
      sizes: shape of the slice.
    """
    positions = step.constant_inputs(first, "positions")
    starts = []
    for position, whole, part in zip(positions, shape, sizes, strict=True):
        two = np.clip(int(position.for_two), 0, whole.for_two - part.for_two)
        three = np.clip(int(position.for_three), 0, whole.for_three - part.for_three)
        starts.append(Size(int(two), int(three)))
    return starts


def rev(graph: OnnxBuilder, step: Step) -> Tensor:
    """Reverse the order along some axes."""
    x = only_input(step)
    axes = [axis for axis in step.params["dimensions"] if x.stored[axis] != ONE]
    if not axes:
        return x
    bounds = (
        [-1] * len(axes),
        [_TO_THE_START] * len(axes),
        [x.order.index(axis) for axis in axes],
        [-1] * len(axes),
    )
    name = graph.add("Slice", x.name, *(graph.integers(numbers) for numbers in bounds))
    return dataclasses.replace(x, name=name)


def _pairs(step: Step, parameter: str) -> list[Size]:
    two, three = step.for_two.params[parameter], step.for_three.params[parameter]
    return [Size(*pair) for pair in zip(two, three, strict=True)]
