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

_RATE = "learning_rate"


@dataclasses.dataclass(frozen=True)
class UserRule:
    """A user's update rule, called with only the settings that it has parameters for.

    Two rules are equal if they call the same function with the same arguments. Equal rules share
    compiled programs.

    Attributes:
      rule: the user's function, which returns an optax rule.
      by_position: names of the settings that are passed by position, in order. They may include
        "learning_rate".
      by_name: names of the settings that are passed by name. If `by_position` lacks
        "learning_rate", this tuple has it.
    """

    rule: UpdateRule
    by_position: tuple[str, ...]
    by_name: tuple[str, ...]

    @property
    def takes(self) -> set[str]:
        """Names of the settings that the user's function takes."""
        return {*self.by_position, *self.by_name} - {_RATE}

    def __call__(
        self, learning_rate: jax.Array, **settings: jax.Array
    ) -> optax.GradientTransformation:
        """Call the user's function with a learning rate and settings; return its optax rule.

        Settings that the function has no parameters for are ignored.
        """
        values = {_RATE: learning_rate, **settings}
        positional_values = [values[name] for name in self.by_position]
        values_by_name = {name: values[name] for name in self.by_name}
        rule = self.rule(*positional_values, **values_by_name)
        return rule.gradient_transformation() if isinstance(rule, optax.MultiSteps) else rule


def update_rule(config: Config) -> UpdateRule:
    """Return the update rule (optimizer) that a config names: a function of the learning rate.

    Raises:
      UsageError: the user code can't be loaded, or is not callable.
    """
    rule = user_code.load(config, "optimizer")
    if not registry.is_user_code(config.optimizer):
        return rule
    if not callable(rule):
        raise UsageError(
            f"--optimizer {config.optimizer}: is {type(rule).__name__}, not a function that "
            "returns an optax rule"
        )
    setting_names = registry.entry("optimizer", config.optimizer).takes
    return _make_user_rule(rule, setting_names)


def require_effect(config: Config, rule: UpdateRule) -> None:
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
        has_effect = name in rule.takes
        if not has_effect and value != recipe[name]:
            reject(name, value, f"--optimizer {config.optimizer} has no parameter {name}")


def _make_user_rule(rule: UpdateRule, setting_names: Sequence[str]) -> UserRule:
    """Wrap a user's update rule, so that it gets settings in the way its parameters require.

    Args:
      rule: the user's function. Its first parameter is the learning rate, unless another has the
        name `learning_rate`.
      setting_names: names of the settings that the function may have parameters for. A function
        whose parameters have other names is called with all settings, in this order.
    """
    try:
        signature = inspect.signature(rule)
    except (TypeError, ValueError):  # a compiled function may have no readable signature
        return UserRule(rule, (_RATE, *setting_names), ())
    if _can_be_passed_in_order(signature, setting_names):
        return UserRule(rule, (_RATE, *setting_names), ())
    names = _taken_by_name(signature.parameters, setting_names)
    first = next(iter(signature.parameters), None)
    if _RATE in signature.parameters and first != _RATE:
        return UserRule(rule, (), (_RATE, *names))
    return UserRule(rule, (_RATE,), names)


def _can_be_passed_in_order(signature: inspect.Signature, setting_names: Sequence[str]) -> bool:
    """Return True if a function can be called as `function(learning_rate, *settings)`.

    The function must have enough parameters. A parameter with the name of a setting must get that
    setting.
    """
    # Names of settings are bound instead of values, to find out which parameter gets which setting.
    try:
        setting_of_parameter = signature.bind(_RATE, *setting_names).arguments
    except TypeError:
        return False
    named_like_settings = [name for name in signature.parameters if name in (_RATE, *setting_names)]
    return all(setting_of_parameter.get(name) == name for name in named_like_settings)


def _taken_by_name(
    parameters: Mapping[str, inspect.Parameter], setting_names: Sequence[str]
) -> tuple[str, ...]:
    """Return the names in `setting_names` that a function with these parameters accepts.

    `parameters` has the function's parameters, by name.
    """
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return tuple(setting_names)
    return tuple(name for name in setting_names if name in parameters)
