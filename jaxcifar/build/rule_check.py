"""Check a user's update rule, and the settings that it can't be combined with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcifar.build.update_rule import UserRule
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import network, schedule_free
from jaxcifar.training.loss_rules import LossUse, find_loss_use, loss_arguments, stand_in_loss
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_CONSTANT_SCHEDULE = "none"  # the schedule with a constant learning rate


class _TracedStep(NamedTuple):
    """The results of tracing one step of a user's update rule; arrays have shapes but no values.

    Attributes:
      params: the network's parameters.
      state: state of the rule before the step.
      updates: the updates of the parameters that the rule returns.
      new_state: the new state that the rule returns.
      loss_use: tells whether the rule uses the loss, and whether it calls it in a line search.
    """

    params: PyTree
    state: PyTree
    updates: PyTree
    new_state: PyTree
    loss_use: LossUse

    @property
    def has_line_search(self) -> bool:
        """True if the rule calls the loss as a function of the parameters."""
        return self.loss_use.uses_function

    @property
    def is_schedule_free(self) -> bool:
        """True if the rule contains optax's `schedule_free`, which averages the weights itself."""
        return bool(schedule_free.find_states(self.state))


def check_rule(config: Config, program: Program, hyper: Hyperparameters) -> None:
    """Check a user's update rule by tracing one step; built-in rules are not checked.

    Raises:
      UsageError: the user's function returns no optax rule, the rule changes the shape of an array,
        or the rule can't be combined with a setting.
    """
    if not isinstance(program.optimizer, UserRule):
        return
    option = f"--optimizer {config.optimizer}:"
    step = _trace_step(config, program, hyper)
    if _structure_and_shapes(step.updates) != _structure_and_shapes(step.params):
        raise UsageError(
            f"{option} its updates have other shapes than the parameters; return an update of the "
            "same shape for each parameter"
        )
    has_same_shapes = _structure_and_shapes(step.new_state) == _structure_and_shapes(step.state)
    if not has_same_shapes or _dtypes(step.new_state) != _dtypes(step.state):
        raise UsageError(
            f"{option} the shapes or dtypes of its state change in a step; `update` must keep "
            "those that `init` returns"
        )
    _reject_if_incompatible(config, step)


def reject_incompatible_settings(config: Config, program: Program, hyper: Hyperparameters) -> None:
    """Check that a user's update rule can be combined with the settings of a run.

    The settings are gradient clipping, the learning rate of biases, and the average of weights.

    Raises:
      UsageError: the rule can't be combined with a setting.
    """
    changes_updates = config.clip_norm > 0 or config.bias_rate != 1 or config.average > 0
    if changes_updates and isinstance(program.optimizer, UserRule):
        _reject_if_incompatible(config, _trace_step(config, program, hyper))


def learning_rate_note(config: Config, program: Program, hyper: Hyperparameters) -> str:
    """Return a line for the user if both the update rule and a schedule adapt the learning rate.

    A user's rule adapts the learning rate if it uses the loss, or if it contains optax's
    `schedule_free`. In all other cases, and with a constant schedule, return "".
    """
    if not isinstance(program.optimizer, UserRule) or config.schedule == _CONSTANT_SCHEDULE:
        return ""
    step = _trace_step(config, program, hyper)
    adapts_rate = step.loss_use.uses_loss or step.is_schedule_free
    if not adapts_rate:
        return ""
    return (
        f"--optimizer {config.optimizer}: adapts the learning rate itself, and --schedule "
        f"{config.schedule} changes it too; with --schedule {_CONSTANT_SCHEDULE} only the rule "
        "does."
    )


def _reject_if_incompatible(config: Config, step: _TracedStep) -> None:
    """Raise UsageError if a setting of the run can't be combined with the user's update rule."""
    rule = f"--optimizer {config.optimizer}"
    if step.has_line_search and config.clip_norm > 0:
        reason = f"{rule} has a line search; put optax.clip_by_global_norm into your rule instead"
        reject("clip_norm", config.clip_norm, reason)
    if step.has_line_search and config.bias_rate != 1:
        reason = f"{rule} has a line search, which chooses the length of the step"
        reject("bias_rate", config.bias_rate, f"{reason}; use --bias-rate 1")
    if step.is_schedule_free and config.bias_rate != 1:
        reason = f"{rule} is schedule-free, which computes its average from whole steps"
        reject("bias_rate", config.bias_rate, f"{reason}; use --bias-rate 1")
    if step.is_schedule_free and config.average > 0:
        reason = f"{rule} is schedule-free, which evaluates an average of its own"
        reject("average", config.average, f"{reason}; use --average 0")


def _trace_step(config: Config, program: Program, hyper: Hyperparameters) -> _TracedStep:
    """Trace one step of a user's update rule, and return the shapes of its results.

    Raises:
      UsageError: the user's function fails, or returns no optax rule.
    """
    with explain_user_code_errors(("arch", config.arch)):
        params = network.variable_shapes(program.model, program.image_size)["params"]
    # `take_step` sets this variable, because a function that JAX traces returns only arrays.
    loss_use = LossUse(uses_value=False, uses_function=False)

    def take_step(
        params: PyTree, learning_rate: jax.Array, settings: PyTree
    ) -> tuple[PyTree, PyTree, PyTree]:
        nonlocal loss_use
        rule = program.optimizer(learning_rate, **settings)
        state = rule.init(params)
        stand_in_grads = params  # arrays of the same shapes
        loss_keywords: dict[str, Any] = {}
        if isinstance(rule, optax.GradientTransformationExtraArgs):
            loss_use = find_loss_use(rule, stand_in_grads, state, params)
            loss_value = stand_in_loss(params)
            loss_keywords = loss_arguments(loss_value, stand_in_grads, loss_fn=stand_in_loss)
        updates, new_state = rule.update(stand_in_grads, state, params, **loss_keywords)
        _require_averages_of_params(config, new_state, params)
        return state, updates, new_state

    with explain_user_code_errors(("optimizer", config.optimizer)):
        first_rate = hyper.learning_rate[0]
        rule = program.optimizer(first_rate, **hyper.rule)
        if not isinstance(rule, optax.GradientTransformation):
            raise UsageError(
                f"--optimizer {config.optimizer}: returns {type(rule).__name__}, not an optax "
                "rule; return a rule such as optax.sgd(learning_rate)"
            )
        state, updates, new_state = jax.eval_shape(take_step, params, first_rate, hyper.rule)
    return _TracedStep(params, state, updates, new_state, loss_use)


def _require_averages_of_params(config: Config, state: PyTree, params: PyTree) -> None:
    """Raise UsageError if a schedule-free rule averages other arrays than the parameters.

    `state` is the state of the rule, which contains the averaged arrays.
    """
    try:
        schedule_free.evaluation_params(state, params)
    except (TypeError, ValueError) as error:  # raised by JAX
        raise UsageError(
            f"--optimizer {config.optimizer}: its schedule_free averages other arrays than the "
            "network's parameters; put optax.flatten inside of schedule_free, not around it"
        ) from error


def _structure_and_shapes(tree: PyTree) -> tuple[Any, list[tuple[int, ...]]]:
    """Return the structure of a pytree, and the shapes of its arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [leaf.shape for leaf in leaves]


def _dtypes(tree: PyTree) -> list[jnp.dtype]:
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]
