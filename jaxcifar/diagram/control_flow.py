"""Find the programs that a traced equation calls, and split the inputs of loops by their kind.

Shapes and counts tell the kind of an input. JAX's own parameters do too, but their names differ
between versions of JAX.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from jaxcifar.diagram.count import shape_of


class ScanInputs(NamedTuple):
    """The inputs of a traced `lax.scan`, as the caller represents them.

    Attributes:
      constants: values that are the same in every step.
      carried: initial values of the arrays that each step passes to the next step.
      stacked: arrays of which each step takes one slice.
    """

    constants: Sequence[Any]
    carried: Sequence[Any]
    stacked: Sequence[Any]


class WhileInputs(NamedTuple):
    """The inputs of a traced `lax.while_loop`, given as numbers of values in the trace.

    Attributes:
      condition_constants: values that only the condition reads, the same in every step.
      body_constants: values that only the body reads, the same in every step.
      carried: initial values of the arrays that each step passes to the next step.
    """

    condition_constants: Sequence[int]
    body_constants: Sequence[int]
    carried: Sequence[int]


def split_scan(equation: JaxprEqn, inputs: Sequence[Any]) -> ScanInputs:
    """Split a scan's inputs into constants, carried values and arrays with one slice per step.

    The body takes one slice of each stacked input and returns one slice of each stacked result. So
    a stacked array has one axis less inside the body; any other value has the same axes there.

    Args:
      equation: the scan in the traced program.
      inputs: the values that the scan takes, in any representation.
    """
    body = jaxpr_without_constants(equation.params["jaxpr"])
    stacked_input_count = _count_stacked_arrays(equation.invars, body.invars)
    stacked_result_count = _count_stacked_arrays(equation.outvars, body.outvars)
    carried_count = len(equation.outvars) - stacked_result_count
    start_of_stacked = len(inputs) - stacked_input_count
    start_of_carried = start_of_stacked - carried_count
    return ScanInputs(
        constants=inputs[:start_of_carried],
        carried=inputs[start_of_carried:start_of_stacked],
        stacked=inputs[start_of_stacked:],
    )


def split_while(equation: JaxprEqn, inputs: Sequence[int]) -> WhileInputs:
    """Split a while loop's inputs into constants and carried values.

    The loop returns all carried values. Its condition takes its own constants before these values.

    Args:
      equation: the loop in the traced program.
      inputs: numbers of the values that the loop takes.
    """
    condition = jaxpr_without_constants(equation.params["cond_jaxpr"])
    carried_count = len(equation.outvars)
    start_of_body_constants = len(condition.invars) - carried_count
    start_of_carried = len(inputs) - carried_count
    return WhileInputs(
        condition_constants=inputs[:start_of_body_constants],
        body_constants=inputs[start_of_body_constants:start_of_carried],
        carried=inputs[start_of_carried:],
    )


def _count_stacked_arrays(outer_variables: Sequence[Any], body_variables: Sequence[Any]) -> int:
    """Return how many arrays have fewer axes in the body of a scan than outside of it.

    Args:
      outer_variables: the inputs or the results of the scan.
      body_variables: the inputs or the results of the scan's body, in the same order.
    """
    stacked_count = 0
    for outer_variable, body_variable in zip(outer_variables, body_variables, strict=True):
        is_stacked = len(shape_of(outer_variable)) != len(shape_of(body_variable))
        if is_stacked:
            stacked_count += 1
    return stacked_count


def jaxpr_without_constants(parameter: Any) -> Any:
    """Return the program (a `Jaxpr`) inside a `ClosedJaxpr`; return anything else unchanged."""
    return parameter.jaxpr if isinstance(parameter, ClosedJaxpr) else parameter


def called_programs(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Yield the programs that a traced equation calls, such as the body of a jitted function.

    A program among the equation's parameters is called if it takes inputs of the same shapes.
    """
    input_shapes = [shape_of(variable) for variable in equation.invars]
    for parameter in equation.params.values():
        jaxpr = jaxpr_without_constants(parameter)
        if not isinstance(jaxpr, Jaxpr):
            continue
        program_input_shapes = [shape_of(variable) for variable in jaxpr.invars]
        takes_equations_inputs = program_input_shapes == input_shapes
        if takes_equations_inputs:
            yield parameter
