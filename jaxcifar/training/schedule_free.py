"""The weights that `optax.contrib.schedule_free` evaluates, which are not those that it trains.

Defazio et al., "The road less scheduled", 2024.
"""

from typing import Any

import jax
import optax
import optax.contrib
from jax import Array

from jaxcifar.machine.sharing import PyTree


def find_states(opt_state: PyTree) -> list[optax.contrib.ScheduleFreeState]:
    """Return the states of schedule-free rules anywhere in the state of an update rule."""
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_schedule_free)
    return [node for node in nodes if _is_schedule_free(node)]


def evaluation_params(opt_state: PyTree, params: PyTree) -> PyTree:
    """Return the parameters to evaluate: `params`, unless the update rule is schedule-free.

    If a schedule-free rule trains only some parameters (`optax.masked`, `optax.partition`), the
    others are returned as they are. A state without values (shapes only) gives `params`.
    """
    states = find_states(opt_state)
    has_values = not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params))
    if not states or not has_values:
        return params
    return _evaluation_params([state._replace(base_optimizer_state=()) for state in states], params)


@jax.jit
def _evaluation_params(states: list[optax.contrib.ScheduleFreeState], params: PyTree) -> PyTree:
    for state in states:

        def to_evaluate(z: Any, param: PyTree, state: Any = state) -> PyTree:
            if isinstance(z, optax.MaskedNode):  # another rule trains this parameter
                return param
            of_parameter = state._replace(z=z)
            values: Array = optax.contrib.schedule_free_eval_params(of_parameter, param)
            return values.astype(param.dtype)

        params = jax.tree.map(to_evaluate, state.z, params, is_leaf=_is_masked)
    return params


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, optax.contrib.ScheduleFreeState)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
