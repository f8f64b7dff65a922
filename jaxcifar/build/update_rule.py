"""The update rule that a config names, as training calls it: `rule(learning_rate, **settings)`."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence

import jax
import optax

from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.config.settings import defaults
from jaxcifar.errors import UsageError
from jaxcifar.training.optim import UpdateRule


@dataclasses.dataclass(frozen=True)
class UserRule:
    """A user's update rule, which is given those settings that it has parameters for.

    Equal ones are of the same function, so that they share compiled programs.

    Attributes:
      rule: the user's function.
      by_position: settings that it takes after the learning rate, in this order.
      by_name: settings that it takes by their names.
    """

    rule: UpdateRule
    by_position: tuple[str, ...]
    by_name: tuple[str, ...]

    @property
    def takes(self) -> set[str]:
        """The settings that have an effect."""
        return {*self.by_position, *self.by_name}

    def __call__(
        self, learning_rate: jax.Array, **settings: jax.Array
    ) -> optax.GradientTransformation:
        """Return the rule for these values; settings that it does not take are left out."""
        values = [settings[name] for name in self.by_position]
        named = {name: settings[name] for name in self.by_name}
        return self.rule(learning_rate, *values, **named)


def update_rule(config: Config) -> UpdateRule:
    """Return the update rule of a config.

    Raises:
      UsageError: user code can't be loaded, or is nothing that can be called.
    """
    rule = user_code.load(config, "optimizer")
    if not registry.is_own(config.optimizer):
        return rule
    if not callable(rule):
        raise UsageError(
            f"--optimizer {config.optimizer}: is {type(rule).__name__}, not a function that "
            "returns an optax rule"
        )
    takes = registry.entry("optimizer", config.optimizer).takes
    return _adapted(rule, takes)


def require_effect(config: Config, rule: UpdateRule) -> None:
    """Refuse settings that differ from the recipe's and that a user's rule does not take.

    Raises:
      UsageError: there is such a setting.
    """
    if not isinstance(rule, UserRule):
        return
    recipe = defaults(config.arch, config.recipe)
    for name in registry.entry("optimizer", config.optimizer).takes:
        value = getattr(config, name)
        if name not in rule.takes and value != recipe[name]:
            reject(name, value, f"--optimizer {config.optimizer} has no parameter {name}")


def _adapted(rule: UpdateRule, takes: Sequence[str]) -> UserRule:
    """Find out how a user's rule is to be called.

    Args:
      rule: the user's function; its first parameter is the learning rate.
      takes: names of the settings that it may have parameters for. A rule whose parameters have
        other names is given all of them in this order.
    """
    try:
        signature = inspect.signature(rule)
    except (TypeError, ValueError):  # of a compiled function that does not say
        return UserRule(rule, tuple(takes), ())
    if _in_order(signature, takes):
        return UserRule(rule, tuple(takes), ())
    return UserRule(rule, (), _named(signature.parameters, takes))


def _in_order(signature: inspect.Signature, takes: Sequence[str]) -> bool:
    """Return whether all settings fit by position, and none has another one's name."""
    try:
        given = signature.bind("learning_rate", *takes).arguments
    except TypeError:
        return False
    named = {name: setting for name, setting in given.items() if name in takes}
    known = [name for name in signature.parameters if name in takes]
    return all(named.get(name) == name for name in known)


def _named(parameters: Mapping[str, inspect.Parameter], takes: Sequence[str]) -> tuple[str, ...]:
    """Return the settings that a function takes by name."""
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return tuple(takes)
    return tuple(name for name in takes if name in parameters)
