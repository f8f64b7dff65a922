"""The command-line options of a run, made from its config."""

import dataclasses
from typing import TYPE_CHECKING

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
    values = dataclasses.asdict(config)
    if config.continue_from:  # the run to continue has the network and the recipe
        options = []
        inherited_names = (*FIXED_SETTINGS, "init")
        values_without_option = {name: values[name] for name in inherited_names}
        no_fold = ""
        values_without_option["fold"] = no_fold  # --fold finds the run to continue among others
    else:
        options = ["--arch", config.arch]
        if config.recipe != recipe_names(config.arch)[0]:
            options += ["--recipe", config.recipe]
        values_without_option = default_settings(config.arch, config.recipe)
    effective_names = names_of_effective_settings(values)
    names_left_out = ("arch", "recipe", "seed")
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        needs_option = name not in values_without_option or value != values_without_option[name]
        if name in names_left_out or name not in effective_names or not needs_option:
            continue
        if has_option(field):
            options += option_words(name, value)
    return options
