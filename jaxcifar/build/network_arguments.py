"""The arguments of a network's class or function, and the check of `--arch-args`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from jaxcifar.build.nnx_model import constructor_parameters, is_nnx_class
from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import option_text
from jaxcifar.errors import UsageError

_FLAX_FIELDS = {"parent", "name"}
_CHECKED_TYPES = (bool, int, float, str, tuple)


def argument_defaults(constructor: Callable[..., Any]) -> dict[str, Any]:
    """Return the default value of each argument of a network's constructor, by name.

    `constructor` is a class, a function, or a Linen module, whose fields count as arguments.
    """
    if isinstance(constructor, nn.Module):
        names = sorted(field.name for field in _argument_fields(constructor))
        return {name: getattr(constructor, name) for name in names}
    is_linen_class = dataclasses.is_dataclass(constructor) and not is_nnx_class(constructor)
    if is_linen_class:
        return {field.name: field.default for field in _argument_fields(constructor)}
    parameters = constructor_parameters(constructor)
    return {name: parameter.default for name, parameter in parameters.items()}


def _argument_fields(linen_network: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields of a Linen class or module that are arguments of its constructor.

    The fields that Flax adds to each class are left out.
    """
    fields = dataclasses.fields(linen_network)
    return [field for field in fields if field.init and field.name not in _FLAX_FIELDS]


def check_argument(
    config: Config,
    name: str,
    value: Any,
    defaults: Mapping[str, Any],
    set_by_package: Mapping[str, Any],
) -> None:
    """Check an argument of `--arch-args`.

    Args:
      config: settings of the run.
      name: name of the argument.
      value: value of the argument.
      defaults: default value of each argument that the network takes, by name.
      set_by_package: arguments that the user can't set here, by name.

    Raises:
      UsageError: the network has no such argument, the user can't set it, or the type is wrong.
    """
    option = f"--arch-args {name}={option_text(value)}"
    if name in ("dropout", "dtype") and name in set_by_package:
        raise UsageError(f"{option}: can't be set here; use --{name} instead")
    if name in set_by_package:
        raise UsageError(f"{option}: is set from the data and the devices; leave it out")
    if name not in defaults:
        title = registry.entry("arch", config.arch).title
        allowed_names = [allowed for allowed in defaults if allowed not in set_by_package]
        raise UsageError(
            f"{option}: {title} has no such argument; {registry.did_you_mean(name, allowed_names)}"
            f"it takes {', '.join(allowed_names) or 'none'}"
        )
    default = defaults[name]
    default_type = type(default)
    if default_type in _CHECKED_TYPES and not _has_type(value, default_type):
        problem = f"{option}: must be of the same kind as {option_text(default)}, the default"
        if default_type is tuple:  # users write `widths=4` for a list of one value
            problem += f"; a list of one value is written {name}={option_text((value,))}"
        raise UsageError(problem)


def _has_type(value: Any, expected_type: type) -> bool:
    """Return True if a value can replace a default value of type `expected_type`.

    An int can replace a float. A bool is no number here, although Python's bool is an int.
    """
    if isinstance(value, bool):
        return expected_type is bool
    if expected_type is float:
        return isinstance(value, (int, float))
    return isinstance(value, expected_type)
