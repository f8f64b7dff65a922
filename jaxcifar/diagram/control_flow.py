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
    stacked arrays have fewer axes inside the body than outside; other values have as many.

    Args:
      equation: the scan in the traced program.
      inputs: the values that the scan takes, in any representation.
    """
    body = jaxpr_without_constants(equation.params["jaxpr"])
    stacked_input_count = _count_rank_changes(equation.invars, body.invars)
    stacked_result_count = _count_rank_changes(equation.outvars, body.outvars)
    carried_count = len(equation.outvars) - stacked_result_count
    first_stacked = len(inputs) - stacked_input_count
    first_carried = first_stacked - carried_count
    return ScanInputs(
        constants=inputs[:first_carried],
        carried=inputs[first_carried:first_stacked],
        stacked=inputs[first_stacked:],
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
    first_body_constant = len(condition.invars) - carried_count
    first_carried = len(inputs) - carried_count
    return WhileInputs(
        condition_constants=inputs[:first_body_constant],
        body_constants=inputs[first_body_constant:first_carried],
        carried=inputs[first_carried:],
    )


def _count_rank_changes(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """Return how many variables have another number of axes outside of a loop than in its body."""
    changes = 0
    for outer_variable, inner_variable in zip(outside, inside, strict=True):
        if len(outer_variable.aval.shape) != len(inner_variable.aval.shape):
            changes += 1
    return changes


def jaxpr_without_constants(parameter: Any) -> Any:
    """Return the program (a `Jaxpr`) inside a `ClosedJaxpr`; return anything else unchanged."""
    return parameter.jaxpr if isinstance(parameter, ClosedJaxpr) else parameter


def called_programs(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Yield the programs that a traced equation calls, such as the body of a jitted function."""
    # A called program has the same input shapes as the equation.
    input_shapes = [shape_of(variable) for variable in equation.invars]
    for parameter in equation.params.values():
        jaxpr = jaxpr_without_constants(parameter)
        if not isinstance(jaxpr, Jaxpr):
            continue
        if [shape_of(variable) for variable in jaxpr.invars] == input_shapes:
            yield parameter
