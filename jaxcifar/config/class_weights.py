"""The setting `class_weights`: "none", "balanced", or a weight by class name, as JSON text."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcifar.config.option_names import reject
from jaxcifar.errors import UsageError
from jaxcifar.machine.paths import expand_home

NO_WEIGHTS, BALANCED = "none", "balanced"
_FIELD = "class_weights"
_LARGEST = 1e6  # and the smallest is 1e-6: float32 sums of losses stay exact enough
_MAX_CLASSES = 2**16
_MAX_NAME = 200
_MAX_BYTES = 2**20
_HEADER = ("class", "weight")
_FORM = "write a weight above 0 for each class, such as cat = 2.5 in a .toml file"


def class_weights_text(value: Any) -> str:
    """Return class weights as the text that a `Config` holds: "none", "balanced", or JSON text.

    Args:
      value: "none", "balanced", the path of a file of weights, weights as JSON text, or a dict
        class name -> weight.

    Raises:
      UsageError: the file can't be read, or a weight is not a number in [1e-6, 1e6].
    """
    if isinstance(value, Mapping):
        return _json_text(dict(value), "the table")
    if not isinstance(value, str):
        rule = "must be none, balanced, a file, or a table such as {'cat': 2.5}"
        reject(_FIELD, f"{value!r:.80}", rule)
    if value in (NO_WEIGHTS, BALANCED):
        return value
    if value.startswith("{"):
        return _json_text(parse_class_weights(value), "the table")
    return _json_text(_read_weights(expand_home(value)), value)


def short_text(setting: str) -> str:
    """Return a short text that stands for the class weights of a config in names of folders.

    The texts "none" and "balanced" are returned unchanged. For weights as JSON text, the first 8
    hexadecimal digits of the text's SHA-256 are returned.
    """
    if setting in (NO_WEIGHTS, BALANCED):
        return setting
    return hashlib.sha256(setting.encode()).hexdigest()[:8]


def are_class_weights(setting: str) -> bool:
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
        if len(text) > _MAX_BYTES:
            raise ValueError(f"has more than {_MAX_BYTES:,} characters")
        return _checked(parse_json(text))
    except ValueError as error:
        reject(_FIELD, f"{text:.80}", f"{error}; give balanced, or a file of weights")


def _json_text(weights: dict[str, Any], source: str) -> str:
    """Return class weights as JSON text, sorted by class name.

    Args:
      weights: class name -> weight, not checked yet.
      source: where the weights come from, for the error message.

    Raises:
      UsageError: a name or a weight is not allowed.
    """
    try:
        checked = _checked(weights)
    except ValueError as error:
        reject(_FIELD, f"{source:.200}", f"{error}; {_FORM}")
    return json.dumps(dict(sorted(checked.items())), ensure_ascii=False)


def _checked(weights: Any) -> dict[str, float]:
    """Check class weights (class name -> weight), and return them with each weight as a float.

    Raises:
      ValueError: a name or a weight is not allowed.
    """
    if not isinstance(weights, dict) or not weights:
        raise ValueError("has no weights by class name")
    if len(weights) > _MAX_CLASSES:
        raise ValueError(f"has more than {_MAX_CLASSES:,} classes")
    checked = {}
    for name, weight in weights.items():
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
            raise ValueError(f"the name {name!r:.60} of a class is too long, or can't be printed")
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 1 / _LARGEST <= weight <= _LARGEST:
            raise ValueError(f"the weight {weight!r:.40} of {name:.60} is no number in [1e-6, 1e6]")
        checked[name] = float(weight)
    return checked


def _read_weights(path: Path) -> dict[str, Any]:
    """Return class name -> weight from a TOML, JSON or CSV file; the weights are checked later.

    Raises:
      UsageError: the file can't be read.
    """
    from jaxcifar.machine.reading import Remedy, read_json, read_text, read_toml, report_errors

    suffix = path.suffix.lower()
    if suffix not in (".toml", ".json", ".csv"):
        reject(_FIELD, path, "give balanced, or a file of weights (.toml, .json or .csv)")
    remedy = Remedy(_FORM, UsageError)
    if suffix == ".toml":
        return read_toml(path, dict[str, Any], remedy)
    if suffix == ".json":
        return read_json(path, dict[str, Any], remedy, _MAX_BYTES, follow_links=True)
    text = read_text(path, remedy, _MAX_BYTES, follow_links=True)
    with report_errors(path, remedy):
        return _parse_csv(text.removeprefix("\ufeff"))


def _parse_csv(text: str) -> dict[str, Any]:
    """Return class name -> weight from lines `NAME,WEIGHT`; skip a header line `class,weight`.

    Raises:
      ValueError: a line has another form, or a class has two weights.
    """
    weights: dict[str, Any] = {}
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise ValueError(f"is not valid CSV ({error})") from None
    for number, row in enumerate(rows, start=1):
        cells = tuple(cell.strip() for cell in row)
        is_header = number == 1 and tuple(cell.lower() for cell in cells) == _HEADER
        if not any(cells) or is_header:
            continue
        if len(cells) != 2:
            raise ValueError(f"line {number} has {len(cells)} cells; write NAME,WEIGHT")
        name, weight = cells
        if name in weights:
            raise ValueError(f"line {number} gives {name:.60} a second weight")
        try:
            weights[name] = float(weight)
        except ValueError:
            raise ValueError(f"line {number}: {weight:.40} is not a number") from None
    return weights
