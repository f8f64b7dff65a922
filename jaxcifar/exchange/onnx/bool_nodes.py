"""Convert comparisons, logical operations and choices."""

from functools import partial

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import Conversion, add_cast, add_elementwise_node
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_constant,
    is_tensor_of_shape,
)
from jaxcifar.exchange.onnx.traced_step import Step, is_constant_filled_with

_INT32 = np.dtype(np.int32)


def comparison_conversion(operation: str, *, negated: bool = False) -> Conversion:
    """Return a function that converts a comparison to the ONNX node `operation`, such as "Less".

    If `negated` is True, the function also adds a "Not" node, as for "not equal".
    """

    def convert_comparison(graph: OnnxBuilder, step: Step) -> Tensor:
        inputs = step.inputs
        onnx_runtime_compares_bools = operation == "Equal"
        if not onnx_runtime_compares_bools:
            inputs = tuple(_bools_to_integers(graph, value) for value in inputs)
        result = add_elementwise_node(graph, operation, inputs, step.shape, step.dtype)
        if negated:
            result = add_elementwise_node(graph, "Not", (result,), step.shape, step.dtype)
        return result

    return convert_comparison


def bool_tensor_to_integers(graph: OnnxBuilder, x: Tensor) -> Tensor:
    """Convert truth values to integers, which ONNX Runtime can order; return others unchanged."""
    return add_cast(graph, x, _INT32) if x.dtype == np.bool_ else x


def _bools_to_integers(graph: OnnxBuilder, value: Value) -> Value:
    """Convert truth values to the integers 0 and 1; return other values unchanged."""
    if isinstance(value, Tensor):
        return bool_tensor_to_integers(graph, value)
    array = value.array_for_any_batch()
    return fixed_constant(array.astype(_INT32)) if array.dtype == np.bool_ else value


def logical_conversion(operation: str) -> Conversion:
    """Return a function that converts a logical operation to the ONNX node `operation`.

    Only operations on truth values can be converted, not those on the bits of integers.
    """

    def convert_logical_operation(graph: OnnxBuilder, step: Step) -> Tensor:
        if step.dtype != np.bool_:
            raise UnconvertibleError(
                f"{step.name} of integers can't be converted; use {step.name} of truth values"
            )
        return add_elementwise_node(graph, operation, step.inputs, step.shape, step.dtype)

    return convert_logical_operation


def convert_select(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that take each element from one of two arrays, as `jnp.where` does."""
    condition, *choices = step.inputs
    if len(choices) != 2:
        raise UnconvertibleError(
            "a choice between more than two arrays can't be converted; choose between two at a time"
        )
    if_false, if_true = choices
    is_always_false = is_constant_filled_with(condition, False)
    if is_always_false and is_tensor_of_shape(if_false, step.shape):
        return if_false
    is_always_true = is_constant_filled_with(condition, True)
    if is_always_true and is_tensor_of_shape(if_true, step.shape):
        return if_true
    onnx_runtime_lacks_where = step.dtype == np.bool_
    if onnx_runtime_lacks_where:
        return _add_choice_of_bools(graph, condition, if_false, if_true, step.shape)
    return add_elementwise_node(
        graph, "Where", (condition, if_true, if_false), step.shape, step.dtype
    )


def _add_choice_of_bools(
    graph: OnnxBuilder, condition: Value, if_false: Value, if_true: Value, shape: Shape
) -> Tensor:
    """Add "And", "Or" and "Not" nodes that take each truth value from one of two arrays."""
    add_elementwise = partial(add_elementwise_node, graph, shape=shape, dtype=np.dtype(np.bool_))
    chosen_if_true = add_elementwise("And", (condition, if_true))
    opposite = add_elementwise("Not", (condition,))
    chosen_if_false = add_elementwise("And", (opposite, if_false))
    return add_elementwise("Or", (chosen_if_true, chosen_if_false))


def convert_is_finite(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that compute whether each element is neither infinite nor NaN."""
    add_elementwise = partial(add_elementwise_node, graph, shape=step.shape, dtype=step.dtype)
    is_infinite = add_elementwise("IsInf", step.inputs)
    is_nan = add_elementwise("IsNaN", step.inputs)
    is_infinite_or_nan = add_elementwise("Or", (is_infinite, is_nan))
    return add_elementwise("Not", (is_infinite_or_nan,))
