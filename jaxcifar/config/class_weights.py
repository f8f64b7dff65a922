"""The setting `class_weights`: "none", "balanced", or a weight by class name, as JSON text."""

import csv
import hashlib
import io
import json
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcifar.config.option_names import reject
from jaxcifar.errors import UsageError
from jaxcifar.machine.paths import expand_home

NO_WEIGHTS, BALANCED = "none", "balanced"
_SETTING = "class_weights"
_SMALLEST_WEIGHT, _LARGEST_WEIGHT = 1e-6, 1e6  # so float32 sums of losses stay exact enough
_MAX_CLASSES = 2**16
_MAX_NAME_LENGTH = 200
_MAX_FILE_BYTES = 2**20
_MAX_JSON_LENGTH = 2**20  # characters
_CSV_HEADER = ["class", "weight"]
_WEIGHTS_ADVICE = "write a weight above 0 for each class, such as cat = 2.5 in a .toml file"


def class_weights_text(value: Any) -> str:
    """Return class weights as the text that a `Config` holds: "none", "balanced", or JSON text.

    Args:
      value: "none", "balanced", the path of a file of weights, weights as JSON text, or a dict
        class name -> weight.

    Raises:
      UsageError: the file can't be read, or a weight is not a number in [1e-6, 1e6].
    """
    if isinstance(value, Mapping):
        return _weights_as_json(dict(value), "the table")
    if not isinstance(value, str):
        rule = "must be none, balanced, a file, or a table such as {'cat': 2.5}"
        reject(_SETTING, f"{value!r:.80}", rule)
    if value in (NO_WEIGHTS, BALANCED):
        return value
    if value.startswith("{"):
        return _weights_as_json(parse_class_weights(value), "the table")
    return _weights_as_json(_read_weights_file(expand_home(value)), value)


def short_class_weights_text(setting: str) -> str:
    """Return a short text that stands for the class weights of a config in names of folders.

    The texts "none" and "balanced" are returned unchanged. For weights as JSON text, the first 8
    hexadecimal digits of the text's SHA-256 are returned.
    """
    if setting in (NO_WEIGHTS, BALANCED):
        return setting
    return hashlib.sha256(setting.encode()).hexdigest()[:8]


def is_class_weights_text(setting: str) -> bool:
    """Return True if a config may hold this text: "none", "balanced", or weights as JSON text."""
    if setting in (NO_WEIGHTS, BALANCED):
        return True
    try:
        parse_class_weights(setting)
    except UsageError:
        return False
    return True


def parse_class_weights(text: str) -> dict[str, float]:
    """Return class name -> weight from the JSON text of a config.

    Raises:
      UsageError: the text is not of the form that `class_weights_text` returns.
    """
    from jaxcifar.machine.reading import parse_json

    try:
        if len(text) > _MAX_JSON_LENGTH:
            raise ValueError(f"the text must have at most {_MAX_JSON_LENGTH:,} characters")
        return _checked_weights(parse_json(text))
    except ValueError as error:
        reject(_SETTING, f"{text:.80}", f"{error}; give balanced, or a file of weights")


def _weights_as_json(weights: dict[str, Any], source: str) -> str:
    """Return class weights as JSON text, sorted by class name.

    Args:
      weights: class name -> weight, not checked yet.
      source: where the weights come from, for the error message.

    Raises:
      UsageError: a name or a weight is not allowed.
    """
    try:
        weight_of_class = _checked_weights(weights)
    except ValueError as error:
        reject(_SETTING, f"{source:.200}", f"{error}; {_WEIGHTS_ADVICE}")
    return json.dumps(dict(sorted(weight_of_class.items())), ensure_ascii=False)


def _checked_weights(weights: Any) -> dict[str, float]:
    """Return class weights (class name -> weight) with each weight as a float.

    Raises:
      ValueError: a name or a weight is not allowed.
    """
    if not isinstance(weights, dict) or not weights:
        raise ValueError("there are no weights by class name")
    if len(weights) > _MAX_CLASSES:
        raise ValueError(
            f"there are {len(weights):,} weights, and at most {_MAX_CLASSES:,} are allowed"
        )
    weight_of_class = {}
    for class_name, weight in weights.items():
        is_printable = isinstance(class_name, str) and class_name.isprintable()
        is_allowed_name = is_printable and 1 <= len(class_name) <= _MAX_NAME_LENGTH
        if not is_allowed_name:
            raise ValueError(
                f"the class name {class_name!r:.60} can't be printed, or is too long: it must have "
                f"1 to {_MAX_NAME_LENGTH} characters"
            )
        is_number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        is_in_range = is_number and _SMALLEST_WEIGHT <= weight <= _LARGEST_WEIGHT
        if not is_in_range:
            raise ValueError(
                f"the weight {weight!r:.40} of {class_name:.60} must be a number in [1e-6, 1e6]"
            )
        weight_of_class[class_name] = float(weight)
    return weight_of_class


def _read_weights_file(path: Path) -> dict[str, Any]:
    """Return class name -> weight from a TOML, JSON or CSV file. The weights are not checked here.

    Raises:
      UsageError: the file can't be read.
    """
    from jaxcifar.machine.reading import Remedy, read_json, read_text, read_toml, report_errors

    suffix = path.suffix.lower()
    if suffix not in (".toml", ".json", ".csv"):
        reject(_SETTING, path, "give balanced, or a file of weights (.toml, .json or .csv)")
    remedy = Remedy(_WEIGHTS_ADVICE, UsageError)
    if suffix == ".toml":
        return read_toml(path, dict[str, Any], remedy)
    if suffix == ".json":
        return read_json(path, dict[str, Any], remedy, _MAX_FILE_BYTES, follow_links=True)
    text = read_text(path, remedy, _MAX_FILE_BYTES, follow_links=True)
    with report_errors(path, remedy):
        return _parse_csv_weights(text.removeprefix("\ufeff"))


def _parse_csv_weights(text: str) -> dict[str, Any]:
    """Return class name -> weight from lines `NAME,WEIGHT`; skip a header line `class,weight`.

    Raises:
      ValueError: a line has another form, or a class has two weights.
    """
    weight_of_class: dict[str, Any] = {}
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise ValueError(f"the file is not valid CSV ({error})") from None
    for line_number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        lower_case_cells = [cell.lower() for cell in cells]
        is_header = line_number == 1 and lower_case_cells == _CSV_HEADER
        is_empty = not any(cells)
        if is_empty or is_header:
            continue
        if len(cells) != 2:
            raise ValueError(f"line {line_number} has {len(cells)} cells; write NAME,WEIGHT")
        class_name, weight_text = cells
        if class_name in weight_of_class:
            raise ValueError(
                f"line {line_number} gives {class_name:.60} a second weight (delete one of them)"
            )
        try:
            weight_of_class[class_name] = float(weight_text)
        except ValueError:
            raise ValueError(
                f"line {line_number}: the weight {weight_text:.40} must be a number"
            ) from None
    return weight_of_class
