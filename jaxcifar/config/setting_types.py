"""Check names and types of settings that a file or a program gives."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, get_args

from jaxcifar.config import registry
from jaxcifar.config.class_weights import class_weights_text
from jaxcifar.config.folds import fold_setting
from jaxcifar.config.settings import DERIVED_FIELDS, TABLE_FIELDS
from jaxcifar.errors import UsageError

_FIRST_INEXACT_INTEGER = 2**53  # floats can't represent all integers from here on
# Names that users may take for settings, and the message: options do not change a run's numbers.
OPTIONS_OF_COMMANDS = {
    name: f"{name} is not a setting; give the command the option --{name.replace('_', '-')}"
    for name in ("keep", "keep_every", "folds", "devices", "data_dir")
}


def check_types(place: str, settings: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Check that settings have the types of the fields, and return the settings.

    A whole number becomes a float if the field is a float. Class weights that are a table of the
    file (class name -> weight) become text, and so do `Path` objects.

    Args:
      place: the place of the settings, such as a file, which begins the error message.
      settings: values by name.
      config_class: the dataclass with the fields.

    Raises:
      UsageError: no field has such a name, or a value has another type.
    """
    type_of_field = {field.name: field.type for field in dataclasses.fields(config_class)}
    checked_settings = {}
    for name, value in settings.items():
        if name in OPTIONS_OF_COMMANDS:
            raise UsageError(f"{place}: {OPTIONS_OF_COMMANDS[name]}")
        if name not in type_of_field:
            known_settings = [field for field in type_of_field if field not in DERIVED_FIELDS]
            suggestion = registry.did_you_mean(name, known_settings)
            advice = f"{suggestion}choose one of {', '.join(known_settings)}"
            raise UsageError(f"{place}: there is no setting {name}; {advice}")
        if value is None and name in DERIVED_FIELDS:
            continue
        value = _standard_form(place, name, value)
        if name in TABLE_FIELDS:
            allowed_types: tuple[type, ...] = (dict,)
        else:
            allowed_types = get_args(type_of_field[name]) or (type_of_field[name],)
        if float in allowed_types and type(value) is int and abs(value) < _FIRST_INEXACT_INTEGER:
            value = float(value)
        if type(value) not in allowed_types:
            type_name = allowed_types[0].__name__
            raise UsageError(
                f"{place}: {name} = {value!r:.80} is not of type {type_name}; correct it"
            )
        checked_settings[name] = value
    return checked_settings


def _standard_form(place: str, name: str, value: Any) -> Any:
    """Return the value of the setting `name` in the form that a `Config` has.

    Users may write other forms for `fold` and `class_weights`. `place` begins the error message.
    """
    if name == "fold" and isinstance(value, str):
        return fold_setting(value)
    if isinstance(value, PurePath):
        return str(value)
    if name == "class_weights" and not isinstance(value, str):
        try:
            return class_weights_text(value)
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from None
    return value
