"""The command-line options of a run, made from its config."""

import dataclasses
from typing import TYPE_CHECKING

from jaxcifar.config.continued_run import FIXED_SETTINGS
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
    options = ["--arch", config.arch]
    if config.recipe != recipe_names(config.arch)[0]:
        options += ["--recipe", config.recipe]
    usual_values = default_settings(config.arch, config.recipe)
    values = dataclasses.asdict(config)
    if config.continue_from:  # the run to continue has the network and the recipe
        options = []
        usual_values = {name: values[name] for name in (*FIXED_SETTINGS, "init")}
        usual_values["fold"] = ""  # the option --fold finds the run to continue in a study's row
    effective_names = names_of_effective_settings(values)
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        has_option = "help" in field.metadata and name not in ("arch", "recipe", "seed")
        is_usual = name in usual_values and value == usual_values[name]
        if not has_option or name not in effective_names or is_usual:
            continue
        options += option_words(name, value)
    return options
