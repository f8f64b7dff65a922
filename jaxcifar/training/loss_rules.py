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
      uses_value: True if the rule uses the value of the loss.
      uses_function: True if the rule calls the loss as a function of the parameters, in a line
        search.
    """

    uses_value: bool
    uses_function: bool

    @property
    def uses_loss(self) -> bool:
        """True if the rule uses the loss in any way."""
        return self.uses_value or self.uses_function


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
        return LossUse(uses_value=False, uses_function=False)
    calls_loss_function = False

    def loss_function(params: PyTree) -> Array:
        nonlocal calls_loss_function
        calls_loss_function = True
        return stand_in_loss(params)

    def update(loss: Array, grads: PyTree, opt_state: PyTree, params: PyTree) -> PyTree:
        arguments = loss_arguments(loss, grads, loss_function)
        return rule.update(grads, opt_state, params, **arguments)

    loss_shape = jax.ShapeDtypeStruct((), jnp.float32)
    traced_update = jax.make_jaxpr(update)(loss_shape, grads, opt_state, params).jaxpr
    loss_variable = traced_update.invars[0]
    used_variables = list(traced_update.outvars)
    for operation in traced_update.eqns:
        used_variables += operation.invars
    uses_loss_value = any(variable is loss_variable for variable in used_variables)
    return LossUse(uses_value=uses_loss_value, uses_function=calls_loss_function)


def loss_arguments(
    loss: Float32[Array, ""], grads: PyTree, loss_fn: Callable[[PyTree], Float32[Array, ""]]
) -> dict[str, Any]:
    """Return the keyword arguments of `update` through which optax's rules get the loss.

    Args:
      loss: mean loss of the batch.
      grads: gradients of `loss`, before they are clipped.
      loss_fn: function of the parameters that computes the mean loss of this batch.
    """
    return {"value": loss, "grad": grads, "value_fn": loss_fn}


def stand_in_loss(params: PyTree) -> Float32[Array, ""]:
    """Return the norm of all parameters, which replaces the loss when only a rule is traced."""
    return optax.tree.norm(params).astype(jnp.float32)
