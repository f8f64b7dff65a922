"""The command-line options of a run, made from its config."""

import dataclasses
from typing import TYPE_CHECKING, Any

from jaxcifar.config.continued_run import FIXED_SETTINGS
from jaxcifar.config.field_options import has_option
from jaxcifar.config.settings import (
    default_settings,
    names_of_effective_settings,
    option_words,
    recipe_names,
)

if TYPE_CHECKING:  # it imports this module
    from jaxcifar.config.experiment import Config


def run_options(config: "Config") -> list[str]:
    """Return the command-line options that make a config, without `--seed`.

    If the run continues another run, settings that are equal in both runs need no option.
    """
    if config.continue_from:
        options = []
        known_values = _values_from_run_to_continue(config)
    else:
        options = ["--arch", config.arch]
        if config.recipe != recipe_names(config.arch)[0]:
            options += ["--recipe", config.recipe]
        known_values = default_settings(config.arch, config.recipe)
    effective_names = names_of_effective_settings(dataclasses.asdict(config))
    names_to_write = effective_names - {"arch", "recipe", "seed"}
    for field in dataclasses.fields(config):
        name = field.name
        value = getattr(config, name)
        is_known = name in known_values and value == known_values[name]
        if has_option(field) and name in names_to_write and not is_known:
            options += option_words(name, value)
    return options


def _values_from_run_to_continue(config: "Config") -> dict[str, Any]:
    """Return the settings that a config takes from the run that it continues, and their values."""
    names = (*FIXED_SETTINGS, "init")
    values = {name: getattr(config, name) for name in names}
    # A fold needs its option all the same, which finds the run to continue among other runs.
    values["fold"] = ""
    return values
