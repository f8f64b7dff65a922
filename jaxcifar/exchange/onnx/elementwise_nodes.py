"""Convert elementwise operations, such as an addition."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxcifar.exchange.onnx.onnx_builder import ONNX_TYPES, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Order,
    Shape,
    Tensor,
    Value,
    fixed_constant,
    is_tensor_of_shape,
    rank,
)
from jaxcifar.exchange.onnx.result_layout import broadcast_sizes_in_graph, common_order
from jaxcifar.exchange.onnx.traced_step import Step, is_constant_filled_with

Conversion = Callable[[OnnxBuilder, Step], Any]
_SMALLEST_DIVISOR = 1e-30  # by which a division becomes a multiplication


def add_elementwise_node(
    graph: OnnxBuilder,
    operation: str,
    inputs: Sequence[Value],
    shape: Shape,
    dtype: np.dtype,
    **attributes: Any,
) -> Tensor:
    """Add a node with an elementwise operation, such as an addition; return its result.

    Args:
      graph: the graph.
      operation: the node's name in ONNX, such as "Add".
      inputs: inputs with as many axes as the result, or scalars.
      shape: the result's shape in JAX.
      dtype: the result's dtype.
      attributes: the node's attributes.
    """
    order = common_order(inputs, len(shape))
    tensors = []
    for value in inputs:
        is_scalar = rank(value) == 0
        order_of_value: Order = () if is_scalar else order
        tensors.append(graph.reorder_axes(value, order_of_value))
    input_names = [tensor.name for tensor in tensors]
    name = graph.add_node(operation, *input_names, **attributes)
    sizes_in_graph = broadcast_sizes_in_graph(tensors, axis_count=len(shape))
    return Tensor(name, shape, sizes_in_graph, order, dtype)


def add_cast(graph: OnnxBuilder, x: Tensor, dtype: np.dtype) -> Tensor:
    """Add a node that converts a tensor to another dtype; return the new tensor."""
    onnx_type = ONNX_TYPES[dtype.name]
    return add_elementwise_node(graph, "Cast", (x,), x.shape, dtype, to=onnx_type)


def conversion_to_node(operation: str, **attributes: Any) -> Conversion:
    """Return a function that converts an elementwise operation to the ONNX node `operation`."""

    def convert_to_node(graph: OnnxBuilder, step: Step) -> Tensor:
        return add_elementwise_node(
            graph, operation, step.inputs, step.shape, step.dtype, **attributes
        )

    return convert_to_node


def commutative_conversion(operation: str) -> Conversion:
    """Return a function that converts an operation whose two inputs may be swapped, such as "Add".

    A constant becomes the second input of the node, where `node_folding` looks for constants.
    """

    def convert_commutative_operation(graph: OnnxBuilder, step: Step) -> Tensor:
        inputs = _constants_last(step.inputs)
        return add_elementwise_node(graph, operation, inputs, step.shape, step.dtype)

    return convert_commutative_operation


def _constants_last(inputs: Sequence[Value]) -> list[Value]:
    """Return the inputs of an operation: first those that depend on the images, then constants."""
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    constants = [value for value in inputs if isinstance(value, Constant)]
    return [*tensors, *constants]


def chained_conversions(*conversions: Conversion) -> Conversion:
    """Return a function that calls conversion functions in turn, each on the previous result.

    For example, `rsqrt` becomes a square root and then a reciprocal.
    """

    def convert_by_chain(graph: OnnxBuilder, step: Step) -> Tensor:
        for conversion in conversions:
            result: Tensor = conversion(graph, step)
            step = dataclasses.replace(step, inputs=(result,))
        return result

    return convert_by_chain


def conversion_with_scalar(
    operation: str, scalar: float, *, scalar_first: bool = False
) -> Conversion:
    """Return a function that converts an operation with one input to a node with two inputs.

    The node's other input is a constant. For example, an operation that is converted by
    `conversion_with_scalar("Mul", 2)` becomes a multiplication by 2.

    Args:
      operation: the node's name in ONNX.
      scalar: the constant, which is the node's second input.
      scalar_first: True if the constant is the node's first input instead.
    """

    def convert_with_scalar(graph: OnnxBuilder, step: Step) -> Tensor:
        constant = fixed_constant(np.float32(scalar))
        [x] = step.inputs
        inputs = (constant, x) if scalar_first else (x, constant)
        return add_elementwise_node(graph, operation, inputs, step.shape, step.dtype)

    return convert_with_scalar


def convert_sub(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node that subtracts the second input from the first.

    If the second input is a constant, its negative is added instead: a constant that is added can
    be folded into the layer before.
    """
    x, subtracted = step.inputs
    if isinstance(subtracted, Constant) and step.dtype == np.float32:
        negative = subtracted.map(np.negative)
        return add_elementwise_node(graph, "Add", (x, negative), step.shape, step.dtype)
    return add_elementwise_node(graph, "Sub", step.inputs, step.shape, step.dtype)


def convert_div(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node that divides the first input by the second.

    If the second input is a constant, the first is multiplied by its inverse instead: a constant
    factor can be folded into the layer before.
    """
    x, divisor = step.inputs
    if isinstance(divisor, Constant) and step.dtype == np.float32:
        magnitudes = np.abs(divisor.array_for_any_batch().astype(np.float64))
        has_finite_inverse = np.all(magnitudes > _SMALLEST_DIVISOR)
        if has_finite_inverse:
            inverse = divisor.map(_inverse)
            return add_elementwise_node(graph, "Mul", (x, inverse), step.shape, step.dtype)
    return add_elementwise_node(graph, "Div", step.inputs, step.shape, step.dtype)


def _inverse(array: ArrayLike) -> np.ndarray:
    exact_inverse = 1 / np.asarray(array, np.float64)
    return exact_inverse.astype(np.float32)


def convert_max(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node for the larger of two values: a "Relu" node if one of them is zero."""
    x, other = _constants_last(step.inputs)
    is_float = step.dtype == np.float32
    if is_float and is_tensor_of_shape(x, step.shape):
        is_relu = is_constant_filled_with(other, 0)
        if is_relu:
            return add_elementwise_node(graph, "Relu", (x,), step.shape, step.dtype)
        is_maximum_always_x = is_constant_filled_with(other, -np.inf)  # as in a softmax
        if is_maximum_always_x:
            return x
    operation = "Or" if step.dtype == np.bool_ else "Max"
    return add_elementwise_node(graph, operation, (x, other), step.shape, step.dtype)


def convert_min(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node for the smaller of two values, element by element."""
    operation = "And" if step.dtype == np.bool_ else "Min"
    return add_elementwise_node(graph, operation, step.inputs, step.shape, step.dtype)


def convert_clamp(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that limit the values of an array to a range."""
    low, x, high = step.inputs
    at_least_low = add_elementwise_node(graph, "Max", (x, low), step.shape, step.dtype)
    return add_elementwise_node(graph, "Min", (at_least_low, high), step.shape, step.dtype)


def unchanged_inputs(graph: OnnxBuilder, step: Step) -> list[Value]:
    """Return the inputs of an operation that changes no value, or only rounds floats."""
    return list(step.inputs)
