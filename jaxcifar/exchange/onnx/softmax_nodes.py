"""Find a softmax in its steps: maximum, difference, exponential, sum and division."""

import dataclasses

from jaxcifar.exchange.onnx import elementwise_nodes as elements
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor
from jaxcifar.exchange.onnx.traced_step import Step


def div(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a division; the last step of a softmax becomes one node for the softmax."""
    dividend, divisor = step.inputs
    if isinstance(dividend, Tensor) and isinstance(divisor, Tensor):
        name = _softmax(graph, dividend, divisor)
        if name is not None:
            return dataclasses.replace(dividend, name=name)
    return elements.div(graph, step)


def _softmax(graph: OnnxBuilder, exponentials: Tensor, sums: Tensor) -> str | None:
    """Add a softmax node if the quotient of two tensors is a softmax; return its name, else None.

    A softmax is the quotient of `exp(values - maxima)` and its sums along the same axis.
    """
    if exponentials.order != sums.order:  # the same node, transposed in JAX
        return None
    exp_node = _producer(graph, exponentials.name, "Exp")
    sum_node = _reduction(graph, sums.name, "ReduceSum", exponentials)
    if exp_node is None or sum_node is None or sum_node.inputs[0] != exponentials.name:
        return None
    difference_node = _producer(graph, exp_node.inputs[0], "Sub")
    if difference_node is None:
        return None
    values, maxima = difference_node.inputs
    max_node = _reduction(graph, maxima, "ReduceMax", exponentials)
    if max_node is None or max_node.inputs[0] != values:
        return None
    axes = _reduced_axes(graph, sum_node)
    if len(axes) != 1 or _reduced_axes(graph, max_node) != axes:
        return None
    return graph.add("Softmax", values, axis=axes[0])


def _reduction(graph: OnnxBuilder, name: str, operation: str, whole: Tensor) -> Node | None:
    """Find the node of a reduction that keeps the reduced axis with the size 1 (`keepdims=True`).

    In the graph, this is a reduction and then a reshape. Return None if the tensor `name` was
    computed in another way.

    Args:
      graph: the graph.
      name: name of the tensor; it must have the size 1 along the reduced axis.
      operation: the reduction, such as "ReduceSum".
      whole: a tensor with the shape before the reduction.
    """
    reshape = _producer(graph, name, "Reshape")
    if reshape is None:
        return None
    node = _producer(graph, reshape.inputs[0], operation)
    if node is None:
        return None
    expected_sizes = [size.for_two if size.is_fixed else -1 for size in whole.shape_in_graph]
    for axis in _reduced_axes(graph, node):
        expected_sizes[axis] = 1
    sizes = graph.constants[reshape.inputs[1]].tolist()
    return node if sizes == expected_sizes else None


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
