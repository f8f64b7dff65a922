"""The settings that `run --config` takes from an earlier run, and what has changed since."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import DERIVED_FIELDS, default_settings, names_of_effective_settings

_NETWORK_AND_RECIPE = {"arch", "arch_args", "recipe"}


def settings_of_recorded_run(recorded_config: Config) -> dict[str, Any]:
    """Return the settings of an earlier run that have an effect.

    Fields that `Config` computes itself, such as checksums, are left out.
    """
    recorded = dataclasses.asdict(recorded_config)
    settings = {}
    for name in names_of_effective_settings(recorded):
        if name not in DERIVED_FIELDS and recorded[name] is not None:
            settings[name] = recorded[name]
    return {**settings, "arch_args": dict(recorded_config.arch_args)}


def without_settings_of_earlier_recipe(
    file_settings: dict[str, Any],
    recorded_config: Config,
    option_settings: Mapping[str, Any],
    notices: list[str],
) -> dict[str, Any]:
    """Return the settings of an earlier run that a new run takes over.

    A recipe is a named set of settings for a network. If the options name another network or
    recipe, only the settings in which the earlier run differs from its own recipe are returned, and
    a line about them is added to `notices`. Otherwise, all settings are returned.

    Args:
      file_settings: the settings of the earlier run.
      recorded_config: the config of the earlier run.
      option_settings: the settings of the new run that were given as options.
      notices: lines for the user, to which a line may be added.
    """
    changed_option = _option_that_changes_recipe(recorded_config, option_settings)
    if changed_option is None:
        return file_settings
    arch, recipe = recorded_config.arch, recorded_config.recipe
    kept_settings = _settings_that_differ_from_recipe(file_settings, arch, recipe)
    keeps_network = "arch" not in option_settings
    if keeps_network:
        kept_settings["arch"] = arch
    if keeps_network and recorded_config.alters_network:
        kept_settings["arch_args"] = file_settings["arch_args"]
    notices.append(
        f"--{changed_option} {option_settings[changed_option]}: of the file, only the changes to "
        f"the recipe {recipe} of {arch} are kept: {_settings_text(kept_settings) or 'none'}"
    )
    return kept_settings


def _option_that_changes_recipe(
    recorded_config: Config, option_settings: Mapping[str, Any]
) -> str | None:
    """Return "arch" or "recipe", the first option that differs from the earlier run's setting.

    Return None if neither differs.
    """
    for option in ("arch", "recipe"):
        recorded_name = getattr(recorded_config, option)
        if option_settings.get(option, recorded_name) != recorded_name:
            return option
    return None


def _settings_that_differ_from_recipe(
    settings: Mapping[str, Any], arch: str, recipe: str
) -> dict[str, Any]:
    """Return the settings whose values are not those of the network's recipe.

    The names of the network and the recipe, and the network's arguments, are left out.
    """
    recipe_settings = default_settings(arch, recipe)
    differing_settings = {}
    for name, value in settings.items():
        if name not in _NETWORK_AND_RECIPE and value != recipe_settings[name]:
            differing_settings[name] = value
    return differing_settings


def _settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings in alphabetical order as text, such as "dropout 0.5, epochs 2"."""
    return ", ".join(f"{name} {value}" for name, value in sorted(settings.items()))


def changes_since_recorded_run(
    config: Config, recorded_config: Config, recorded_run: Path
) -> list[str]:
    """Return lines about user code and initial weights that have changed since an earlier run.

    Args:
      config: config of the new run.
      recorded_config: config of the earlier run.
      recorded_run: path of the earlier run, for the lines.
    """
    lines = _lines_about_changed_code(config, recorded_config, recorded_run)
    has_same_init = config.init == recorded_config.init
    if has_same_init and config.init_sha256 != recorded_config.init_sha256:
        lines.append(f"--init {config.init}: the weights have changed since {recorded_run}")
    return lines


def _lines_about_changed_code(
    config: Config, recorded_config: Config, recorded_run: Path
) -> list[str]:
    """Return a line for each file of user code that has another SHA-256 than in the earlier run."""
    config_with_imports = user_code.with_imports_on_disk(config, recorded_config)
    sha256_by_file = _sha256_of_user_code(config_with_imports)
    recorded_sha256_by_file = _sha256_of_user_code(recorded_config)
    lines = []
    for option_and_import, sha256 in sha256_by_file.items():
        option, _, imported_file = option_and_import.partition(": ")
        code_name = getattr(config, option)
        is_code_of_recorded_run = code_name == getattr(recorded_config, option)
        if not is_code_of_recorded_run or option_and_import not in recorded_sha256_by_file:
            continue
        recorded_sha256 = recorded_sha256_by_file[option_and_import]
        if sha256 != recorded_sha256:
            changed_file = imported_file or code_name
            lines.append(
                f"{changed_file} has changed since {recorded_run}: SHA-256 {sha256[:8]}, "
                f"{recorded_sha256[:8]} there; the run's folder has its copy in sources/"
            )
    return lines


def _sha256_of_user_code(config: Config) -> dict[str, str]:
    """Return the SHA-256 of the files of user code, including the files that they import.

    The keys are an option such as "arch", or an option and an imported file: "arch: layers.py".
    """
    return dict([*(config.sources or ()), *(config.imports or ())])
