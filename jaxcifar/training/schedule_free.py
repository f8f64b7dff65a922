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
    """Return the parameters for the evaluation of a network.

    With most update rules, these are the trained parameters, `params`. With a schedule-free rule,
    they are an average over the training steps, computed from `opt_state`. If a schedule-free rule
    trains only some parameters (`optax.masked`, `optax.partition`), the other parameters are
    returned unchanged. If `params` has shapes instead of arrays, `params` is returned.

    Args:
      opt_state: the state of the update rule.
      params: the trained parameters.
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
    """Return the value of one parameter for evaluation: its average over the training steps.

    A parameter that another rule trains is returned unchanged.

    Args:
      state: the state of a schedule-free rule.
      z_of_param: a second value of the parameter, which the rule keeps in `state.z`; optax computes
        the average from both values. It is `optax.MaskedNode` if another rule trains the parameter.
      param: the trained value of the parameter.
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
