"""Find a softmax in its steps: maximum, difference, exponential, sum and division."""

from jaxcifar.exchange.onnx import elementwise_nodes as elements
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor
from jaxcifar.exchange.onnx.traced_step import Step


def div(graph: OnnxBuilder, step: Step) -> Tensor:
    """Divide two arrays; the last step of a softmax becomes a node for the whole softmax."""
    x, other = step.inputs
    if isinstance(x, Tensor) and isinstance(other, Tensor):
        name = _softmax(graph, x, other)
        if name is not None:
            return Tensor(name, x.shape, x.stored, x.order, x.dtype)
    return elements.div(graph, step)


def _softmax(graph: OnnxBuilder, exponentials: Tensor, sums: Tensor) -> str | None:
    """Return the name of a softmax node, if the quotient of two tensors is a softmax; else None."""
    if exponentials.order != sums.order:  # the same node, transposed in JAX
        return None
    exponential = _producer(graph, exponentials.name, "Exp")
    total = _reduction(graph, sums.name, "ReduceSum", exponentials)
    if exponential is None or total is None or total.inputs[0] != exponentials.name:
        return None
    difference = _producer(graph, exponential.inputs[0], "Sub")
    if difference is None:
        return None
    values, maxima = difference.inputs
    largest = _reduction(graph, maxima, "ReduceMax", exponentials)
    if largest is None or largest.inputs[0] != values:
        return None
    axes = graph.constants[total.inputs[1]].tolist()
    if len(axes) != 1 or largest.attributes["axes"] != axes:
        return None
    return graph.add("Softmax", values, axis=axes[0])


def _reduction(graph: OnnxBuilder, name: str, operation: str, whole: Tensor) -> Node | None:
    """Return the reduction over one axis whose result is a tensor, or None.

    Args:
      graph: the graph.
      name: name of the result; the reduced axis must have been added again, with size 1.
      operation: the reduction, such as "ReduceSum".
      whole: a tensor with the shape that is reduced.
    """
    reshape = _producer(graph, name, "Reshape")
    if reshape is None:
        return None
    node = _producer(graph, reshape.inputs[0], operation)
    if node is None:
        return None
    is_sum = operation == "ReduceSum"
    axes = graph.constants[node.inputs[1]].tolist() if is_sum else node.attributes["axes"]
    sizes = [size.for_two if size.is_fixed else -1 for size in whole.stored_shape]
    for axis in axes:
        sizes[axis] = 1
    return node if graph.constants[reshape.inputs[1]].tolist() == sizes else None


def _producer(graph: OnnxBuilder, name: str, operation: str) -> Node | None:
    """Return the node that computes a tensor, if the node is this operation; else None."""
    node = graph.producer(name)
    return node if node is not None and node.operation == operation else None
