"""Convert comparisons, logical operations and choices."""

from functools import partial

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import Conversion, cast, elementwise
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
    shared,
)
from jaxcifar.exchange.onnx.traced_step import Step, is_filled

_INT32 = np.dtype(np.int32)


def comparison(operation: str, *, negated: bool = False) -> Conversion:
    """Return the conversion of a comparison; `negated` for the opposite of the ONNX node."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        inputs = step.inputs
        if operation != "Equal":
            inputs = tuple(_as_number(graph, value) for value in inputs)
        result = elementwise(graph, operation, inputs, step.shape, step.dtype)
        return elementwise(graph, "Not", (result,), step.shape, step.dtype) if negated else result

    return convert


def _as_number(graph: OnnxBuilder, value: Value) -> Value:
    """Return bools as integers, 0 or 1; return other values unchanged."""
    if isinstance(value, Constant):
        array = value.array()
        return shared(array.astype(_INT32)) if array.dtype == np.bool_ else value
    return cast(graph, value, _INT32) if value.dtype == np.bool_ else value


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
    if len(cases) != 2:
        raise UnconvertibleError("a choice between more than two arrays")
    for index, case in enumerate(cases):
        if is_filled(which, index) and isinstance(case, Tensor) and case.shape == step.shape:
            return case
    if step.dtype == np.bool_:  # for which ONNX Runtime has no Where
        return _choice_of_bools(graph, which, cases[0], cases[1], step.shape)
    return elementwise(graph, "Where", (which, *reversed(cases)), step.shape, step.dtype)


def _choice_of_bools(
    graph: OnnxBuilder, which: Value, if_false: Value, if_true: Value, shape: Shape
) -> Tensor:
    """Choose between two arrays of bools by logical operations."""
    add = partial(elementwise, graph, shape=shape, dtype=np.dtype(np.bool_))
    chosen_true = add("And", (which, if_true))
    chosen_false = add("And", (add("Not", (which,)), if_false))
    return add("Or", (chosen_true, chosen_false))


def is_finite(graph: OnnxBuilder, step: Step) -> Tensor:
    add = partial(elementwise, graph, shape=step.shape, dtype=step.dtype)
    is_infinite = add("IsInf", step.inputs)
    is_nan = add("IsNaN", step.inputs)
    return add("Not", (add("Or", (is_infinite, is_nan)),))
