"""Check the names and types of settings that come from a file or a program."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any, get_args

from jaxcifar.config import registry
from jaxcifar.config.class_weights import class_weights_text
from jaxcifar.config.folds import fold_setting
from jaxcifar.config.settings import DERIVED_FIELDS, TABLE_FIELDS
from jaxcifar.errors import UsageError

_FIRST_INEXACT_INTEGER = 2**53  # floats can't represent all integers from here on
# Options of commands that users may mistake for settings -> the error message.
OPTIONS_OF_COMMANDS = {
    name: f"{name} is not a setting; give the command the option --{name.replace('_', '-')}"
    for name in ("keep", "keep_every", "folds", "devices", "data_dir")
}

_CURRENT_NAMES = {"sgd_rate": "non_kernel_rate", "small_part": "small_fraction"}  # by earlier name


def current_name(setting: str) -> str:
    """Return today's name of a setting that had another name in earlier versions."""
    return _CURRENT_NAMES.get(setting, setting)


def with_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which today's names replace the names of earlier versions."""
    return {current_name(name): value for name, value in settings.items()}


def check_and_convert(
    place: str, settings: Mapping[str, Any], config_class: type
) -> dict[str, Any]:
    """Check that settings have the types of the config's fields, and return the settings.

    A whole number becomes a float if the field is a float. A table of class weights (class name ->
    weight) becomes text, and so does a `Path`.

    Args:
      place: the file or program that gives the settings; an error message begins with it.
      settings: values by name.
      config_class: the dataclass with the fields.

    Raises:
      UsageError: there is no field of this name, or a value has another type than its field.
    """
    type_of_field = {field.name: field.type for field in dataclasses.fields(config_class)}
    checked_settings = {}
    for name, value in with_current_names(settings).items():
        _require_known_name(place, name, type_of_field)
        is_not_computed_yet = name in DERIVED_FIELDS and value is None
        if is_not_computed_yet:
            continue
        if name in TABLE_FIELDS:
            allowed_types: tuple[type, ...] = (dict,)
        else:
            types_of_union = get_args(type_of_field[name])
            allowed_types = types_of_union or (type_of_field[name],)
        checked_settings[name] = _convert_value(place, name, value, allowed_types)
    return checked_settings


def _require_known_name(place: str, name: str, known_names: Collection[str]) -> None:
    """Raise a `UsageError` that begins with `place` if there is no setting of this name."""
    if name in OPTIONS_OF_COMMANDS:
        raise UsageError(f"{place}: {OPTIONS_OF_COMMANDS[name]}")
    if name not in known_names:
        user_settings = [known for known in known_names if known not in DERIVED_FIELDS]
        suggestion = registry.did_you_mean(name, user_settings)
        advice = f"{suggestion}choose one of {', '.join(user_settings)}"
        raise UsageError(f"{place}: there is no setting {name}; {advice}")


def _convert_value(place: str, name: str, value: Any, allowed_types: tuple[type, ...]) -> Any:
    """Convert the value of a setting to a type that its field allows, if that loses nothing.

    Raises:
      UsageError: the value has another type; the message begins with `place`.
    """
    if isinstance(value, PurePath):
        value = str(value)
    elif name == "fold" and isinstance(value, str):
        value = fold_setting(value)
    elif name == "class_weights" and not isinstance(value, str):
        try:
            value = class_weights_text(value)
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from None
    is_exact_as_float = type(value) is int and abs(value) < _FIRST_INEXACT_INTEGER
    if float in allowed_types and is_exact_as_float:
        value = float(value)
    if type(value) not in allowed_types:
        type_name = allowed_types[0].__name__
        raise UsageError(f"{place}: {name} = {value!r:.80} is not of type {type_name}; correct it")
    return value
