"""The name of a run's folder, made from its config."""

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from jaxcifar.config import class_weights, registry
from jaxcifar.config.option_names import option_name
from jaxcifar.config.settings import (
    DERIVED_FIELDS,
    default_settings,
    effective_settings,
    option_text,
    recipe_names,
    switched_off_settings,
)
from jaxcifar.machine.paths import short_dataset_name

if TYPE_CHECKING:  # it imports this module
    from jaxcifar.config.experiment import Config

_NETWORK_WITHOUT_ARGUMENTS = "plain"  # if the recipe gives the network arguments
_MAX_NAME_LENGTH = 120
_MAX_NAME_BYTES = 200  # file systems allow 255 bytes, and a letter may have up to 4


def run_name(config: "Config") -> str:
    """Return a readable folder name: network, data set, changes to the recipe, and seed.

    An example is `cnn_cifar10_epochs5_seed0`.
    """
    is_user_network = registry.is_user_code(config.arch)
    network = registry.entry("arch", config.arch).title if is_user_network else config.arch
    name_parts = [network, short_dataset_name(config.dataset)]
    if config.alters_network and not config.arch_args:
        name_parts.append(_NETWORK_WITHOUT_ARGUMENTS)
    if config.recipe != recipe_names(config.arch)[0]:
        name_parts.append(config.recipe)
    recipe_values = default_settings(config.arch, config.recipe)
    if not config.alters_network:
        network_arguments_of_recipe = dict(config.arch_args)
        recipe_values |= network_arguments_of_recipe
    names_left_out = {"arch", "recipe", "dataset", "seed", *DERIVED_FIELDS}
    names_left_out |= switched_off_settings(dataclasses.asdict(config))
    for name, value in effective_settings(config.settings()).items():
        is_digest = name.startswith("SHA-256")
        is_as_in_recipe = value == recipe_values.get(name)
        if not is_digest and not is_as_in_recipe and name not in names_left_out:
            name_parts.append(_setting_in_name(name, value))
    full_name = re.sub(r"[^\w.+-]+", "-", "_".join(name_parts))
    cut_name = _beginning_for_folder(full_name)
    return f"{cut_name}_seed{config.seed}"


def _beginning_for_folder(name: str) -> str:
    """Return as much of a name's beginning as the name of a folder may have before the seed."""
    name_bytes = name[:_MAX_NAME_LENGTH].encode()
    return name_bytes[:_MAX_NAME_BYTES].decode(errors="ignore")  # without half of a letter


def _setting_in_name(name: str, value: Any) -> str:
    """Return the part of a run's name for one setting, such as "epochs5" or "no-augment"."""
    option = option_name(name)
    if isinstance(value, bool):
        return option if value else f"no-{option}"
    if name == "class_weights":
        return option + class_weights.short_class_weights_text(value)
    value_without_file = option_text(value).rpartition(":")[2]
    return option + value_without_file
