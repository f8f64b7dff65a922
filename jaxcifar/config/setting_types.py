"""Check names and types of settings that a file or a program gives."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, get_args

from jaxcifar.config import registry
from jaxcifar.config.class_weights import class_weights_text
from jaxcifar.config.folds import fold_setting
from jaxcifar.config.settings import DERIVED_FIELDS, TABLES
from jaxcifar.errors import UsageError

# Names that users may take for settings, and the message: options do not change a run's numbers.
OPTIONS_OF_COMMANDS = {
    name: f"{name} is not a setting; give the command the option --{name.replace('_', '-')}"
    for name in ("keep", "keep_every", "folds", "devices", "data_dir")
}


def check_types(where: str, settings: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Check that settings have the types of the fields, and return the settings.

    A whole number becomes a float if the field is a float. Class weights that are a table of the
    file (class name -> weight) become text, and so do `Path` objects.

    Args:
      where: the place of the settings, such as a file, which begins the error message.
      settings: values by name.
      config: the dataclass with the fields.

    Raises:
      UsageError: no field has such a name, or a value has another type.
    """
    fields = {field.name: field.type for field in dataclasses.fields(config)}
    checked = {}
    for name, value in settings.items():
        if name in OPTIONS_OF_COMMANDS:
            raise UsageError(f"{where}: {OPTIONS_OF_COMMANDS[name]}")
        if name not in fields:
            known = [field for field in fields if field not in DERIVED_FIELDS]
            advice = f"{registry.did_you_mean(name, known)}choose one of {', '.join(known)}"
            raise UsageError(f"{where}: there is no setting {name}; {advice}")
        if value is None and name in DERIVED_FIELDS:
            continue
        value = _standard_form(where, name, value)
        if name in TABLES:
            kinds: tuple[type, ...] = (dict,)
        else:
            kinds = get_args(fields[name]) or (fields[name],)
        if float in kinds and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if type(value) not in kinds:
            raise UsageError(f"{where}: {name} = {value!r:.80} is not of type {kinds[0].__name__}")
        checked[name] = value
    return checked


def _standard_form(where: str, name: str, value: Any) -> Any:
    """Return the value of the setting `name` in the form that a `Config` has.

    Users may write other forms for `fold` and `class_weights`. `where` begins the error message.
    """
    if name == "fold" and isinstance(value, str):
        return fold_setting(value)
    if isinstance(value, PurePath):
        return str(value)
    if name == "class_weights" and not isinstance(value, str):
        try:
            return class_weights_text(value)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return value
