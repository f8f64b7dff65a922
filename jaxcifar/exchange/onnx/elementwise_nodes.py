"""Convert operations that compute each element by itself. JAX's names are the functions' names."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import (
    ONNX_TYPES,
    OnnxBuilder,
    common_order,
    shape_in_graph,
)
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Shape,
    Tensor,
    Value,
    rank,
    shared,
)
from jaxcifar.exchange.onnx.traced_step import Step, is_filled

Conversion = Callable[[OnnxBuilder, Step], Any]
_SMALLEST_DIVISOR = 1e-30  # by which a division becomes a multiplication


def elementwise(
    graph: OnnxBuilder,
    operation: str,
    inputs: Sequence[Value],
    shape: Shape,
    dtype: np.dtype,
    **attributes: Any,
) -> Tensor:
    """Add an elementwise node.

    Args:
      graph: the graph.
      operation: the node's name in ONNX, such as "Add".
      inputs: inputs with as many axes as the result, or scalars.
      shape: the result's shape in JAX.
      dtype: the result's dtype.
      attributes: the node's attributes.
    """
    order = common_order(inputs, len(shape))
    tensors = [graph.in_order(value, order if rank(value) else ()) for value in inputs]
    name = graph.add(operation, *(tensor.name for tensor in tensors), **attributes)
    return Tensor(name, shape, shape_in_graph(tensors, shape), order, dtype)


def cast(graph: OnnxBuilder, x: Tensor, dtype: np.dtype) -> Tensor:
    """Return a tensor with another dtype."""
    to = ONNX_TYPES[dtype.name]
    return elementwise(graph, "Cast", (x,), x.shape, dtype, to=to)


def by_node(operation: str, **attributes: Any) -> Conversion:
    """Return the conversion of an operation for which ONNX has a node."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        return elementwise(graph, operation, step.inputs, step.shape, step.dtype, **attributes)

    return convert


def commutative(operation: str) -> Conversion:
    """Return the conversion of a commutative operation; a constant becomes the second input."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        inputs = sorted(step.inputs, key=lambda value: isinstance(value, Constant))
        return elementwise(graph, operation, inputs, step.shape, step.dtype)

    return convert


def chain(*conversions: Conversion) -> Conversion:
    """Return a conversion that applies several conversions, each to the result before."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        for conversion in conversions:
            result: Tensor = conversion(graph, step)
            step = Step(step.for_two, step.for_three, (result,))
        return result

    return convert


def with_scalar(operation: str, scalar: float, *, first: bool = False) -> Conversion:
    """Return the conversion of an operation of one input: a node with it and a constant.

    Args:
      operation: the node's name in ONNX.
      scalar: the constant, the node's other input.
      first: the constant is the first input, not the second.
    """

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        constant = shared(np.float32(scalar))
        inputs = (constant, *step.inputs) if first else (*step.inputs, constant)
        return elementwise(graph, operation, inputs, step.shape, step.dtype)

    return convert


def _mapped(value: Constant, function: Callable[[np.ndarray], np.ndarray]) -> Constant:
    """Apply a function to the arrays of a constant; return the new constant."""
    two = function(np.asarray(value.for_two))
    return Constant(two, two if value.is_shared else function(np.asarray(value.for_three)))


def sub(graph: OnnxBuilder, step: Step) -> Tensor:
    """Subtract; a constant is added, so that it can be folded into the layer before."""
    x, other = step.inputs
    if isinstance(other, Constant) and step.dtype == np.float32:
        inputs = (x, _mapped(other, np.negative))
        return elementwise(graph, "Add", inputs, step.shape, step.dtype)
    return elementwise(graph, "Sub", step.inputs, step.shape, step.dtype)


def div(graph: OnnxBuilder, step: Step) -> Tensor:
    """Divide; by a constant it is multiplied, so that it can be folded into the layer before."""
    x, other = step.inputs
    if isinstance(other, Constant) and step.dtype == np.float32:
        magnitudes = np.abs(other.array().astype(np.float64))
        if np.all(magnitudes > _SMALLEST_DIVISOR):
            inverse = _mapped(
                other, lambda array: (1 / array.astype(np.float64)).astype(np.float32)
            )
            return elementwise(graph, "Mul", (x, inverse), step.shape, step.dtype)
    return elementwise(graph, "Div", step.inputs, step.shape, step.dtype)


def maximum(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return the larger of two values: a Relu node if one of them is zero."""
    x, other = sorted(step.inputs, key=lambda value: isinstance(value, Constant))
    if step.dtype == np.float32 and isinstance(x, Tensor) and x.shape == step.shape:
        if is_filled(other, 0):
            return elementwise(graph, "Relu", (x,), step.shape, step.dtype)
        if is_filled(other, -np.inf):  # as in a softmax
            return x
    operation = "Or" if step.dtype == np.bool_ else "Max"
    return elementwise(graph, operation, (x, other), step.shape, step.dtype)


def minimum(graph: OnnxBuilder, step: Step) -> Tensor:
    operation = "And" if step.dtype == np.bool_ else "Min"
    return elementwise(graph, operation, step.inputs, step.shape, step.dtype)


def clamp(graph: OnnxBuilder, step: Step) -> Tensor:
    """Limit values to a range."""
    low, x, high = step.inputs
    at_least = elementwise(graph, "Max", (x, low), step.shape, step.dtype)
    return elementwise(graph, "Min", (at_least, high), step.shape, step.dtype)


def unchanged(graph: OnnxBuilder, step: Step) -> list[Value]:
    """Return the inputs: the operation changes no value, or only rounds floats."""
    return list(step.inputs)
