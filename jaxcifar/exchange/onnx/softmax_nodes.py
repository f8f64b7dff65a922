"""Find a softmax in its steps: maximum, difference, exponential, sum and division."""

import dataclasses

from jaxcifar.exchange.onnx import elementwise_nodes as elements
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor
from jaxcifar.exchange.onnx.traced_step import Step


def convert_div(graph: OnnxBuilder, step: Step) -> Tensor:
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
    if exponentials.order != sums.order:  # the same node, transposed in JAX
        return None
    exp_node = _producer(graph, exponentials.name, "Exp")
    sum_node = _reduction_before_reshape(graph, sums.name, "ReduceSum", exponentials)
    if exp_node is None or sum_node is None or sum_node.inputs[0] != exponentials.name:
        return None
    difference_node = _producer(graph, exp_node.inputs[0], "Sub")
    if difference_node is None:
        return None
    values_name, maxima_name = difference_node.inputs
    max_node = _reduction_before_reshape(graph, maxima_name, "ReduceMax", exponentials)
    if max_node is None or max_node.inputs[0] != values_name:
        return None
    sum_axes, max_axes = _reduced_axes(graph, sum_node), _reduced_axes(graph, max_node)
    if len(sum_axes) != 1 or max_axes != sum_axes:
        return None
    [axis] = sum_axes
    return graph.add_node("Softmax", values_name, axis=axis)


def _reduction_before_reshape(
    graph: OnnxBuilder, name: str, operation: str, unreduced: Tensor
) -> Node | None:
    """Find the node of a reduction that keeps the reduced axis with the size 1 (`keepdims=True`).

    The graph has two nodes for such a reduction: the reduction, which removes the axis, and then a
    reshape. The first node is returned, or None if the tensor `name` was computed in another way.

    Args:
      graph: the graph.
      name: name of the tensor after the reshape.
      operation: the reduction, such as "ReduceSum".
      unreduced: a tensor with the shape before the reduction.
    """
    convert_reshape = _producer(graph, name, "Reshape")
    if convert_reshape is None:
        return None
    reduced_name, sizes_name = convert_reshape.inputs
    reduction = _producer(graph, reduced_name, operation)
    if reduction is None:
        return None
    sizes_with_kept_axis = [
        size.fixed_value if size.is_fixed else -1 for size in unreduced.shape_in_graph
    ]
    for axis in _reduced_axes(graph, reduction):
        sizes_with_kept_axis[axis] = 1
    actual_sizes = graph.constants[sizes_name].tolist()
    return reduction if actual_sizes == sizes_with_kept_axis else None


def _reduced_axes(graph: OnnxBuilder, reduction: Node) -> list[int]:
    """Return the axes that a "ReduceSum" or "ReduceMax" node removes."""
    if reduction.operation == "ReduceSum":  # whose axes are an input
        axes_name = reduction.inputs[1]
        axes: list[int] = graph.constants[axes_name].tolist()
    else:
        axes = reduction.attributes["axes"]
    return axes


def _producer(graph: OnnxBuilder, name: str, operation: str) -> Node | None:
    """Return the node that computes the tensor `name`; None if it has another operation."""
    node = graph.producer(name)
    return node if node is not None and node.operation == operation else None
