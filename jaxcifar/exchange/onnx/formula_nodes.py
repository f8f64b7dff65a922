"""Convert functions that ONNX lacks, or computes otherwise, as formulas of its nodes."""

import dataclasses
from functools import partial

import numpy as np
from jax import lax

from jaxcifar.exchange.onnx.elementwise_nodes import add_cast, add_elementwise_node
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Constant, Tensor, fixed_constant
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_SQRT_HALF, _SQRT_HALF_TOLERANCE = 0.5**0.5, 1e-6
_FLOAT64, _ONNX_FLOAT64 = np.dtype(np.float64), 11
_LARGEST_NEAR_ZERO = 0.5


def convert_erf(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of the error function, as in a GELU.

    ONNX Runtime computes a GELU in one pass, but only if it finds `x / sqrt(2)` in the graph. So a
    product of x and sqrt(1/2) becomes this division.
    """
    [scaled_x] = step.inputs
    if isinstance(scaled_x, Tensor):
        name_of_x_in_gelu = _name_of_tensor_times_sqrt_half(graph, scaled_x)
        if name_of_x_in_gelu is not None:
            sqrt_two = graph.add_scalar(2**0.5)
            quotient_known_to_onnx_runtime = graph.add_node("Div", name_of_x_in_gelu, sqrt_two)
            name = graph.add_node("Erf", quotient_known_to_onnx_runtime)
            return dataclasses.replace(scaled_x, name=name)
    return add_elementwise_node(graph, "Erf", step.inputs, step.shape, step.dtype)


def _name_of_tensor_times_sqrt_half(graph: OnnxBuilder, product: Tensor) -> str | None:
    """Return the name of x if `product` is computed as x * sqrt(1/2); None otherwise."""
    node = graph.producer(product.name)
    if node is None or node.operation != "Mul":
        return None
    multiplied_name, constant_name = node.inputs
    constant = graph.constants.get(constant_name)
    if constant is None or constant.ndim > 0:
        return None
    is_sqrt_half = abs(constant - _SQRT_HALF) < _SQRT_HALF_TOLERANCE
    return multiplied_name if is_sqrt_half else None


def _scalar(number: float) -> Constant:
    return fixed_constant(np.float32(number))


def convert_square(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node that multiplies an array by itself."""
    [x] = step.inputs
    return add_elementwise_node(graph, "Mul", (x, x), step.shape, step.dtype)


def convert_integer_pow(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node that raises an array to a constant integer power."""
    exponent = step.params["y"]
    if exponent == 2:
        return convert_square(graph, step)
    if exponent == -1 and step.dtype == np.float32:
        return add_elementwise_node(graph, "Reciprocal", step.inputs, step.shape, step.dtype)
    power = fixed_constant(np.asarray(exponent, step.dtype))
    return add_elementwise_node(graph, "Pow", (*step.inputs, power), step.shape, step.dtype)


def convert_dtype_change(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that change an array's dtype; floats of any width are float32 in the graph."""
    x = only_input(step)
    if x.dtype == step.dtype:
        return x
    is_float_to_integer = x.dtype == np.float32 and step.dtype != np.bool_
    if is_float_to_integer:
        return _add_conversion_to_integer(graph, x, step.dtype)
    return add_cast(graph, x, step.dtype)


def _add_conversion_to_integer(graph: OnnxBuilder, x: Tensor, dtype: np.dtype) -> Tensor:
    """Add nodes that convert floats to integers as XLA does.

    Numbers out of the dtype's range become its smallest or largest number, and NaN becomes 0.
    """
    add_elementwise = partial(add_elementwise_node, graph, shape=x.shape)
    is_nan = add_elementwise("IsNaN", (x,), dtype=np.dtype(np.bool_))
    without_nan = add_elementwise("Where", (is_nan, _scalar(0), x), dtype=x.dtype)
    # float64 holds the bounds of all integers of 32 bits exactly.
    as_float64 = add_elementwise("Cast", (without_nan,), dtype=_FLOAT64, to=_ONNX_FLOAT64)
    limits = np.iinfo(dtype)
    smallest = graph.add_constant(np.float64(limits.min))
    largest = graph.add_constant(np.float64(limits.max))
    limited_name = graph.add_node("Clip", as_float64.name, smallest, largest)
    limited = dataclasses.replace(as_float64, name=limited_name)
    return add_cast(graph, limited, dtype)


def convert_expm1(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that compute exp(x) - 1 as tanh(x / 2) * (exp(x) + 1), to be exact near 0 too."""
    add_elementwise = partial(add_elementwise_node, graph, shape=step.shape, dtype=step.dtype)
    half_of_x = add_elementwise("Mul", (*step.inputs, _scalar(0.5)))
    exponential = add_elementwise("Exp", step.inputs)
    exponential_plus_one = add_elementwise("Add", (exponential, _scalar(1)))
    tanh_of_half = add_elementwise("Tanh", (half_of_x,))
    return add_elementwise("Mul", (tanh_of_half, exponential_plus_one))


def convert_log1p(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that compute log(1 + x).

    Near 0, they compute 2 * atanh(x / (2 + x)), because rounding 1 + x would lose digits of x.
    """
    add_elementwise = partial(add_elementwise_node, graph, shape=step.shape, dtype=step.dtype)
    one_plus_x = add_elementwise("Add", (*step.inputs, _scalar(1)))
    logarithm = add_elementwise("Log", (one_plus_x,))
    two_plus_x = add_elementwise("Add", (*step.inputs, _scalar(2)))
    ratio = add_elementwise("Div", (*step.inputs, two_plus_x))
    atanh_of_ratio = add_elementwise("Atanh", (ratio,))
    logarithm_near_zero = add_elementwise("Mul", (atanh_of_ratio, _scalar(2)))
    magnitude = add_elementwise("Abs", step.inputs)
    limit = _scalar(_LARGEST_NEAR_ZERO)
    is_near_zero = add_elementwise("Less", (magnitude, limit), dtype=np.dtype(np.bool_))
    return add_elementwise("Where", (is_near_zero, logarithm_near_zero, logarithm))


def convert_rem(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node for the remainder of a division, with the sign of the dividend."""
    return add_elementwise_node(graph, "Mod", step.inputs, step.shape, step.dtype, fmod=1)


def convert_round(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that round to integers.

    A parameter of the operation says how 0.5 is rounded: to the even neighbour 0, or away from
    zero, to 1.
    """
    rounds_half_to_even = step.params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN
    if rounds_half_to_even:
        return add_elementwise_node(graph, "Round", step.inputs, step.shape, step.dtype)
    add_elementwise = partial(add_elementwise_node, graph, shape=step.shape, dtype=step.dtype)
    magnitude = add_elementwise("Abs", step.inputs)
    magnitude_plus_half = add_elementwise("Add", (magnitude, _scalar(0.5)))
    rounded_magnitude = add_elementwise("Floor", (magnitude_plus_half,))
    sign = add_elementwise("Sign", step.inputs)
    return add_elementwise("Mul", (rounded_magnitude, sign))
