"""Find a softmax in its steps: maximum, difference, exponential, sum and division."""

import dataclasses

from jaxcifar.exchange.onnx import elementwise_nodes as elements
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor
from jaxcifar.exchange.onnx.traced_step import Step


def convert_div_or_softmax(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a division; the last step of a softmax becomes one node for the softmax."""
    dividend, divisor = step.inputs
    if isinstance(dividend, Tensor) and isinstance(divisor, Tensor):
        name = _add_softmax_if_found(graph, dividend, divisor)
        if name is not None:
            return dataclasses.replace(dividend, name=name)
    return elements.convert_div(graph, step)


def _add_softmax_if_found(graph: OnnxBuilder, exponentials: Tensor, sums: Tensor) -> str | None:
    """Add a softmax node if the quotient of two tensors is a softmax; return its name, else None.

    A softmax is the quotient of `exp(values - maxima)` and its sums along the same axis.
    """
    is_transposed = exponentials.order != sums.order
    if is_transposed:
        return None
    exp_node = _producer(graph, exponentials.name, "Exp")
    sum_node = _reduction_with_kept_axis(graph, sums.name, "ReduceSum", exponentials)
    if exp_node is None or sum_node is None:
        return None
    sums_exponentials = sum_node.inputs[0] == exponentials.name
    difference_node = _producer(graph, exp_node.inputs[0], "Sub")
    if not sums_exponentials or difference_node is None:
        return None
    values_name, maxima_name = difference_node.inputs
    max_node = _reduction_with_kept_axis(graph, maxima_name, "ReduceMax", exponentials)
    if max_node is None:
        return None
    takes_maxima_of_values = max_node.inputs[0] == values_name
    sum_axes, max_axes = _reduced_axes(graph, sum_node), _reduced_axes(graph, max_node)
    have_one_common_axis = len(sum_axes) == 1 and max_axes == sum_axes
    if not takes_maxima_of_values or not have_one_common_axis:
        return None
    [axis] = sum_axes
    return graph.add_node("Softmax", values_name, axis=axis)


def _reduction_with_kept_axis(
    graph: OnnxBuilder, name: str, operation: str, tensor_before_reduction: Tensor
) -> Node | None:
    """Return the reduction node by which a tensor is computed; None if there is no such node.

    The reduction must keep the reduced axis with the size 1 (`keepdims=True` in JAX). In the graph,
    this takes two nodes: the reduction, which removes the axis, and a reshape, which restores it.

    Args:
      graph: the graph.
      name: name of the tensor.
      operation: the reduction, such as "ReduceSum".
      tensor_before_reduction: a tensor with the shape of the reduction's input.
    """
    reshape = _producer(graph, name, "Reshape")
    if reshape is None:
        return None
    name_before_reshape, sizes_name = reshape.inputs
    reduction = _producer(graph, name_before_reshape, operation)
    if reduction is None:
        return None
    batch_size_in_reshape = -1
    sizes_with_kept_axis = [
        size.fixed_value if size.is_fixed else batch_size_in_reshape
        for size in tensor_before_reduction.shape_in_graph
    ]
    for reduced_axis in _reduced_axes(graph, reduction):
        sizes_with_kept_axis[reduced_axis] = 1
    sizes_after_reshape = graph.constants[sizes_name].tolist()
    keeps_axis = sizes_after_reshape == sizes_with_kept_axis
    return reduction if keeps_axis else None


def _reduced_axes(graph: OnnxBuilder, reduction: Node) -> list[int]:
    """Return the axes that a "ReduceSum" or "ReduceMax" node removes."""
    has_axes_as_input = reduction.operation == "ReduceSum"
    if has_axes_as_input:
        axes_name = reduction.inputs[1]
        axes: list[int] = graph.constants[axes_name].tolist()
    else:
        axes = reduction.attributes["axes"]
    return axes


def _producer(graph: OnnxBuilder, name: str, operation: str) -> Node | None:
    """Return the node that computes the tensor `name`; None if it has another operation."""
    node = graph.producer(name)
    return node if node is not None and node.operation == operation else None
