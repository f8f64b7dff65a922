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
from jaxcifar.errors import first_line
from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS, convert_step
from jaxcifar.exchange.onnx.joining_nodes import stacked, take_one
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
)
from jaxcifar.exchange.onnx.traced_step import Step, used_operations

_Program = ClosedJaxpr | Jaxpr
_MOST_TURNS, _MOST_NODES = 1_000, 50_000  # of unrolled loops: more would take minutes and gigabytes


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
    used = used_operations(two)
    for equation, other in zip(two.eqns, three.eqns, strict=True):
        if id(equation) not in used:
            continue
        equation_inputs = [
            value_of(*pair) for pair in zip(equation.invars, other.invars, strict=True)
        ]
        name = layer_name(layer, str(equation.source_info.name_stack))
        try:
            results = _convert_equation(graph, equation, other, equation_inputs, name)
        except UnconvertibleError as error:
            error.layer = error.layer or name
            raise
        except Exception as error:  # a case that no conversion expects
            operation = equation.primitive.name
            reason = f"the operation {operation}, whose conversion fails ({first_line(error)})"
            unexpected = UnconvertibleError(reason)
            unexpected.layer = name
            raise unexpected from error
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
    results: list[Any] = convert_step(graph, step)
    return results


def _branch(equation: JaxprEqn, index: _TracedValue) -> int:
    """Return the number of the branch of a conditional that the graph takes.

    For a choice by the kind of device, all branches compute the same. The graph takes the branch
    with the fewest operations that have no conversion, such as calls of kernels, and among several
    such branches the shortest.

    Raises:
      UnconvertibleError: the branch depends on the images.
    """
    branches = equation.params["branches"]
    if isinstance(index, Constant):
        return int(np.clip(int(index.array()), 0, len(branches) - 1))
    if isinstance(index, Tensor):
        raise UnconvertibleError("a branch (cond) that depends on the images")
    return min(range(len(branches)), key=lambda position: _difficulty(branches[position]))


def _difficulty(program: _Program) -> tuple[int, int]:
    """Return how many operations of a program have no conversion, and how many operations it has.

    Operations of constants need no conversion. The programs that it calls are counted too.
    """
    unconvertible, count = 0, 0
    jaxpr = jaxpr_without_constants(program)
    varying = set(jaxpr.invars)  # variables that may depend on the images
    for equation in jaxpr.eqns:
        read = [variable for variable in equation.invars if not isinstance(variable, Literal)]
        if varying.isdisjoint(read):
            continue
        varying.update(equation.outvars)
        body = next(called_programs(equation), None)
        if body is None:
            is_convertible = equation.primitive.name in (*CONVERSIONS, "cond", "scan")
            unconvertible += 0 if is_convertible else 1
            count += 1
        else:
            inside_unconvertible, inside_count = _difficulty(body)
            unconvertible, count = unconvertible + inside_unconvertible, count + inside_count
    return unconvertible, count


def _unroll(graph: OnnxBuilder, step: Step, layer: str) -> list[Any]:
    """Add the nodes of a loop, such as a scan over layers, once for each of its turns.

    Raises:
      UnconvertibleError: the number of turns depends on the number of images, or there are too
        many turns or none.
    """
    params, length = step.params, step.params["length"]
    if step.for_three.params["length"] != length:
        raise UnconvertibleError("a loop over the images of a batch")
    if not 0 < length <= _MOST_TURNS:
        raise UnconvertibleError(f"a loop of {length:,} turns (1 to {_MOST_TURNS:,} are possible)")
    bodies = (params["jaxpr"], step.for_three.params["jaxpr"])
    parts = split_scan(step.for_two, step.inputs)
    carried = list(parts.carried)
    turns: list[list[Any]] = []
    positions = range(length)
    for position in reversed(positions) if params["reverse"] else positions:
        elements = [_take(graph, value, position) for value in parts.stacked]
        results = convert(graph, *bodies, [*parts.constants, *carried, *elements], layer)
        if len(graph.nodes) > _MOST_NODES:
            raise UnconvertibleError(f"loops of more than {_MOST_NODES:,} operations in all turns")
        turns.append(results[len(carried) :])
        carried = results[: len(carried)]
    if params["reverse"]:
        turns.reverse()
    first_stacked = len(carried)
    stacked_results = []
    for position, values in enumerate(zip(*turns, strict=True), start=first_stacked):
        stacked_results.append(_stack(graph, values, step.shapes[position]))
    return [*carried, *stacked_results]


def _take(graph: OnnxBuilder, value: Value, position: int) -> Value:
    """Return the element of a stacked value at a position."""
    if isinstance(value, Constant):
        two = value.for_two[position]
        return Constant(two, two if value.is_shared else value.for_three[position])
    return take_one(graph, value, position)


def _stack(graph: OnnxBuilder, values: Sequence[Value], shape: Shape) -> Value:
    """Stack the values of a loop's turns to a result of the loop, of this shape."""
    constants = [value for value in values if isinstance(value, Constant)]
    if len(constants) == len(values):
        return Constant(
            jnp.stack([value.for_two for value in constants]),
            jnp.stack([value.for_three for value in constants]),
        )
    dtype = next(value.dtype for value in values if isinstance(value, Tensor))
    return stacked(graph, values, 0, shape, dtype)
