"""Convert a traced program to ONNX nodes, from its traces with two batch sizes.

Axes whose sizes differ between the traces depend on the batch. Operations that do not depend on the
images are computed here, once, and become constants.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.control_flow import called_programs, jaxpr_without_constants, split_scan
from jaxcifar.errors import first_line
from jaxcifar.exchange.onnx.branch_choice import UNKNOWN_DEVICE_KIND, number_of_exported_branch
from jaxcifar.exchange.onnx.conversion_table import convert_step
from jaxcifar.exchange.onnx.joining_nodes import add_stack, slice_at
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
)
from jaxcifar.exchange.onnx.traced_step import (
    Step,
    constant_of_literal,
    constants_of_program,
    ids_of_used_operations,
)

_Program = ClosedJaxpr | Jaxpr
# Of unrolled loops: more would take minutes and gigabytes.
_MOST_ITERATIONS, _MOST_NODES = 1_000, 50_000


def convert_program(
    graph: OnnxBuilder,
    program_for_two: _Program,
    program_for_three: _Program,
    inputs: Sequence[Value],
    layer: str = "",
) -> list[Any]:
    """Add the ONNX nodes of a traced program to a graph; return the program's results.

    Args:
      graph: the graph.
      program_for_two: the program, traced for two images.
      program_for_three: the program, traced for three images.
      inputs: the program's inputs.
      layer: name of the layer that calls the program; "" for the whole network.

    Raises:
      UnconvertibleError: an operation can't be converted; the error names the operation and layer.
    """
    jaxpr_for_two = jaxpr_without_constants(program_for_two)
    jaxpr_for_three = jaxpr_without_constants(program_for_three)
    constants = constants_of_program(program_for_two, program_for_three)
    values: dict[Any, Any] = dict(zip(jaxpr_for_two.invars, inputs, strict=True))
    values |= dict(zip(jaxpr_for_two.constvars, constants, strict=True))

    def value_of(variable_for_two: Any, variable_for_three: Any) -> Any:
        if isinstance(variable_for_two, Literal):
            return constant_of_literal(variable_for_two, variable_for_three)
        return values[variable_for_two]

    if len(jaxpr_for_two.eqns) != len(jaxpr_for_three.eqns):
        raise _different_operations()
    used_equations = ids_of_used_operations(jaxpr_for_two)
    for equation, equation_for_three in zip(jaxpr_for_two.eqns, jaxpr_for_three.eqns, strict=True):
        if id(equation) not in used_equations:
            continue
        pairs_of_inputs = zip(equation.invars, equation_for_three.invars, strict=True)
        equation_inputs = [value_of(*pair) for pair in pairs_of_inputs]
        name = layer_name(layer, str(equation.source_info.name_stack))
        try:
            results = _convert_equation(graph, equation, equation_for_three, equation_inputs, name)
        except UnconvertibleError as error:
            error.layer = error.layer or name
            raise
        except Exception as error:  # a case that no conversion expects
            operation = equation.primitive.name
            unexpected_error = UnconvertibleError(
                f"the operation {operation} can't be converted: its conversion fails "
                f"({first_line(error)}); use other operations for it"
            )
            unexpected_error.layer = name
            raise unexpected_error from error
        values |= dict(zip(equation.outvars, results, strict=True))
    pairs_of_results = zip(jaxpr_for_two.outvars, jaxpr_for_three.outvars, strict=True)
    return [value_of(*pair) for pair in pairs_of_results]


def _different_operations() -> UnconvertibleError:
    """Return the error for a program whose two traces have different operations."""
    return UnconvertibleError(
        "operations that depend on the number of images can't be converted; use the same "
        "operations for each batch"
    )


def layer_name(outer: str, scope: str) -> str:
    """Return the name of the layer that an operation belongs to, such as "Net/Block_0/Conv_1".

    Args:
      outer: name of the layer that calls the traced program; "" if there is none.
      scope: names of layers and functions in JAX's name stack, such as "Block_0/jit(relu)".
    """
    layer_names = [name for name in scope.split("/") if re.fullmatch(r"[\w.-]+", name)]
    return "/".join([outer, *layer_names] if outer else layer_names)


def _convert_equation(
    graph: OnnxBuilder,
    equation_for_two: JaxprEqn,
    equation_for_three: JaxprEqn,
    inputs: list[Any],
    layer: str,
) -> list[Any]:
    """Add the nodes of an operation, or of the program that it calls; return the results.

    The network is traced with two images and with three. Sizes that differ depend on the batch.

    Args:
      graph: the graph.
      equation_for_two: the operation in the trace for two images.
      equation_for_three: the operation in the trace for three images.
      inputs: the operation's inputs.
      layer: name of the layer that the operation belongs to.
    """
    name = equation_for_two.primitive.name
    if name != equation_for_three.primitive.name:
        raise _different_operations()
    if name == "cond":
        return _convert_one_branch(graph, equation_for_two, equation_for_three, inputs, layer)
    returns_device_kind = name == "platform_index"
    is_computed_from_device_kind = any(value is UNKNOWN_DEVICE_KIND for value in inputs)
    if returns_device_kind or is_computed_from_device_kind:
        result_count = len(equation_for_two.outvars)
        return [UNKNOWN_DEVICE_KIND] * result_count
    is_loop = name in ("scan", "while")
    if not is_loop:
        program_for_two = next(called_programs(equation_for_two), None)
        program_for_three = next(called_programs(equation_for_three), None)
        if program_for_two is not None and program_for_three is not None:
            return convert_program(graph, program_for_two, program_for_three, inputs, layer)
    step = Step(equation_for_two, equation_for_three, tuple(inputs))
    is_independent_of_images = all(isinstance(value, Constant) for value in inputs)
    if is_independent_of_images:
        return step.compute(inputs)
    if name == "scan":
        return _unroll_loop(graph, step, layer)
    results: list[Any] = convert_step(graph, step)
    return results


def _convert_one_branch(
    graph: OnnxBuilder,
    conditional_for_two: JaxprEqn,
    conditional_for_three: JaxprEqn,
    inputs: list[Any],
    layer: str,
) -> list[Any]:
    """Add the nodes of one branch of a conditional (`cond`); return the branch's results.

    The arguments are those of `_convert_equation`.
    """
    branch_index, *branch_inputs = inputs
    number = number_of_exported_branch(conditional_for_two, branch_index)
    branch_for_two = conditional_for_two.params["branches"][number]
    branch_for_three = conditional_for_three.params["branches"][number]
    return convert_program(graph, branch_for_two, branch_for_three, branch_inputs, layer)


def _unroll_loop(graph: OnnxBuilder, step: Step, layer: str) -> list[Any]:
    """Add the nodes of a loop, such as a scan over layers, once for each of its iterations.

    Raises:
      UnconvertibleError: the number of iterations depends on the number of images, or there are too
        many iterations or none.
    """
    length = step.params["length"]
    if step.params_for_three_images["length"] != length:
        raise UnconvertibleError(
            "a loop over the images of a batch can't be converted; compute all images at once"
        )
    if not 0 < length <= _MOST_ITERATIONS:
        raise UnconvertibleError(
            f"a loop of {length:,} iterations can't be converted; use 1 to {_MOST_ITERATIONS:,} "
            "iterations"
        )
    body_for_two, body_for_three = step.params["jaxpr"], step.params_for_three_images["jaxpr"]
    inputs = split_scan(step.equation_for_two, step.inputs)
    carried = list(inputs.carried)
    outputs_of_iterations: list[list[Any]] = []  # results that are not carried to the next one
    is_backwards = step.params["reverse"]
    positions = list(range(length))
    if is_backwards:
        positions.reverse()
    for position in positions:
        slices = [_slice_for_iteration(graph, value, position) for value in inputs.stacked]
        body_inputs = [*inputs.constants, *carried, *slices]
        results = convert_program(graph, body_for_two, body_for_three, body_inputs, layer)
        if len(graph.nodes) > _MOST_NODES:
            raise UnconvertibleError(
                f"loops of more than {_MOST_NODES:,} operations in all iterations can't be "
                "converted; use fewer iterations"
            )
        outputs_of_iterations.append(results[len(carried) :])
        carried = results[: len(carried)]
    if is_backwards:
        outputs_of_iterations.reverse()
    stacked_outputs = []
    shapes_of_outputs = step.shapes[len(carried) :]
    for number, shape in enumerate(shapes_of_outputs):
        values = [outputs[number] for outputs in outputs_of_iterations]
        stacked_outputs.append(_stack_iterations(graph, values, shape))
    return [*carried, *stacked_outputs]


def _slice_for_iteration(graph: OnnxBuilder, value: Value, position: int) -> Value:
    """Return the slice of a value, along its first axis, for one iteration of a loop."""
    if isinstance(value, Constant):
        return value.map(lambda array: array[position])
    return slice_at(graph, value, position)


def _stack_iterations(graph: OnnxBuilder, values: Sequence[Value], shape: Shape) -> Value:
    """Join the values of a loop's iterations along a new first axis, to an array of this shape."""
    constants = [value for value in values if isinstance(value, Constant)]
    if len(constants) == len(values):
        return Constant(
            jnp.stack([value.for_two_images for value in constants]),
            jnp.stack([value.for_three_images for value in constants]),
        )
    dtype = next(value.dtype for value in values if isinstance(value, Tensor))
    return add_stack(graph, values, 0, shape, dtype)
