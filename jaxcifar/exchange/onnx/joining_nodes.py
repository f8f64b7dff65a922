"""Convert operations that join, repeat or cut arrays along an axis."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Constant,
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_shape,
    rank,
)
from jaxcifar.exchange.onnx.rearranging_nodes import rearrange_axes
from jaxcifar.exchange.onnx.result_layout import common_order
from jaxcifar.exchange.onnx.slicing_nodes import add_slice
from jaxcifar.exchange.onnx.traced_step import Step, only_input


def convert_concatenate(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that joins arrays along an axis."""
    return add_concatenation(graph, step.inputs, step.params["dimension"], step.shape, step.dtype)


def add_concatenation(
    graph: OnnxBuilder, values: Sequence[Value], axis: int, shape: Shape, dtype: np.dtype
) -> Tensor:
    """Add the node that joins arrays along an axis; return the result, which has this shape.

    Raises:
      UnconvertibleError: the axis is the axis of the images.
    """
    if not shape[axis].is_fixed:
        raise UnconvertibleError(
            "joining arrays along the batch axis can't be converted to ONNX; join along other axes"
        )
    order = common_order(values, len(shape))
    names = [graph.reorder_and_expand(value, order).name for value in values]
    name = graph.add_node("Concat", *names, axis=order.index(axis))
    return Tensor.without_broadcast_axes(name, shape, order, dtype)


def convert_tile(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that repeats an array along each axis."""
    x = graph.expand_broadcast_axes(only_input(step))
    repeat_counts = step.params["reps"]
    for repeat_count, size in zip(repeat_counts, x.shape, strict=True):
        if repeat_count > 1 and not size.is_fixed:
            raise UnconvertibleError(
                "repeating images along the batch axis can't be converted to ONNX; repeat arrays "
                "along other axes only"
            )
    repeat_counts_in_graph = [repeat_counts[axis] for axis in x.order]
    name = graph.add_node("Tile", x.name, graph.add_integers(repeat_counts_in_graph))
    return Tensor.without_broadcast_axes(name, step.shape, x.order, step.dtype)


def convert_split(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Add the nodes that cut an array into several arrays along an axis."""
    x = only_input(step)
    axis = step.params["axis"]
    start = 0
    slices = []
    for size in step.params["sizes"]:
        end = start + int(size)
        slices.append(_slice_along(graph, x, axis, start, end))
        start = end
    return slices


def slice_at(graph: OnnxBuilder, x: Tensor, position: int, axis: int = 0) -> Tensor:
    """Return the slice of a tensor at a position along an axis, without this axis."""
    other_axes = [other for other in range(len(x.shape)) if other != axis]
    shape = tuple(x.shape[other] for other in other_axes)
    slice_of_size_one = _slice_along(graph, x, axis, position, position + 1)
    return rearrange_axes(graph, slice_of_size_one, other_axes, shape)


def _slice_along(graph: OnnxBuilder, x: Tensor, axis: int, start: int, end: int) -> Tensor:
    """Return the elements of a tensor from `start` to `end` (exclusive) along an axis."""
    starts, limits = list(fixed_shape([0] * len(x.shape))), list(x.shape)
    starts[axis], limits[axis] = fixed_shape([start, end])
    return add_slice(graph, x, starts, limits, [1] * len(starts))


def convert_unstack(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Return the slices of an array, one for each position along an axis, without this axis."""
    x = only_input(step)
    axis = step.params["axis"]
    count = x.shape[axis].fixed_value
    return [slice_at(graph, x, position, axis) for position in range(count)]


def convert_stack(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that join arrays along a new axis."""
    return add_stack(graph, step.inputs, step.params["axis"], step.shape, step.dtype)


def add_stack(
    graph: OnnxBuilder, values: Sequence[Value], axis: int, shape: Shape, dtype: np.dtype
) -> Tensor:
    """Add the nodes that join arrays along a new axis; return the result, which has this shape."""
    shape_with_new_axis = (*shape[:axis], ONE, *shape[axis + 1 :])
    values_with_new_axis = []
    for value in values:
        values_with_new_axis.append(_insert_axis(graph, value, axis, shape_with_new_axis))
    return add_concatenation(graph, values_with_new_axis, axis, shape, dtype)


def _insert_axis(graph: OnnxBuilder, value: Value, axis: int, new_shape: Shape) -> Value:
    """Return a value with a new axis of size 1 at position `axis`."""
    if isinstance(value, Constant):
        return value.map(partial(jnp.expand_dims, axis=axis))
    new_axis = None
    source_axes: list[int | None] = list(range(rank(value)))
    source_axes.insert(axis, new_axis)
    return rearrange_axes(graph, value, source_axes, new_shape)
