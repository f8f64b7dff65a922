"""The training state before the first step, and the next state after the loss of a batch."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxcifar.array_types import Int
from jaxcifar.machine import sharing
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import optim
from jaxcifar.training.batch_loss import BatchGradients, BatchLoss
from jaxcifar.training.loss_rules import find_loss_use, loss_arguments
from jaxcifar.training.optim import UpdateRule
from jaxcifar.training.state import Hyperparameters, TrainingSums, TrainState, update_average


def first_state(
    variables: tuple[PyTree, PyTree],
    hyper: Hyperparameters,
    update_rule: UpdateRule,
    keeps_average: bool,
) -> TrainState:
    """Return the training state before the first step.

    Args:
      variables: the network's parameters, and its other variables.
      hyper: the run's hyper-parameters.
      update_rule: function that returns the optax rule (optimizer) for a learning rate.
      keeps_average: True to keep a moving average of the variables.
    """
    params, other_variables = variables
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=other_variables,
        opt_state=rule_at_step(update_rule, hyper, step=0).init(params),
        sums=TrainingSums.zero(),
        average=variables if keeps_average else None,
    )


def next_state(
    state: TrainState,
    hyper: Hyperparameters,
    loss: BatchLoss,
    update_rule: UpdateRule,
    steps_per_epoch: int,
    rule_may_use_loss: bool,
) -> TrainState:
    """Compute the gradients of a batch, update the weights, and return the next training state.

    Args:
      state: the training state before the step.
      hyper: the run's hyper-parameters.
      loss: the mean loss of the step's batch, as a function of the parameters.
      update_rule: function that returns the optax rule (optimizer) for a learning rate.
      steps_per_epoch: number of steps in an epoch.
      rule_may_use_loss: False if the update rule certainly uses only the gradients. If True, the
        rule is examined, and the loss is passed to a rule that uses the loss.
    """
    gradients = loss.gradients(state.params)
    rule = rule_at_step(update_rule, hyper, state.step)
    grads = optim.clip(gradients.grads, hyper.clip_norm)
    loss_keywords: dict[str, Any] = {}
    if rule_may_use_loss:
        loss_keywords = _arguments_if_loss_is_used(rule, state, gradients, loss)
    updates, opt_state = rule.update(grads, state.opt_state, state.params, **loss_keywords)
    updates = optim.scale_biases(updates, hyper.bias_rate)
    params = optax.apply_updates(state.params, updates)
    new_variables = params, gradients.other_variables
    average = state.average
    if average is not None:
        average = update_average(average, new_variables, hyper.average, state.step)
    begins_epoch = state.step % steps_per_epoch == 0
    earlier_sums_of_epoch = jax.tree.map(
        lambda total: jnp.where(begins_epoch, 0, total), state.sums
    )
    return TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=gradients.other_variables,
        opt_state=opt_state,
        sums=earlier_sums_of_epoch + gradients.sums,
        average=average,
    )


def rule_at_step(
    update_rule: UpdateRule, hyper: Hyperparameters, step: Int[Array, ""] | int
) -> optax.GradientTransformation:
    """Return the optax rule (optimizer) with the learning rate of a training step.

    `update_rule` returns the rule for a learning rate, and `step` counts from 0.
    """
    return update_rule(hyper.learning_rate[step], **hyper.rule)


def _arguments_if_loss_is_used(
    rule: optax.GradientTransformation,
    state: TrainState,
    gradients: BatchGradients,
    loss: BatchLoss,
) -> dict[str, Any]:
    """Return the keyword arguments through which an optax rule gets the loss, by name.

    The dict is empty if the rule does not use the loss. The gradients in the dict are not clipped.
    """
    loss_use = find_loss_use(rule, gradients.grads, state.opt_state, state.params)
    if not loss_use.uses_loss:
        return {}
    mean_loss = sharing.sum_over_devices(gradients.device_loss, loss.device_axis)
    return loss_arguments(mean_loss, gradients.grads, loss.differentiable_loss)
