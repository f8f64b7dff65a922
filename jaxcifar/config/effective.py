"""Settings that have an effect in a run, and the reason why another setting has none."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.continued_folder import find_continued_run
from jaxcifar.config.continued_run import base_settings
from jaxcifar.config.fields import Fields
from jaxcifar.config.settings import effective_settings, reason_ineffective


def settings_with_effect(
    user_settings: Mapping[str, Any], config_class: type, earlier_config: Fields | None = None
) -> dict[str, Any]:
    """Return the settings that the user gives, except settings without effect.

    Args:
      user_settings: the settings that the user gives.
      config_class: the class `Config`.
      earlier_config: config of the run if an earlier command began it; see `find_continued_run`.

    Raises:
      UsageError: a recipe is unknown, or the run to continue can't be read.
    """
    settings = _with_base_settings(user_settings, config_class, earlier_config)
    effective = effective_settings(settings)
    return {name: value for name, value in user_settings.items() if name in effective}


def reason_without_effect(
    name: str,
    user_settings: Mapping[str, Any],
    config_class: type,
    earlier_config: Fields | None = None,
) -> str:
    """Return the end of an error message: the reason why a setting has no effect, and what to do.

    Args:
      name: name of the setting.
      user_settings: the settings that the user gives.
      config_class: the class `Config`.
      earlier_config: config of the run if an earlier command began it; see `find_continued_run`.
    """
    settings = _with_base_settings(user_settings, config_class, earlier_config)
    reason = reason_ineffective(name, settings)
    return reason if ";" in reason else f"{reason}; remove it"


def _with_base_settings(
    user_settings: Mapping[str, Any], config_class: type, earlier_config: Fields | None
) -> dict[str, Any]:
    """Return all settings of a run: the user's and, for the others, those that the run starts from.

    A run starts from the settings of its recipe, or of the run that it continues.
    The arguments are those of `settings_with_effect`.
    """
    continued_run = find_continued_run(user_settings, config_class, earlier_config)
    return {**base_settings(user_settings, continued_run), **user_settings}
