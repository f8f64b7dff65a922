"""Make a study with a row for each combination of values: `--grid learning_rate=0.01,0.1`."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from jaxcifar.config.class_weights import short_class_weights_text
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import option_name
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.setting_types import OPTIONS_OF_COMMANDS
from jaxcifar.errors import UsageError
from jaxcifar.studies.study import Study, StudyRow
from jaxcifar.studies.study_file import MAX_ROWS

_LONGEST_NAME = 200  # characters of a row's name
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_NOT_IN_A_GRID = {
    "seed": "use --seeds for several seeds",
    "arch_args": "write a study file for several arguments of a network",
}


def grid_study(words: Sequence[str], shared: Mapping[str, Any]) -> Study:
    """Return a study with a row for each combination of values.

    Args:
      words: `NAME=V1,V2` for each setting that varies.
      shared: the settings that all rows share.

    Raises:
      UsageError: a setting or value is invalid or given twice, or there are too many rows.
    """
    axes: dict[str, list[Any]] = {}
    for word in words:
        name, values = _parse_axis(word)
        if name in axes:
            raise UsageError(f"--grid {word:.80}: {name} is given twice; give all its values once")
        if name in shared:
            raise UsageError(
                f"--{option_name(name)}: --grid varies {name} already; leave one of them out"
            )
        axes[name] = values
    count = math.prod(map(len, axes.values()))
    if count > MAX_ROWS:
        raise UsageError(f"--grid: {count:,} rows are more than {MAX_ROWS:,}; give fewer values")
    combinations = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    names = _unique([_row_name(changes) for changes in combinations])
    rows = tuple(StudyRow(*row) for row in zip(names, combinations, strict=True))
    title = " x ".join(name.replace("_", " ") for name in axes)
    return Study(f"Grid of {title}", dict(shared), rows, reference={})


def grid_name(words: Sequence[str]) -> str:
    """Return a name for the folder of a grid study, made from the settings that vary.

    `words` has `NAME=V1,V2` for each of these settings.
    """
    names = [_field_name(word.partition("=")[0]) for word in words]
    return "_".join(["grid", *map(option_name, names)])[:_LONGEST_NAME]


def _field_name(text: str) -> str:
    """Return the name of a field of `Config` from text such as `--learning-rate`."""
    return text.removeprefix("--").replace("-", "_")


def _parse_axis(word: str) -> tuple[str, list[Any]]:
    """Return the name and the values of a setting, given as `NAME=V1,V2`."""
    name, equals, text = word.partition("=")
    name, texts = _field_name(name), text.split(",")
    if not equals or not all(texts):
        raise UsageError(f"--grid {word:.80}: must be NAME=VALUE,VALUE such as learning_rate=0.1,1")
    fields = {field.name: field for field in dataclasses.fields(Config)}
    settings = [field for field in fields if "help" in fields[field].metadata]
    if name in OPTIONS_OF_COMMANDS:
        raise UsageError(f"--grid {word:.80}: {OPTIONS_OF_COMMANDS[name]}")
    if name not in settings:
        meant = did_you_mean(name, settings) or "see docs/settings.md"
        raise UsageError(f"--grid {word:.80}: there is no setting {name:.80}; {meant.strip()}")
    if name in _NOT_IN_A_GRID:
        raise UsageError(f"--grid {word:.80}: {_NOT_IN_A_GRID[name]}")
    values = [_parse_value(word, text, _type_of_values(fields[name])) for text in texts]
    for position, value in enumerate(values):
        if value in values[:position]:
            raise UsageError(f"--grid {word:.80}: {texts[position]:.40} is given twice")
    return name, values


def _type_of_values(field: dataclasses.Field) -> Any:
    """Return the type, or the function, that converts text to a value of a setting.

    `field` is the setting's field in `Config`.
    """
    if "type" in field.metadata:
        return field.metadata["type"]
    types = get_args(field.type) or (field.type,)
    return types[0]


def _parse_value(word: str, text: str, kind: Any) -> Any:
    """Return the value that a text stands for.

    Args:
      word: the whole text `NAME=V1,V2` that the user gave, for the error message.
      text: the text of one value.
      kind: the type of the value, or a function that converts the text.
    """
    try:
        if kind is bool:
            return _BOOLEANS[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        message = f"--grid {word:.80}: {text:.40} must be {_KINDS[kind]}"
        raise UsageError(message) from None


def _row_name(changes: Mapping[str, Any]) -> str:
    """Return a readable name for a study's row, such as `learning-rate0.1_no-augment`.

    `changes` has the row's value of each setting that varies.
    """
    parts = []
    for name, value in changes.items():
        if isinstance(value, bool):
            parts.append(option_name(name) if value else f"no-{option_name(name)}")
        elif name == "class_weights":
            parts.append(option_name(name) + short_class_weights_text(value))
        else:
            parts.append(option_name(name) + str(value).rpartition(":")[2])
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", "_".join(parts))[:_LONGEST_NAME]


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of rows without repetition: a second "a" becomes "a_2"."""
    unique: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in unique:
            number += 1
            candidate = f"{name[: _LONGEST_NAME - 5]}_{number}"
        unique.append(candidate)
    return unique
