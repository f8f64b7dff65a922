"""Convert operations that rearrange axes and change no values, such as a reshape."""

import dataclasses
from collections.abc import Sequence

from jaxcifar.exchange.onnx.axis_groups import AxisGroup, axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Shape,
    Tensor,
    UnconvertibleError,
    order_of_jax,
)
from jaxcifar.exchange.onnx.traced_step import Step, only_input


def rearrange_axes(
    graph: OnnxBuilder, tensor: Tensor, source_axes: Sequence[int | None], shape: Shape
) -> Tensor:
    """Permute a tensor's axes in JAX, and insert new axes; return the new tensor.

    The tensor's values in the graph are not transposed; only the record of their order changes.

    Args:
      graph: the graph.
      tensor: the tensor. Its axes that the result lacks must have the size 1 in the graph.
      source_axes: for each axis of the result in JAX, the number of this axis in `tensor`; None for
        a new axis, along which the values repeat.
      shape: shape of the result in JAX.
    """
    kept_source_axes = [axis for axis in tensor.order if axis in source_axes]
    order_without_new_axes = [source_axes.index(axis) for axis in kept_source_axes]
    new_axes = [axis for axis, source_axis in enumerate(source_axes) if source_axis is None]
    order = _insert_new_axes(order_without_new_axes, new_axes)
    size_of_new_axis = ONE
    sizes_in_graph = []
    for source_axis in source_axes:
        size = size_of_new_axis if source_axis is None else tensor.sizes_in_graph[source_axis]
        sizes_in_graph.append(size)
    result = Tensor(tensor.name, shape, tuple(sizes_in_graph), order, tensor.dtype)
    needs_reshape = result.shape_in_graph != tensor.shape_in_graph
    if not needs_reshape:
        return result
    name = graph.add_reshape(tensor.name, result.shape_in_graph)
    return dataclasses.replace(result, name=name)


def _insert_new_axes(order: list[int], new_axes: list[int]) -> tuple[int, ...]:
    """Return an order of axes with new axes added.

    If the order is ascending, it stays ascending. If not, the new axes come last.
    """
    all_axes = order + new_axes
    is_ascending = order == sorted(order)
    return tuple(sorted(all_axes) if is_ascending else all_axes)


def convert_transpose(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return an array with permuted axes in JAX; the tensor in the graph stays the same."""
    return rearrange_axes(graph, only_input(step), step.params["permutation"], step.shape)


def convert_squeeze(graph: OnnxBuilder, step: Step) -> Tensor:
    """Remove axes of size 1 from an array, as `jnp.squeeze` does; return the result."""
    x = only_input(step)
    removed_axes = step.params["dimensions"]
    other_axes = [axis for axis in range(len(x.shape)) if axis not in removed_axes]
    return rearrange_axes(graph, x, other_axes, step.shape)


def convert_broadcast(graph: OnnxBuilder, step: Step) -> Tensor:
    """Insert new axes, along which the values repeat, into an array; return the result."""
    x = only_input(step)
    source_axes: list[int | None] = [None] * len(step.shape)
    for source_axis, result_axis in enumerate(step.params["broadcast_dimensions"]):
        source_axes[result_axis] = source_axis
    return rearrange_axes(graph, x, source_axes, step.shape)


def convert_reshape(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a reshape; a transposition is added only if it is needed."""
    if step.params.get("dimensions") is not None:
        raise UnconvertibleError(
            "a reshape in another order of axes can't be converted; transpose the array before"
        )
    return reshape_tensor(graph, only_input(step), step.shape)


def reshape_tensor(graph: OnnxBuilder, x: Tensor, shape: Shape) -> Tensor:
    """Return a tensor with another shape and the same elements, in JAX's order.

    If a broadcast axis is reshaped, its repeated values are written out first (see `Tensor`).
    """
    groups = axis_groups(x.shape, shape)
    if any(_reshapes_broadcast_axes(x, group) for group in groups):
        x = graph.expand_broadcast_axes(x)
    order = _order_without_transposition(x, groups, len(shape))
    if order is None:
        x = graph.reorder_and_expand(x)
        order = order_of_jax(len(shape))
    sizes_in_graph = list(shape)
    for group in groups:
        if not group.is_reshaped:
            [axis_before], [axis_after] = group.axes_before, group.axes_after
            sizes_in_graph[axis_after] = x.sizes_in_graph[axis_before]
    result = Tensor(x.name, shape, tuple(sizes_in_graph), order, x.dtype)
    needs_reshape = result.shape_in_graph != x.shape_in_graph
    if not needs_reshape:
        return result
    name = graph.add_reshape(x.name, result.shape_in_graph)
    result = dataclasses.replace(result, name=name)
    graph.tensors_before_reshape[result] = x
    return result


def _reshapes_broadcast_axes(x: Tensor, group: AxisGroup) -> bool:
    """Return True if a reshape changes a broadcast axis, which has the size 1 in the graph."""
    has_broadcast_axes = any(x.sizes_in_graph[axis] != x.shape[axis] for axis in group.axes_before)
    return group.is_reshaped and has_broadcast_axes


def _order_without_transposition(
    x: Tensor, groups: Sequence[AxisGroup], axis_count: int
) -> tuple[int, ...] | None:
    """Return the order of axes in the graph after a reshape; None if it needs a transposition.

    A reshape needs no transposition if the axes of each group are neighbours in the graph, and in
    the same order as in JAX.

    Args:
      x: the tensor that is reshaped.
      groups: groups of axes that are reshaped one by one (see `axis_groups`).
      axis_count: number of axes after the reshape.
    """
    axes_in_graph_order = x.axes_larger_than_one
    order_after: list[int] = []
    while axes_in_graph_order:
        next_axis = axes_in_graph_order[0]
        group = next(group for group in groups if next_axis in group.axes_before)
        group_in_jax_order = [axis for axis in group.axes_before if axis in x.axes_larger_than_one]
        neighbours_in_graph = axes_in_graph_order[: len(group_in_jax_order)]
        needs_transposition = neighbours_in_graph != group_in_jax_order
        if needs_transposition:
            return None
        axes_in_graph_order = axes_in_graph_order[len(group_in_jax_order) :]
        order_after += group.axes_after
    axes_of_size_one = [axis for axis in range(axis_count) if axis not in order_after]
    return _insert_new_axes(order_after, axes_of_size_one)
