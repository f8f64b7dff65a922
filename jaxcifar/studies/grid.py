"""Make a study with a row for each combination of values: `--grid learning_rate=0.01,0.1`."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from jaxcifar.config.class_weights import short_class_weights_text
from jaxcifar.config.experiment import Config
from jaxcifar.config.field_options import has_option
from jaxcifar.config.option_names import option_name
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.setting_types import OPTIONS_OF_COMMANDS
from jaxcifar.errors import UsageError
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_file import MAX_ROWS
from jaxcifar.studies.study_row import StudyRow

_MAX_ROW_NAME_LENGTH = 200  # characters
_MAX_LENGTH_BEFORE_NUMBER = _MAX_ROW_NAME_LENGTH - len("_1000")
_BOOLEAN_BY_WORD = {"true": True, "yes": True, "false": False, "no": False}
_TYPE_DESCRIPTIONS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_ADVICE_FOR_OTHER_SETTINGS = {
    "seed": "use --seeds for several seeds",
    "arch_args": "write a study file for several arguments of a network",
}


def grid_study(assignments: Sequence[str], shared_settings: Mapping[str, Any]) -> Study:
    """Return a study with a row for each combination of values.

    Args:
      assignments: `NAME=V1,V2` for each setting that varies.
      shared_settings: the settings that all rows share.

    Raises:
      UsageError: a setting or value is invalid or given twice, or there are too many rows.
    """
    values_by_setting: dict[str, list[Any]] = {}
    for assignment in assignments:
        name, values = _parse_name_and_values(assignment)
        if name in values_by_setting:
            raise UsageError(
                f"--grid {assignment:.80}: {name} is given twice; give all its values once"
            )
        if name in shared_settings:
            raise UsageError(
                f"--{option_name(name)}: --grid varies {name} already; leave one of them out"
            )
        values_by_setting[name] = values
    row_count = math.prod(len(values) for values in values_by_setting.values())
    if row_count > MAX_ROWS:
        raise UsageError(
            f"--grid: {row_count:,} rows are more than {MAX_ROWS:,}; give fewer values"
        )
    names = list(values_by_setting)
    combinations = itertools.product(*values_by_setting.values())
    changes_of_rows = [dict(zip(names, values, strict=True)) for values in combinations]
    row_names = _unique_row_names([_row_name(changes) for changes in changes_of_rows])
    rows = tuple(
        StudyRow(name, changes) for name, changes in zip(row_names, changes_of_rows, strict=True)
    )
    title = " x ".join(name.replace("_", " ") for name in values_by_setting)
    return Study(f"Grid of {title}", dict(shared_settings), rows, reference={})


def grid_name(assignments: Sequence[str]) -> str:
    """Return a name for the folder of a grid study, made from the settings that vary.

    `assignments` has `NAME=V1,V2` for each of these settings.
    """
    settings = [_field_name(assignment.partition("=")[0]) for assignment in assignments]
    return "_".join(["grid", *map(option_name, settings)])[:_MAX_ROW_NAME_LENGTH]


def _field_name(text: str) -> str:
    """Return the name of a field of `Config` from text such as `--learning-rate`."""
    return text.removeprefix("--").replace("-", "_")


def _parse_name_and_values(assignment: str) -> tuple[str, list[Any]]:
    """Return the name and the values of a setting, given as `NAME=V1,V2`."""
    option = f"--grid {assignment:.80}"
    name_text, equals_sign, values_text = assignment.partition("=")
    name = _field_name(name_text)
    value_texts = values_text.split(",")
    if not equals_sign or not all(value_texts):
        raise UsageError(f"{option}: must be NAME=VALUE,VALUE such as learning_rate=0.1,1")
    fields = {field.name: field for field in dataclasses.fields(Config)}
    names_with_option = [field.name for field in fields.values() if has_option(field)]
    if name in OPTIONS_OF_COMMANDS:
        raise UsageError(f"{option}: {OPTIONS_OF_COMMANDS[name]}")
    if name not in names_with_option:
        advice = did_you_mean(name, names_with_option).strip() or "see docs/settings.md"
        raise UsageError(f"{option}: there is no setting {name:.80}; {advice}")
    if name in _ADVICE_FOR_OTHER_SETTINGS:
        advice = _ADVICE_FOR_OTHER_SETTINGS[name]
        raise UsageError(f"{option}: {name} can't vary in a grid; {advice}")
    converter = _value_converter(fields[name])
    values: list[Any] = []
    for value_text in value_texts:
        value = _parse_value(option, value_text, converter)
        if value in values:
            raise UsageError(f"{option}: {value_text:.40} is given twice; give it once")
        values.append(value)
    return name, values


def _value_converter(field: dataclasses.Field) -> Any:
    """Return the type, or the function, that converts text to a value of a setting.

    `field` is the setting's field in `Config`.
    """
    if "type" in field.metadata:
        return field.metadata["type"]
    types = get_args(field.type) or (field.type,)
    return types[0]


def _parse_value(option: str, value_text: str, converter: Any) -> Any:
    """Return the value that a text stands for.

    Args:
      option: the text `--grid NAME=V1,V2` that the user gave, for the error message.
      value_text: the text of one value.
      converter: the type of the value, or a function that converts the text.
    """
    try:
        if converter is bool:
            return _BOOLEAN_BY_WORD[value_text.lower()]
        return converter(value_text)
    except (ValueError, KeyError):
        message = f"{option}: {value_text:.40} must be {_TYPE_DESCRIPTIONS[converter]}"
        raise UsageError(message) from None


def _row_name(changes: Mapping[str, Any]) -> str:
    """Return a readable name for a study's row, such as `learning-rate0.1_no-augment`.

    `changes` has the row's value of each setting that varies.
    """
    texts_of_changes = []
    for name, value in changes.items():
        option = option_name(name)
        if isinstance(value, bool):
            text = option if value else f"no-{option}"
        elif name == "class_weights":
            text = option + short_class_weights_text(value)
        else:
            value_without_file = str(value).rpartition(":")[2]  # `Net` of `net.py:Net`
            text = option + value_without_file
        texts_of_changes.append(text)
    name_of_folder = re.sub(r"[^A-Za-z0-9._+-]+", "-", "_".join(texts_of_changes))
    return name_of_folder[:_MAX_ROW_NAME_LENGTH]


def _unique_row_names(names: Sequence[str]) -> list[str]:
    """Return names of rows without repetition: a second "a" becomes "a_2"."""
    unique_names: list[str] = []
    for name in names:
        unique_name = name
        number = 1
        while unique_name in unique_names:
            number += 1
            unique_name = f"{name[:_MAX_LENGTH_BEFORE_NUMBER]}_{number}"
        unique_names.append(unique_name)
    return unique_names
