"""Settings that have an effect in a run, and the reason why another setting has none."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.continued_run import base_settings, find_continued_run
from jaxcifar.config.settings import effective_settings, reason_ineffective


def settings_with_effect(user_settings: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Return the settings that the user gives, except settings without effect.

    Args:
      user_settings: the settings that the user gives.
      config_class: the class `Config`.

    Raises:
      UsageError: a recipe is unknown, or the run to continue can't be read.
    """
    effective = effective_settings(_with_base_settings(user_settings, config_class))
    return {name: value for name, value in user_settings.items() if name in effective}


def reason_without_effect(name: str, user_settings: Mapping[str, Any], config_class: type) -> str:
    """Return the end of an error message: the reason why a setting has no effect, and what to do.

    Args:
      name: name of the setting.
      user_settings: the settings that the user gives.
      config_class: the class `Config`.
    """
    reason = reason_ineffective(name, _with_base_settings(user_settings, config_class))
    return reason if ";" in reason else f"{reason}; remove it"


def _with_base_settings(user_settings: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Return the user's settings, completed by the settings of the recipe or of the continued run.

    Args:
      user_settings: the settings that the user gives.
      config_class: the class `Config`.
    """
    continued_run = find_continued_run(user_settings, config_class)
    return {**base_settings(user_settings, continued_run), **user_settings}
