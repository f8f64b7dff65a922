"""Choose the branch of a conditional operation that becomes nodes of an ONNX graph."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.control_flow import called_programs, jaxpr_without_constants
from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS
from jaxcifar.exchange.onnx.onnx_values import Constant, Tensor, UnconvertibleError

_CONVERTED_BY_PAIRED_TRACE = ("cond", "scan")


def number_of_exported_branch(equation: JaxprEqn, branch_index: object) -> int:
    """Return the number of the branch of a conditional (`cond`) that becomes nodes of the graph.

    If the kind of device chooses the branch, all branches compute the same. Then the graph gets the
    branch that is easiest to convert: with the fewest operations that have no conversion, and of
    such branches the shortest.

    Args:
      equation: the conditional.
      branch_index: the input that chooses the branch: a constant, a tensor, or the kind of device.

    Raises:
      UnconvertibleError: the branch depends on the images.
    """
    branches = equation.params["branches"]
    if isinstance(branch_index, Constant):
        last_branch = len(branches) - 1
        return int(np.clip(int(branch_index.array()), 0, last_branch))  # as JAX does
    if isinstance(branch_index, Tensor):
        raise UnconvertibleError(
            "a branch (cond) that depends on the images can't be converted; use jnp.where"
        )
    equivalent_branches_for_devices = branches
    return _number_of_branch_easiest_to_convert(equivalent_branches_for_devices)


def _number_of_branch_easiest_to_convert(branches: Sequence[ClosedJaxpr]) -> int:
    difficulties = [_conversion_difficulty(branch) for branch in branches]
    return difficulties.index(min(difficulties))


class _ConversionDifficulty(NamedTuple):
    """The number of a program's operations without a conversion, and the number of all of them."""

    unconvertible_count: int
    operation_count: int


def _conversion_difficulty(program: ClosedJaxpr | Jaxpr) -> _ConversionDifficulty:
    """Count a program's operations that have no conversion to ONNX, and all its operations.

    An operation is not counted if all its inputs are constants, because it needs no conversion.
    The operations of programs that this program calls are counted too.
    """
    unconvertible_count, operation_count = 0, 0
    jaxpr = jaxpr_without_constants(program)
    variables_from_inputs = set(jaxpr.invars)  # the program's inputs, and what depends on them
    for equation in jaxpr.eqns:
        inputs = [variable for variable in equation.invars if not isinstance(variable, Literal)]
        has_only_constant_inputs = variables_from_inputs.isdisjoint(inputs)
        if has_only_constant_inputs:
            continue
        variables_from_inputs.update(equation.outvars)
        called_program = next(called_programs(equation), None)
        if called_program is not None:
            difficulty = _conversion_difficulty(called_program)
            unconvertible_count += difficulty.unconvertible_count
            operation_count += difficulty.operation_count
        else:
            operation_count += 1
            name = equation.primitive.name
            is_convertible = name in CONVERSIONS or name in _CONVERTED_BY_PAIRED_TRACE
            if not is_convertible:
                unconvertible_count += 1
    return _ConversionDifficulty(unconvertible_count, operation_count)
