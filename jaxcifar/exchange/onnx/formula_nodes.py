"""Convert functions that ONNX lacks, or computes otherwise, as formulas of its nodes."""

import dataclasses
from functools import partial

import numpy as np
from jax import lax

from jaxcifar.exchange.onnx.elementwise_nodes import cast, elementwise
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Constant, Tensor, fixed_constant
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_SQRT_HALF = 0.5**0.5
_FLOAT64, _ONNX_FLOAT64 = np.dtype(np.float64), 11
_LARGEST_NEAR_ZERO = 0.5


def erf(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of the error function, as in a GELU.

    ONNX Runtime computes a GELU in one pass, but only if it finds `x / sqrt(2)` in the graph. So a
    product of x and sqrt(1/2) becomes this division.
    """
    [x] = step.inputs
    if isinstance(x, Tensor):
        unscaled_name = _name_before_factor_sqrt_half(graph, x)
        if unscaled_name is not None:
            quotient_as_in_gelu = graph.add("Div", unscaled_name, graph.scalar(2**0.5))
            name = graph.add("Erf", quotient_as_in_gelu)
            return dataclasses.replace(x, name=name)
    return elementwise(graph, "Erf", step.inputs, step.shape, step.dtype)


def _name_before_factor_sqrt_half(graph: OnnxBuilder, product: Tensor) -> str | None:
    """Return the name of the tensor that is multiplied by sqrt(1/2) to get `product`, or None."""
    node = graph.producer(product.name)
    if node is None or node.operation != "Mul":
        return None
    multiplied_name, factor_name = node.inputs
    factor = graph.constants.get(factor_name)
    if factor is None or factor.ndim > 0:
        return None
    is_sqrt_half = abs(factor - _SQRT_HALF) < 1e-6
    return multiplied_name if is_sqrt_half else None


def _scalar(number: float) -> Constant:
    return fixed_constant(np.float32(number))


def square(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node that multiplies an array by itself."""
    [x] = step.inputs
    return elementwise(graph, "Mul", (x, x), step.shape, step.dtype)


def integer_pow(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node that raises an array to a constant integer power."""
    exponent = step.params["y"]
    if exponent == 2:
        return square(graph, step)
    if exponent == -1 and step.dtype == np.float32:
        return elementwise(graph, "Reciprocal", step.inputs, step.shape, step.dtype)
    power = fixed_constant(np.asarray(exponent, step.dtype))
    return elementwise(graph, "Pow", (*step.inputs, power), step.shape, step.dtype)


def convert_element_type(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that change an array's dtype; floats of any width are float32 in the graph."""
    x = only_input(step)
    if x.dtype == step.dtype:
        return x
    is_float_to_integer = x.dtype == np.float32 and step.dtype != np.bool_
    if is_float_to_integer:
        return _float_to_integer(graph, x, step.dtype)
    return cast(graph, x, step.dtype)


def _float_to_integer(graph: OnnxBuilder, x: Tensor, dtype: np.dtype) -> Tensor:
    """Add nodes that convert floats to integers as XLA does.

    Numbers out of the dtype's range become its smallest or largest number, and NaN becomes 0.
    """
    add_node = partial(elementwise, graph, shape=x.shape)
    is_nan = add_node("IsNaN", (x,), dtype=np.dtype(np.bool_))
    without_nan = add_node("Where", (is_nan, _scalar(0), x), dtype=x.dtype)
    # float64 holds the bounds of all integers of 32 bits exactly.
    as_float64 = add_node("Cast", (without_nan,), dtype=_FLOAT64, to=_ONNX_FLOAT64)
    limits = np.iinfo(dtype)
    smallest = graph.constant(np.float64(limits.min))
    largest = graph.constant(np.float64(limits.max))
    limited_name = graph.add("Clip", as_float64.name, smallest, largest)
    limited = dataclasses.replace(as_float64, name=limited_name)
    return cast(graph, limited, dtype)


def expm1(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that compute exp(x) - 1 as tanh(x / 2) * (exp(x) + 1), to be exact near 0 too."""
    add_node = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    half_of_x = add_node("Mul", (*step.inputs, _scalar(0.5)))
    exponential = add_node("Exp", step.inputs)
    exponential_plus_one = add_node("Add", (exponential, _scalar(1)))
    tanh_of_half = add_node("Tanh", (half_of_x,))
    return add_node("Mul", (tanh_of_half, exponential_plus_one))


def log1p(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that compute log(1 + x).

    Near 0, they compute 2 * atanh(x / (2 + x)), because rounding 1 + x would lose digits of x.
    """
    add_node = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    one_plus_x = add_node("Add", (*step.inputs, _scalar(1)))
    logarithm = add_node("Log", (one_plus_x,))
    two_plus_x = add_node("Add", (*step.inputs, _scalar(2)))
    ratio = add_node("Div", (*step.inputs, two_plus_x))
    atanh_of_ratio = add_node("Atanh", (ratio,))
    logarithm_near_zero = add_node("Mul", (atanh_of_ratio, _scalar(2)))
    limit = _scalar(_LARGEST_NEAR_ZERO)
    magnitude = add_node("Abs", step.inputs)
    is_near_zero = elementwise(graph, "Less", (magnitude, limit), step.shape, np.dtype(np.bool_))
    return add_node("Where", (is_near_zero, logarithm_near_zero, logarithm))


def remainder(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add a node for the remainder of a division, with the sign of the dividend."""
    return elementwise(graph, "Mod", step.inputs, step.shape, step.dtype, fmod=1)


def rounded(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add nodes that round to integers.

    A parameter of the operation says how 0.5 is rounded: to 0, the even neighbour, or to 1.
    """
    if step.params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return elementwise(graph, "Round", step.inputs, step.shape, step.dtype)
    add_node = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    magnitude = add_node("Abs", step.inputs)
    magnitude_plus_half = add_node("Add", (magnitude, _scalar(0.5)))
    rounded_magnitude = add_node("Floor", (magnitude_plus_half,))
    sign = add_node("Sign", step.inputs)
    return add_node("Mul", (rounded_magnitude, sign))
