"""Convert reductions over axes, cumulative sums and sorting."""

import dataclasses

import numpy as np

from jaxcifar.exchange.onnx.block_pooling import add_pool_of_blocks_if_found
from jaxcifar.exchange.onnx.bool_nodes import bool_tensor_to_integers
from jaxcifar.exchange.onnx.elementwise_nodes import Conversion, add_cast
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Order, Size, Tensor, UnconvertibleError
from jaxcifar.exchange.onnx.result_layout import common_order
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_INT32 = np.dtype(np.int32)


def reduction_conversion(operation: str) -> Conversion:
    """Return a function that converts a reduction to a node `operation`, such as "ReduceSum"."""

    def convert_reduction(graph: OnnxBuilder, step: Step) -> Tensor:
        x = only_input(step)
        axes = list(step.params["axes"])
        if not axes:
            return x
        if x.dtype == np.bool_:
            integers = add_cast(graph, x, _INT32)
            reduced_integers = add_reduction(graph, integers, axes, operation)
            return add_cast(graph, reduced_integers, x.dtype)
        pooled = add_pool_of_blocks_if_found(graph, x, axes, operation, step.shape)
        if pooled is not None:
            return pooled
        return add_reduction(graph, x, axes, operation)

    return convert_reduction


def add_reduction(graph: OnnxBuilder, x: Tensor, axes: list[int], operation: str) -> Tensor:
    """Add the node of a reduction over axes; return its result, which lacks these axes."""
    x = graph.expand_broadcast_axes(x)
    axes_in_graph = sorted(x.axis_in_graph(axis) for axis in axes)
    has_axes_as_input = operation == "ReduceSum"  # in this version of ONNX
    if has_axes_as_input:
        name = graph.add_node(operation, x.name, graph.add_integers(axes_in_graph), keepdims=0)
    else:
        name = graph.add_node(operation, x.name, axes=axes_in_graph, keepdims=0)
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    order = _order_after_removal(x.order, axes)
    return Tensor.without_broadcast_axes(name, shape, order, x.dtype)


def _order_after_removal(order: Order, removed_axes: list[int]) -> Order:
    """Remove axes from an order of axes; the other axes get their numbers in the result."""
    kept_axes = [axis for axis in order if axis not in removed_axes]
    axes_in_result = {axis: number for number, axis in enumerate(sorted(kept_axes))}
    return tuple(axes_in_result[axis] for axis in kept_axes)


def bool_reduction_conversion(operation: str) -> Conversion:
    """Return a function that converts `all` to "ReduceMin", or `any` to "ReduceMax".

    Only operations on truth values can be converted, not those on the bits of integers.
    """

    def convert_bool_reduction(graph: OnnxBuilder, step: Step) -> Tensor:
        if only_input(step).dtype != np.bool_:
            raise UnconvertibleError(
                f"{step.name} of integers can't be converted; use {step.name} of truth values"
            )
        result: Tensor = reduction_conversion(operation)(graph, step)
        return result

    return convert_bool_reduction


def position_conversion(operation: str) -> Conversion:
    """Return a function that converts `argmax` to a node "ArgMax", or `argmin` to "ArgMin"."""

    def convert_argmax_or_argmin(graph: OnnxBuilder, step: Step) -> Tensor:
        x = only_input(step)
        [axis] = step.params["axes"]
        x = bool_tensor_to_integers(graph, graph.expand_broadcast_axes(x))
        name = graph.add_node(operation, x.name, axis=x.axis_in_graph(axis), keepdims=0)
        order = _order_after_removal(x.order, [axis])
        positions = Tensor.without_broadcast_axes(name, step.shape, order, np.dtype(np.int64))
        return add_cast(graph, positions, step.dtype)

    return convert_argmax_or_argmin


def convert_cumsum(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the node that sums the elements of an array up to each position along an axis."""
    x = graph.expand_broadcast_axes(only_input(step))
    axis = graph.add_constant(np.int64(x.axis_in_graph(step.params["axis"])))
    name = graph.add_node("CumSum", x.name, axis, reverse=int(step.params["reverse"]))
    return dataclasses.replace(x, name=name)


def convert_sort(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Add the nodes that sort the first array, and rearrange the other arrays in the same way."""
    if step.params["num_keys"] != 1:
        raise UnconvertibleError(
            "sorting by more than one array can't be converted; sort by one array"
        )
    axis = step.params["dimension"]
    order = common_order(step.inputs, len(step.shape))
    keys, *others = [graph.reorder_and_expand(value, order) for value in step.inputs]
    all_elements = step.shape[axis]
    sorted_keys, positions = _add_top_k(graph, keys, axis, count=all_elements, largest=False)
    results = [sorted_keys]
    axis_in_graph = order.index(axis)
    for tensor in others:
        name = graph.add_node("GatherElements", tensor.name, positions.name, axis=axis_in_graph)
        results.append(dataclasses.replace(tensor, name=name))
    return results


def convert_top_k(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Add the node that finds the largest elements along an axis; return elements and positions."""
    x = only_input(step)
    axis = step.params.get("axis", -1) % len(x.shape)
    count = step.params["k"]
    values, positions = _add_top_k(
        graph, graph.expand_broadcast_axes(x), axis, Size(count, count), largest=True
    )
    return [values, add_cast(graph, positions, _INT32)]


def _add_top_k(
    graph: OnnxBuilder, x: Tensor, axis: int, count: Size, largest: bool
) -> tuple[Tensor, Tensor]:
    """Add the node that finds the largest (or the smallest) elements along an axis.

    Args:
      graph: the graph.
      x: the array.
      axis: the axis.
      count: number of elements to find along the axis.
      largest: True for the largest elements, the largest first; False for the smallest.

    Returns:
      two tensors: the elements, and their positions along the axis (int64).
    """
    if not x.shape[axis].is_fixed:
        raise UnconvertibleError(
            "sorting along the batch can't be converted; sort along other axes only"
        )
    numbers = bool_tensor_to_integers(graph, x)
    elements_name, positions_name = graph.add_node_with_outputs(
        "TopK",
        numbers.name,
        graph.add_integers([count.fixed_value]),
        output_count=2,
        axis=x.axis_in_graph(axis),
        largest=int(largest),
    )
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    elements = Tensor.without_broadcast_axes(elements_name, shape, numbers.order, numbers.dtype)
    positions = dataclasses.replace(elements, name=positions_name, dtype=np.dtype(np.int64))
    if x.dtype == np.bool_:
        elements = add_cast(graph, elements, x.dtype)
    return elements, positions
