"""Convert operations that compute each element by itself. JAX's names are the functions' names."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jax import lax

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
    UnconvertibleError,
    Value,
    rank,
)
from jaxcifar.exchange.onnx.traced_step import Step, is_filled

Conversion = Callable[[OnnxBuilder, Step], Any]
_SQRT_HALF = 0.5**0.5


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


def with_number(operation: str, number: float, *, first: bool = False) -> Conversion:
    """Return the conversion of an operation of one input: a node with it and a number.

    Args:
      operation: the node's name in ONNX.
      number: the node's other input.
      first: the number is the first input, not the second.
    """

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        constant = Constant(np.float32(number), np.float32(number))
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
        inverse = _mapped(other, lambda array: (1 / array.astype(np.float64)).astype(np.float32))
        is_normal = np.all(np.abs(np.asarray(other.for_two, np.float64)) > 1e-30)
        if is_normal:
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
    return elementwise(graph, "Max", (x, other), step.shape, step.dtype)


def erf(graph: OnnxBuilder, step: Step) -> Tensor:
    """Compute the error function.

    ONNX Runtime computes a GELU in one pass, but finds it only if `x sqrt(1/2)` is a division.
    """
    [x] = step.inputs
    producer = graph.producer(x.name) if isinstance(x, Tensor) else None
    if isinstance(x, Tensor) and producer is not None and producer.operation == "Mul":
        source, factor = producer.inputs
        number = graph.constants.get(factor)
        if number is not None and number.ndim == 0 and abs(number - _SQRT_HALF) < 1e-6:
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
    power = Constant(np.asarray(exponent, step.dtype), np.asarray(exponent, step.dtype))
    return elementwise(graph, "Pow", (*step.inputs, power), step.shape, step.dtype)


def convert_element_type(graph: OnnxBuilder, step: Step) -> Tensor:
    """Change the dtype. Floats of all widths are float32 in the graph."""
    [x] = step.inputs
    assert isinstance(x, Tensor)  # constants are computed before
    if x.dtype == step.dtype:
        return x
    to = ONNX_TYPES[step.dtype.name]
    return elementwise(graph, "Cast", (x,), step.shape, step.dtype, to=to)


def comparison(operation: str, *, negated: bool = False) -> Conversion:
    """Return the conversion of a comparison; `negated` for the opposite of the ONNX node."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        result = elementwise(graph, operation, step.inputs, step.shape, step.dtype)
        return elementwise(graph, "Not", (result,), step.shape, step.dtype) if negated else result

    return convert


def logical(operation: str) -> Conversion:
    """Return the conversion of a logical operation, for truth values only."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        if step.dtype != np.bool_:
            raise UnconvertibleError(f"{step.name} of integers")
        return elementwise(graph, operation, step.inputs, step.shape, step.dtype)

    return convert


def select_n(graph: OnnxBuilder, step: Step) -> Tensor:
    """Choose between two arrays by a third of truth values."""
    which, *cases = step.inputs
    if len(cases) != 2 or _is_integer(which):
        raise UnconvertibleError("a choice between more than two arrays")
    for number, case in enumerate(cases):
        if is_filled(which, number) and isinstance(case, Tensor) and case.shape == step.shape:
            return case
    return elementwise(graph, "Where", (which, *reversed(cases)), step.shape, step.dtype)


def _is_integer(value: Value) -> bool:
    dtype = value.dtype if isinstance(value, Tensor) else value.array().dtype
    return dtype != np.bool_


def clamp(graph: OnnxBuilder, step: Step) -> Tensor:
    """Limit values to a range."""
    low, x, high = step.inputs
    at_least = elementwise(graph, "Max", (x, low), step.shape, step.dtype)
    return elementwise(graph, "Min", (at_least, high), step.shape, step.dtype)


def is_finite(graph: OnnxBuilder, step: Step) -> Tensor:
    add = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    is_infinite = add("IsInf", step.inputs)
    is_nan = add("IsNaN", step.inputs)
    return add("Not", (add("Or", (is_infinite, is_nan)),))


def unchanged(graph: OnnxBuilder, step: Step) -> list[Value]:
    """Return the inputs: the operation changes no value, or only rounds floats."""
    return list(step.inputs)


def remainder(graph: OnnxBuilder, step: Step) -> Tensor:
    """Return the remainder of a division, with the sign of the dividend."""
    return elementwise(graph, "Mod", step.inputs, step.shape, step.dtype, fmod=1)


def rounded(graph: OnnxBuilder, step: Step) -> Tensor:
    """Round to integers; halves to the even integer, or away from zero."""
    if step.params["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return elementwise(graph, "Round", step.inputs, step.shape, step.dtype)
    add = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    half = Constant(np.float32(0.5), np.float32(0.5))
    magnitude = add("Floor", (add("Add", (add("Abs", step.inputs), half)),))
    return add("Mul", (magnitude, add("Sign", step.inputs)))
