"""The weights to evaluate if `optax.contrib.schedule_free` trains other weights.

Defazio et al., "The road less scheduled", 2024.
"""

from functools import partial
from typing import Any

import jax
import optax
import optax.contrib
from jax import Array

from jaxcifar.machine.sharing import PyTree


def find_states(opt_state: PyTree) -> list[optax.contrib.ScheduleFreeState]:
    """Return the states of all schedule-free optimizers in the state of an optax chain."""
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_schedule_free)
    return [node for node in nodes if _is_schedule_free(node)]


def evaluation_params(opt_state: PyTree, params: PyTree) -> PyTree:
    """Return the parameters that a network is evaluated with.

    For most update rules this is `params`. A schedule-free rule evaluates an average instead. If
    such a rule trains only some parameters (`optax.masked`, `optax.partition`), the others are
    returned unchanged. If `params` has only shapes and no values, `params` is returned.
    """
    states = find_states(opt_state)
    has_values = not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params))
    if not states or not has_values:
        return params
    # The average does not depend on the base optimizer, whose state may be large.
    states_without_base = [state._replace(base_optimizer_state=()) for state in states]
    return _compute_evaluation_params(states_without_base, params)


@jax.jit
def _compute_evaluation_params(
    states: list[optax.contrib.ScheduleFreeState], params: PyTree
) -> PyTree:
    for state in states:
        evaluated_param = partial(_evaluated_param, state)
        params = jax.tree.map(evaluated_param, state.z, params, is_leaf=_is_masked)
    return params


def _evaluated_param(
    state: optax.contrib.ScheduleFreeState, z_of_param: Any, param: PyTree
) -> PyTree:
    """Return the value of a parameter for evaluation: an average over the training steps.

    Args:
      state: the state of a schedule-free rule. Its base optimizer trains parameters of its own,
        `state.z`, from which optax computes the average.
      z_of_param: the entry for this parameter in `state.z`.
      param: the parameter; it is returned unchanged if another rule trains it.
    """
    if _is_masked(z_of_param):  # another rule trains this parameter
        return param
    state_of_param = state._replace(z=z_of_param)
    average: Array = optax.contrib.schedule_free_eval_params(state_of_param, param)
    return average.astype(param.dtype)


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, optax.contrib.ScheduleFreeState)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
