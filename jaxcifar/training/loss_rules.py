"""Update rules that use the loss of the batch, as optax's `reduce_on_plateau` and `lbfgs` do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxcifar.array_types import Float32
from jaxcifar.machine.sharing import PyTree


class LossUse(NamedTuple):
    """Tells whether an update rule (optimizer) needs the loss, besides the gradients.

    Attributes:
      value: True if the rule uses the value of the loss.
      function: True if the rule calls the loss as a function of the parameters (a line search).
    """

    value: bool
    function: bool


def find_loss_use(
    rule: optax.GradientTransformation, grads: PyTree, opt_state: PyTree, params: PyTree
) -> LossUse:
    """Trace one update of an optax rule, to find out whether the rule uses the loss.

    The type of a rule does not say this: `optax.chain` passes the loss to all its rules, and most
    of them ignore the loss. A program whose rule does not use the loss need not compute it. Of the
    arrays, only shapes and dtypes are used.

    Args:
      rule: the update rule.
      grads: the gradients.
      opt_state: the state of the rule.
      params: the network's parameters.
    """
    if not isinstance(rule, optax.GradientTransformationExtraArgs):
        return LossUse(value=False, function=False)
    is_called = False

    def recording_value_fn(params: PyTree) -> Array:
        nonlocal is_called
        is_called = True
        return stand_in_value(params)

    def update(value: Array, grads: PyTree, opt_state: PyTree, params: PyTree) -> PyTree:
        return rule.update(
            grads, opt_state, params, **loss_arguments(value, grads, recording_value_fn)
        )

    value = jax.ShapeDtypeStruct((), jnp.float32)
    jaxpr = jax.make_jaxpr(update)(value, grads, opt_state, params).jaxpr
    value_variable = jaxpr.invars[0]
    used_variables = list(jaxpr.outvars)
    for operation in jaxpr.eqns:
        used_variables += operation.invars
    uses_value = any(variable is value_variable for variable in used_variables)
    return LossUse(value=uses_value, function=is_called)


def loss_arguments(
    value: Float32[Array, ""], grads: PyTree, value_fn: Callable[[PyTree], Float32[Array, ""]]
) -> dict[str, Any]:
    """Return the keyword arguments of `update` through which optax's rules get the loss.

    Args:
      value: mean loss of the batch.
      grads: gradients of `value`, before they are clipped.
      value_fn: function of the parameters that computes the mean loss of this batch.
    """
    return {"value": value, "grad": grads, "value_fn": value_fn}


def stand_in_value(params: PyTree) -> Float32[Array, ""]:
    """Return the norm of all parameters, which replaces the loss when only a rule is traced."""
    return optax.tree.norm(params).astype(jnp.float32)
