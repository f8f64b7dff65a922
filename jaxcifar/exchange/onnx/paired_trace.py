"""Convert a traced program to ONNX nodes, from its traces with two batch sizes.

Axes whose sizes differ between the traces depend on the batch. Operations that do not depend on the
images are computed here, once, and become constants.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.control_flow import called_programs, jaxpr_without_constants, split_scan
from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS
from jaxcifar.exchange.onnx.joining_nodes import stacked, take_one
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Tensor,
    UnconvertibleError,
    Value,
)
from jaxcifar.exchange.onnx.traced_step import Step

_Program = ClosedJaxpr | Jaxpr


class _Platform:
    """The number of the kind of device, or a value computed from it. No graph depends on it."""


_PLATFORM = _Platform()
_TracedValue = Value | _Platform


def convert(
    graph: OnnxBuilder,
    for_two: _Program,
    for_three: _Program,
    inputs: Sequence[Value],
    layer: str = "",
) -> list[Any]:
    """Add the nodes of a program to a graph; return the program's results.

    Args:
      graph: the graph.
      for_two: the program, traced for two images.
      for_three: the program, traced for three images.
      inputs: the program's inputs.
      layer: name of the layer that calls the program; "" for the whole network.

    Raises:
      UnconvertibleError: an operation can't be converted; the error names the operation and layer.
    """
    two, three = jaxpr_without_constants(for_two), jaxpr_without_constants(for_three)
    constants = zip(_constants(for_two), _constants(for_three), strict=True)
    values: dict[Any, Any] = dict(zip(two.invars, inputs, strict=True))
    values |= dict(zip(two.constvars, (Constant(*pair) for pair in constants), strict=True))

    def value_of(variable_for_two: Any, variable_for_three: Any) -> Any:
        if isinstance(variable_for_two, Literal):
            return _literal(variable_for_two, variable_for_three)
        return values[variable_for_two]

    if len(two.eqns) != len(three.eqns):
        raise UnconvertibleError("operations that depend on the number of images")
    for equation, other in zip(two.eqns, three.eqns, strict=True):
        equation_inputs = [
            value_of(*pair) for pair in zip(equation.invars, other.invars, strict=True)
        ]
        name = layer_name(layer, str(equation.source_info.name_stack))
        try:
            results = _convert_equation(graph, equation, other, equation_inputs, name)
        except UnconvertibleError as error:
            error.layer = error.layer or name
            raise
        values |= dict(zip(equation.outvars, results, strict=True))
    return [value_of(*pair) for pair in zip(two.outvars, three.outvars, strict=True)]


def layer_name(outer: str, scope: str) -> str:
    """Return the name of the layer of an operation, such as "Net/Block_0/Conv_1".

    Args:
      outer: name of the layer around the traced function.
      scope: JAX's name of the operation's scope, which also names functions, as in "jit(relu)".
    """
    names = [name for name in scope.split("/") if re.fullmatch(r"[\w.-]+", name)]
    return "/".join([outer, *names] if outer else names)


def _constants(program: _Program) -> list[Any]:
    return list(program.consts) if isinstance(program, ClosedJaxpr) else []


def _literal(for_two: Any, for_three: Any) -> Constant:
    two = np.asarray(for_two.val, for_two.aval.dtype)
    three = np.asarray(for_three.val, for_three.aval.dtype)
    return Constant(two, two if np.array_equal(two, three) else three)


def _convert_equation(
    graph: OnnxBuilder, equation: JaxprEqn, other: JaxprEqn, inputs: list[Any], layer: str
) -> list[Any]:
    """Add the nodes of an operation, or of the program that it calls; return its results.

    `equation` and `other` are the operation traced for two and for three images.
    """
    name = equation.primitive.name
    if name != other.primitive.name:
        raise UnconvertibleError("operations that depend on the number of images")
    if name == "cond":
        branch = _branch(equation, inputs[0])
        for_two, for_three = [step.params["branches"][branch] for step in (equation, other)]
        return convert(graph, for_two, for_three, inputs[1:], layer)
    if name == "platform_index" or any(value is _PLATFORM for value in inputs):
        return [_PLATFORM] * len(equation.outvars)
    is_constant = all(isinstance(value, Constant) for value in inputs)
    if name not in ("scan", "while"):
        body, other_body = [next(called_programs(step), None) for step in (equation, other)]
        if body is not None and other_body is not None:
            return convert(graph, body, other_body, inputs, layer)
    step = Step(equation, other, tuple(inputs))
    if is_constant:
        return step.compute(inputs)
    if name == "scan":
        return _unroll(graph, step, layer)
    if name not in CONVERSIONS:
        raise UnconvertibleError(f"the operation {name}, which has no conversion")
    step.check_parameters()
    results = CONVERSIONS[name](graph, step)
    return results if isinstance(results, list) else [results]


def _branch(equation: JaxprEqn, index: _TracedValue) -> int:
    """Return the number of the branch of a conditional that the graph takes.

    For a choice by the kind of device this is the shortest branch: all compute the same.

    Raises:
      UnconvertibleError: the branch depends on the images.
    """
    branches = equation.params["branches"]
    if isinstance(index, Constant):
        return int(np.clip(int(index.array()), 0, len(branches) - 1))
    if isinstance(index, Tensor):
        raise UnconvertibleError("a branch (cond) that depends on the images")
    lengths = [_operation_count(branch) for branch in branches]
    return lengths.index(min(lengths))


def _operation_count(program: _Program) -> int:
    """Return the number of operations in a program, and in the programs that it calls."""
    count = 0
    for equation in jaxpr_without_constants(program).eqns:
        body = next(called_programs(equation), None)
        count += 1 if body is None else _operation_count(body)
    return count


def _unroll(graph: OnnxBuilder, step: Step, layer: str) -> list[Any]:
    """Add the nodes of a loop, such as a scan over layers, once for each of its turns.

    Raises:
      UnconvertibleError: the number of turns depends on the number of images.
    """
    params, length = step.params, step.params["length"]
    if step.for_three.params["length"] != length:
        raise UnconvertibleError("a loop over the images of a batch")
    bodies = (params["jaxpr"], step.for_three.params["jaxpr"])
    parts = split_scan(step.for_two, step.inputs)
    carried = list(parts.carried)
    turns: list[list[Any]] = []
    numbers = range(length)
    for number in reversed(numbers) if params["reverse"] else numbers:
        elements = [_take(graph, value, number) for value in parts.stacked]
        results = convert(graph, *bodies, [*parts.constants, *carried, *elements], layer)
        turns.append(results[len(carried) :])
        carried = results[: len(carried)]
    if params["reverse"]:
        turns.reverse()
    first_stacked = len(carried)
    stacked = []
    for number, values in enumerate(zip(*turns, strict=True), start=first_stacked):
        stacked.append(_stack(graph, values, step, number))
    return [*carried, *stacked]


def _take(graph: OnnxBuilder, value: Value, number: int) -> Value:
    """Return the element of a stacked value at a position."""
    if isinstance(value, Constant):
        return Constant(value.for_two[number], value.for_three[number])
    return take_one(graph, value, number)


def _stack(graph: OnnxBuilder, values: Sequence[Value], step: Step, number: int) -> Value:
    """Stack the values of a loop's turns to the loop's result of this number."""
    shape = step.shapes[number]
    constants = [value for value in values if isinstance(value, Constant)]
    if len(constants) == len(values):
        return Constant(
            jnp.stack([value.for_two for value in constants]),
            jnp.stack([value.for_three for value in constants]),
        )
    dtype = next(value.dtype for value in values if isinstance(value, Tensor))
    return stacked(graph, values, 0, shape, dtype)
