"""Choose the branch of a conditional operation that becomes nodes of an ONNX graph."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.control_flow import called_programs, jaxpr_without_constants
from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS
from jaxcifar.exchange.onnx.onnx_values import Tensor, UnconvertibleError, Value

_CONVERTIBLE_CONTROL_FLOW = ("cond", "scan")  # `paired_trace` converts them


class UnknownDeviceKind:
    """Stands for JAX's number of the kind of device (CPU, GPU), and for values computed from it.

    The number only chooses between branches that compute the same, so no graph depends on it.
    """


UNKNOWN_DEVICE_KIND = UnknownDeviceKind()


def number_of_exported_branch(equation: JaxprEqn, branch_index: Value | UnknownDeviceKind) -> int:
    """Return the number of the branch of a conditional (`cond`) that becomes nodes of the graph.

    If the kind of device chooses the branch, all branches compute the same. Then the graph gets the
    branch with the fewest operations that can't be converted, and of such branches the shortest.

    Args:
      equation: the conditional.
      branch_index: the input that chooses the branch: a constant, a tensor, or the kind of device.

    Raises:
      UnconvertibleError: the branch depends on the images.
    """
    branches = equation.params["branches"]
    if isinstance(branch_index, UnknownDeviceKind):
        branches_with_equal_results = branches
        return _number_of_branch_with_fewest_unconvertible_operations(branches_with_equal_results)
    if isinstance(branch_index, Tensor):
        raise UnconvertibleError(
            "a branch (cond) that depends on the images can't be converted; use jnp.where"
        )
    constant_number = int(branch_index.array_for_any_batch())
    last_number = len(branches) - 1
    return int(np.clip(constant_number, 0, last_number))  # as JAX does


def _number_of_branch_with_fewest_unconvertible_operations(branches: Sequence[ClosedJaxpr]) -> int:
    operation_counts = [_count_operations(branch) for branch in branches]
    return operation_counts.index(min(operation_counts))


class _OperationCounts(NamedTuple):
    """The number of a program's operations that can't be converted, and of all its operations."""

    unconvertible: int
    total: int


def _count_operations(program: ClosedJaxpr | Jaxpr) -> _OperationCounts:
    """Count a program's operations that have no conversion to ONNX, and all its operations.

    An operation is not counted if all its inputs are constants, because it needs no conversion.
    The operations of programs that this program calls are counted too.
    """
    unconvertible_count, total_count = 0, 0
    jaxpr = jaxpr_without_constants(program)
    computed_from_inputs = set(jaxpr.invars)  # the program's inputs, and what depends on them
    for equation in jaxpr.eqns:
        inputs = [variable for variable in equation.invars if not isinstance(variable, Literal)]
        has_only_constant_inputs = computed_from_inputs.isdisjoint(inputs)
        if has_only_constant_inputs:
            continue
        computed_from_inputs.update(equation.outvars)
        called_program = next(called_programs(equation), None)
        if called_program is not None:
            counts_in_called_program = _count_operations(called_program)
            unconvertible_count += counts_in_called_program.unconvertible
            total_count += counts_in_called_program.total
        else:
            total_count += 1
            name = equation.primitive.name
            is_convertible = name in CONVERSIONS or name in _CONVERTIBLE_CONTROL_FLOW
            if not is_convertible:
                unconvertible_count += 1
    return _OperationCounts(unconvertible_count, total_count)
