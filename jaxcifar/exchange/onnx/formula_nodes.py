"""Convert functions that ONNX lacks, or computes otherwise, as formulas of its nodes."""

import dataclasses
from functools import partial

import numpy as np
from jax import lax

from jaxcifar.exchange.onnx.elementwise_nodes import cast, elementwise
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor, shared
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_SQRT_HALF = 0.5**0.5
_FLOAT64, _ONNX_FLOAT64 = np.dtype(np.float64), 11
_LARGEST_NEAR_ZERO = 0.5


def erf(graph: OnnxBuilder, step: Step) -> Tensor:
    """Compute the error function.

    ONNX Runtime computes a GELU in one pass, but finds it only if `x sqrt(1/2)` is a division.
    """
    [x] = step.inputs
    producer = graph.producer(x.name) if isinstance(x, Tensor) else None
    if isinstance(x, Tensor) and producer is not None and producer.operation == "Mul":
        source, factor = producer.inputs
        array = graph.constants.get(factor)
        if array is not None and array.ndim == 0 and abs(array - _SQRT_HALF) < 1e-6:
            name = graph.add("Erf", graph.add("Div", source, graph.scalar(2**0.5)))
            return Tensor(name, x.shape, x.stored, x.order, x.dtype)
    return elementwise(graph, "Erf", step.inputs, step.shape, step.dtype)


def square(graph: OnnxBuilder, step: Step) -> Tensor:
    [x] = step.inputs
    return elementwise(graph, "Mul", (x, x), step.shape, step.dtype)


def integer_pow(graph: OnnxBuilder, step: Step) -> Tensor:
    """Raise to a constant integer power."""
    exponent = step.params["y"]
    if exponent == 2:
        return square(graph, step)
    if exponent == -1 and step.dtype == np.float32:
        return elementwise(graph, "Reciprocal", step.inputs, step.shape, step.dtype)
    power = shared(np.asarray(exponent, step.dtype))
    return elementwise(graph, "Pow", (*step.inputs, power), step.shape, step.dtype)


def convert_element_type(graph: OnnxBuilder, step: Step) -> Tensor:
    """Change the dtype. Floats of all widths are float32 in the graph."""
    x = only_input(step)
    if x.dtype == step.dtype:
        return x
    is_float_to_integer = x.dtype == np.float32 and step.dtype != np.bool_
    return _saturated(graph, x, step.dtype) if is_float_to_integer else cast(graph, x, step.dtype)


def _saturated(graph: OnnxBuilder, x: Tensor, dtype: np.dtype) -> Tensor:
    """Return floats as integers as XLA does: limited to the range of the dtype, and NaN as 0."""
    add = partial(elementwise, graph, shape=x.shape)
    is_nan = add("IsNaN", (x,), dtype=np.dtype(np.bool_))
    filled = add("Where", (is_nan, shared(np.float32(0)), x), dtype=x.dtype)
    # float64 holds the bounds of all integers of 32 bits exactly.
    exact = add("Cast", (filled,), dtype=_FLOAT64, to=_ONNX_FLOAT64)
    limits = np.iinfo(dtype)
    bounds = [graph.constant(np.float64(bound)) for bound in (limits.min, limits.max)]
    limited = dataclasses.replace(exact, name=graph.add("Clip", exact.name, *bounds))
    return cast(graph, limited, dtype)


def expm1(graph: OnnxBuilder, step: Step) -> Tensor:
    """Compute exp(x) - 1 as tanh(x / 2) (exp(x) + 1), which is exact near 0 too."""
    add = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    half = add("Mul", (*step.inputs, shared(np.float32(0.5))))
    exponential = add("Exp", step.inputs)
    above = add("Add", (exponential, shared(np.float32(1))))
    return add("Mul", (add("Tanh", (half,)), above))


def log1p(graph: OnnxBuilder, step: Step) -> Tensor:
    """Compute log(1 + x); near 0 as 2 atanh(x / (2 + x)), where 1 + x would be rounded."""
    add = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    logarithm = add("Log", (add("Add", (*step.inputs, shared(np.float32(1)))),))
    ratio = add("Div", (*step.inputs, add("Add", (*step.inputs, shared(np.float32(2))))))
    precise = add("Mul", (add("Atanh", (ratio,)), shared(np.float32(2))))
    limit = shared(np.float32(_LARGEST_NEAR_ZERO))
    is_small = elementwise(
        graph, "Less", (add("Abs", step.inputs), limit), step.shape, np.dtype(np.bool_)
    )
    return add("Where", (is_small, precise, logarithm))


def remainder(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return the remainder of a division, with the sign of the dividend."""
    return elementwise(graph, "Mod", step.inputs, step.shape, step.dtype, fmod=1)


def rounded(graph: OnnxBuilder, step: Step) -> Tensor:
    """Round to integers; halves to the even integer, or away from zero."""
    if step.params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return elementwise(graph, "Round", step.inputs, step.shape, step.dtype)
    add = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    half = shared(np.float32(0.5))
    magnitude = add("Floor", (add("Add", (add("Abs", step.inputs), half)),))
    return add("Mul", (magnitude, add("Sign", step.inputs)))
