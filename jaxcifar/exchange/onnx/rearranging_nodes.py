"""Convert operations that rearrange axes and change no values, such as a reshape."""

from collections.abc import Sequence

from jaxcifar.exchange.onnx.axis_groups import AxisGroup, axis_groups
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Shape,
    Tensor,
    UnconvertibleError,
    identity,
)
from jaxcifar.exchange.onnx.traced_step import Step, only_input


def with_axes(
    graph: OnnxBuilder, tensor: Tensor, sources: Sequence[int | None], shape: Shape
) -> Tensor:
    """Return a tensor whose axes are axes of another tensor, in any order, and new axes.

    Args:
      graph: the graph.
      tensor: the other tensor. Its axes that the result lacks must have the size 1 in the graph.
      sources: for each axis of the result, the axis of `tensor`; None for a new axis, along which
        the values repeat.
      shape: shape of the result in JAX.
    """
    used_axes = [axis for axis in tensor.order if axis in sources]
    order_of_used = [sources.index(axis) for axis in used_axes]
    new_axes = [axis for axis, source in enumerate(sources) if source is None]
    order = _with_new_axes(order_of_used, new_axes)
    sizes_in_graph = tuple(
        ONE if source is None else tensor.sizes_in_graph[source] for source in sources
    )
    shape_in_graph = tuple(sizes_in_graph[axis] for axis in order)
    name = tensor.name
    if shape_in_graph != tensor.shape_in_graph:
        name = graph.reshape(name, shape_in_graph)
    return Tensor(name, shape, sizes_in_graph, order, tensor.dtype)


def _with_new_axes(order: list[int], new_axes: list[int]) -> tuple[int, ...]:
    """Add new axes to an order of axes, and return it.

    If the order is ascending, it stays ascending. If not, the new axes come last.
    """
    all_axes = order + new_axes
    is_ascending = order == sorted(order)
    return tuple(sorted(all_axes) if is_ascending else all_axes)


def transpose(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return an array with permuted axes in JAX; the tensor in the graph stays the same."""
    return with_axes(graph, only_input(step), step.params["permutation"], step.shape)


def squeeze(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return an array without some of its axes of size 1."""
    x = only_input(step)
    removed_axes = step.params["dimensions"]
    other_axes = [axis for axis in range(len(x.shape)) if axis not in removed_axes]
    return with_axes(graph, x, other_axes, step.shape)


def broadcast_in_dim(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return an array with new axes along which its values repeat."""
    x = only_input(step)
    sources: list[int | None] = [None] * len(step.shape)
    for source, axis in enumerate(step.params["broadcast_dimensions"]):
        sources[axis] = source
    return with_axes(graph, x, sources, step.shape)


def reshape(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a reshape, without a transposition if possible (see `_reshaped_order`)."""
    if step.params.get("dimensions") is not None:
        raise UnconvertibleError(
            "a reshape in another order of axes can't be converted; transpose the array before"
        )
    return reshaped(graph, only_input(step), step.shape)


def reshaped(graph: OnnxBuilder, x: Tensor, shape: Shape) -> Tensor:
    """Return a tensor with another shape and the same elements, in JAX's order.

    Along an axis where its values repeat, a tensor may have the size 1 in the graph. If such an
    axis is reshaped, the repeated values are written out first.
    """
    groups = axis_groups(x.shape, shape)
    repeated_axes = {axis for axis, size in enumerate(x.shape) if x.sizes_in_graph[axis] != size}
    reshaped_axes = {axis for group in groups if group.is_reshaped for axis in group.before}
    if repeated_axes & reshaped_axes:
        x = graph.expanded(x)
    order = _reshaped_order(x, groups, len(shape))
    if order is None:
        x = graph.expanded(graph.in_order(x, identity(len(x.shape))))
        order = identity(len(shape))
    sizes_in_graph = list(shape)
    for group in groups:
        if not group.is_reshaped:
            sizes_in_graph[group.after[0]] = x.sizes_in_graph[group.before[0]]
    shape_in_graph = [sizes_in_graph[axis] for axis in order]
    if tuple(shape_in_graph) == x.shape_in_graph:
        return Tensor(x.name, shape, tuple(sizes_in_graph), order, x.dtype)
    name = graph.reshape(x.name, shape_in_graph)
    result = Tensor(name, shape, tuple(sizes_in_graph), order, x.dtype)
    graph.reshaped[result] = x
    return result


def _reshaped_order(
    x: Tensor, groups: Sequence[AxisGroup], axis_count: int
) -> tuple[int, ...] | None:
    """Return the order of axes that a reshape gives in the graph, without a transposition before.

    Return None if a transposition is needed: the axes of each group must be neighbours in the
    graph, and in the same order as in JAX.

    Args:
      x: the tensor that is reshaped.
      groups: groups of axes that are reshaped one by one (see `axis_groups`).
      axis_count: number of axes after the reshape.
    """
    large_axes = x.large_axes
    order: list[int] = []
    position = 0
    while position < len(large_axes):
        group = next(group for group in groups if large_axes[position] in group.before)
        axes_of_group = [axis for axis in group.before if axis in large_axes]
        end = position + len(axes_of_group)
        if large_axes[position:end] != axes_of_group:
            return None
        order += group.after
        position = end
    new_axes = [axis for axis in range(axis_count) if axis not in order]
    return _with_new_axes(order, new_axes)
