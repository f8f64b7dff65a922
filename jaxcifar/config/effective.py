"""Settings that have an effect in a run, and the reason why another setting has none."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.continued_run import base_settings, find_continued_run
from jaxcifar.config.settings import effective_settings, why_ineffective


def settings_with_effect(given: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return the settings that the user gives, except settings without effect.

    Args:
      given: the settings that the user gives.
      config: the class `Config`.

    Raises:
      UsageError: a recipe is unknown, or the run to continue can't be read.
    """
    effective = effective_settings(_with_base(given, config))
    return {name: value for name, value in given.items() if name in effective}


def reason_without_effect(name: str, given: Mapping[str, Any], config: type) -> str:
    """Return the end of an error message: the reason why a setting has no effect, and what to do.

    Args:
      name: name of the setting.
      given: the settings that the user gives.
      config: the class `Config`.
    """
    reason = why_ineffective(name, _with_base(given, config))
    return reason if ";" in reason else f"{reason}; remove it"


def _with_base(given: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return the settings that the user gives, and below them those of the recipe or continued run.

    Args:
      given: the settings that the user gives.
      config: the class `Config`.
    """
    return {**base_settings(given, find_continued_run(given, config)), **given}
