"""Load the update rule of a config; training calls it as `rule(learning_rate, **settings)`."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence

import jax
import optax

from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.config.settings import default_settings
from jaxcifar.errors import UsageError
from jaxcifar.training.optim import UpdateRule

_LEARNING_RATE = "learning_rate"
# Parameters of many rules that are neither momentum nor weight decay, whatever their position.
_NAMES_OF_OTHER_PARAMETERS = {
    *("b1", "b2", "b3", "beta", "beta1", "beta2", "beta3", "betas"),
    *("eps", "epsilon", "rho", "nesterov"),
}


@dataclasses.dataclass(frozen=True)
class UserRule:
    """A user's update rule, called with only the settings that it has parameters for.

    Two rules are equal if they call the same function with the same arguments. Equal rules share
    compiled programs.

    Attributes:
      function: the user's function, which returns an optax rule.
      positional_names: names of the settings that are passed by position, in order. The tuple may
        include "learning_rate".
      keyword_names: names of the settings that are passed by name. If `positional_names` lacks
        "learning_rate", this tuple has it.
    """

    function: UpdateRule
    positional_names: tuple[str, ...]
    keyword_names: tuple[str, ...]

    @property
    def taken_settings(self) -> set[str]:
        """Names of the settings that the user's function takes."""
        return {*self.positional_names, *self.keyword_names} - {_LEARNING_RATE}

    def __call__(
        self, learning_rate: jax.Array, **settings: jax.Array
    ) -> optax.GradientTransformation:
        """Call the user's function with a learning rate and settings; return its optax rule.

        Settings that the function has no parameters for are ignored.
        """
        value_of_setting = {_LEARNING_RATE: learning_rate, **settings}
        positional_arguments = [value_of_setting[name] for name in self.positional_names]
        keyword_arguments = {name: value_of_setting[name] for name in self.keyword_names}
        rule = self.function(*positional_arguments, **keyword_arguments)
        return rule.gradient_transformation() if isinstance(rule, optax.MultiSteps) else rule


def update_rule(config: Config) -> UpdateRule:
    """Return the update rule (optimizer) that a config names: a function of the learning rate.

    Raises:
      UsageError: the user code can't be loaded, or is not callable.
    """
    function = user_code.load(config, "optimizer")
    if not registry.is_user_code(config.optimizer):
        return function
    if not callable(function):
        raise UsageError(
            f"--optimizer {config.optimizer}: is {type(function).__name__}, not a function that "
            "returns an optax rule; name such a function"
        )
    setting_names = registry.entry("optimizer", config.optimizer).takes
    return _make_user_rule(function, setting_names)


def reject_unused_settings(config: Config, rule: UpdateRule) -> None:
    """Check that a user's update rule uses all settings that differ from the recipe's defaults.

    A recipe is a named set of default settings for a network.

    Raises:
      UsageError: the user's rule has no parameter for a setting that differs from the recipe.
    """
    if not isinstance(rule, UserRule):
        return
    recipe = default_settings(config.arch, config.recipe)
    for name in registry.entry("optimizer", config.optimizer).takes:
        value = getattr(config, name)
        has_effect = name in rule.taken_settings
        if not has_effect and value != recipe[name]:
            reason = f"--optimizer {config.optimizer} has no parameter {name}"
            reject(name, value, f"{reason}; add the parameter, or leave the option out")


def _make_user_rule(function: UpdateRule, setting_names: Sequence[str]) -> UserRule:
    """Return a user's update rule as a `UserRule`, which knows which settings to pass, and how.

    All settings are passed by position if the function takes them in order. Otherwise the settings
    for which the function has a parameter are passed by name. A function of optax gets settings
    only by name. The learning rate is the first argument, unless a later parameter has the name
    `learning_rate`.

    Args:
      function: the user's function.
      setting_names: names of the settings that can be passed, in order.
    """
    rule_with_all_settings = UserRule(
        function, positional_names=(_LEARNING_RATE, *setting_names), keyword_names=()
    )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a compiled function may have no readable signature
        return rule_with_all_settings
    has_parameter_order_of_optax = str(getattr(function, "__module__", "")).startswith("optax.")
    if not has_parameter_order_of_optax and _takes_settings_in_order(signature, setting_names):
        return rule_with_all_settings
    accepted_names = _accepted_names(signature.parameters, setting_names)
    parameters_after_first = list(signature.parameters)[1:]
    if _LEARNING_RATE in parameters_after_first:
        return UserRule(
            function, positional_names=(), keyword_names=(_LEARNING_RATE, *accepted_names)
        )
    return UserRule(function, positional_names=(_LEARNING_RATE,), keyword_names=accepted_names)


def _takes_settings_in_order(signature: inspect.Signature, setting_names: Sequence[str]) -> bool:
    """Return True if a function can be called as `function(learning_rate, *settings)`.

    Return False if a parameter with the name of a setting would get another setting, or if a
    parameter with a name such as `b1`, which is the name of no setting, would get a setting.
    """
    # The names are bound to the parameters as the values would be.
    names_in_order = (_LEARNING_RATE, *setting_names)
    try:
        setting_passed_to = signature.bind(*names_in_order).arguments
    except TypeError:  # the function has too few parameters, or too many without a default
        return False
    would_fill_other_parameter = any(
        parameter in _NAMES_OF_OTHER_PARAMETERS for parameter in setting_passed_to
    )
    if would_fill_other_parameter:
        return False
    shared_names = [name for name in names_in_order if name in signature.parameters]
    return all(setting_passed_to.get(name) == name for name in shared_names)


def _accepted_names(
    parameters: Mapping[str, inspect.Parameter], setting_names: Sequence[str]
) -> tuple[str, ...]:
    """Return the names in `setting_names` that a function with these parameters accepts.

    `parameters` has the function's parameters, by name.
    """
    takes_any_name = any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    if takes_any_name:
        return tuple(setting_names)
    return tuple(name for name in setting_names if name in parameters)
