"""The inputs of a traced loop, split into constants, carried values and stacked arrays.

The kinds are found by shapes and counts, because the parameters in which JAX keeps these numbers
have other names in other versions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, JaxprEqn


class ScanInputs(NamedTuple):
    """Constants, the carried values before the first step, and arrays with one slice per step."""

    constants: Sequence[int]
    carried: Sequence[int]
    stacked: Sequence[int]


class WhileInputs(NamedTuple):
    """Constants of the condition and of the body, and the carried values before the first step."""

    condition_constants: Sequence[int]
    body_constants: Sequence[int]
    carried: Sequence[int]


def split_scan(equation: JaxprEqn, inputs: Sequence[int]) -> ScanInputs:
    """Return a scan's inputs by kind.

    The body takes one slice of each stacked input and returns one slice of each stacked result. So
    these have fewer axes inside than outside, while constants and carried values have the same.
    """
    body = without_constants(equation.params["jaxpr"])
    stacked_inputs = _count_rank_changes(equation.invars, body.invars)
    stacked_results = _count_rank_changes(equation.outvars, body.outvars)
    carried = len(equation.outvars) - stacked_results
    first_stacked = len(inputs) - stacked_inputs
    first_carried = first_stacked - carried
    return ScanInputs(
        constants=inputs[:first_carried],
        carried=inputs[first_carried:first_stacked],
        stacked=inputs[first_stacked:],
    )


def split_while(equation: JaxprEqn, inputs: Sequence[int]) -> WhileInputs:
    """Return a while loop's inputs by kind.

    The loop returns all carried values, and its condition takes them after its constants.
    """
    condition = without_constants(equation.params["cond_jaxpr"])
    carried = len(equation.outvars)
    first_of_body = len(condition.invars) - carried
    first_carried = len(inputs) - carried
    return WhileInputs(
        condition_constants=inputs[:first_of_body],
        body_constants=inputs[first_of_body:first_carried],
        carried=inputs[first_carried:],
    )


def _count_rank_changes(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """Return how many variables have another number of axes in a loop's body than outside of it."""
    pairs = zip(outside, inside, strict=True)
    changed = [pair for pair in pairs if len(pair[0].aval.shape) != len(pair[1].aval.shape)]
    return len(changed)


def without_constants(value: Any) -> Any:
    """Return the program of a `ClosedJaxpr`; anything else unchanged."""
    return value.jaxpr if isinstance(value, ClosedJaxpr) else value
