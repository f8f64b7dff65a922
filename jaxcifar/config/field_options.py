"""How a field of an experiment is declared: its text for the help, and its allowed values."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxcifar.config import folds
from jaxcifar.config.class_weights import is_class_weights_text
from jaxcifar.config.image_settings import PixelRange
from jaxcifar.config.option_names import reject
from jaxcifar.config.registry import did_you_mean
from jaxcifar.image_size import LARGEST_IMAGE_SIZE, SMALLEST_IMAGE_SIZE

_MAX_INT = 2**31  # devices count steps and images in int32


class Rule(NamedTuple):
    """A check of a value, and the error message if the check fails."""

    allows: Callable[[Any], bool]
    message: str


POSITIVE = Rule(lambda value: value > 0, "must be above 0")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "must not be negative")
BELOW_ONE = Rule(lambda value: 0 <= value < 1, "must be in [0, 1)")
SEED = Rule(lambda value: 0 <= value < 2**32, "must be in [0, 2**32)")
FOLD = Rule(folds.is_fold_or_empty, folds.FOLD_RULE)
SIDE_LENGTH = Rule(
    lambda value: SMALLEST_IMAGE_SIZE <= value <= LARGEST_IMAGE_SIZE,
    f"must be in [{SMALLEST_IMAGE_SIZE}, {LARGEST_IMAGE_SIZE}]",
)
FRACTION = Rule(lambda value: 0 <= value <= 1, "must be in [0, 1]")
BETA = Rule(lambda value: value == 0 or 0.01 <= value <= 100, "must be 0, or in [0.01, 100]")
CLASS_WEIGHTS = Rule(is_class_weights_text, "must be none, balanced, or weights by class name")
COUNT = Rule(lambda value: 1 <= value < _MAX_INT, "must be at least 1, below 2**31")


def option(help: str, rule: Rule | PixelRange | None = None, **metadata: Any) -> Any:
    """Return a dataclass field that is also a command-line option.

    Args:
      help: text for the option's help.
      rule: the values that are allowed. By default, a whole number must be at least 1.
      metadata: `choices` and `type`, as argparse takes them. `default` is the value if neither the
        user nor the recipe sets the field. `array=VALUE` marks a field that enters the compiled
        program as an array. Configs that differ only in such fields share the program, because
        `Config.shared_part` replaces the field's value by VALUE. If VALUE is a function, it is
        called with the field's value and returns the replacement. `is_newer=True` marks a field
        that version 0.1 did not have. A `config.json` leaves out such a field at its default, so
        that it equals the file that version 0.1 wrote.
    """
    return dataclasses.field(metadata={"help": help, "rule": rule, **metadata})


def on_or_off(value: float) -> float:
    """Return 0 for the value 0, with which a setting is off, and 0.5 for all other values.

    The result replaces the value in `Config.shared_part`. So all runs in which the setting is on
    share a compiled program.
    """
    return 0.5 if value else 0.0  # 1 is not allowed for all settings


def derived(**metadata: Any) -> Any:
    """Return a dataclass field that has no option, because it is computed from other fields."""
    return dataclasses.field(default=None, metadata=metadata)


def has_option(field: "dataclasses.Field[Any]") -> bool:
    """Return True if a field has a command-line option, False if it is computed from others."""
    return "help" in field.metadata


def is_array(field: "dataclasses.Field[Any]") -> bool:
    """Return True if the compiled program gets the field's value as an array (see `option`)."""
    return "array" in field.metadata


def shared_value(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """Return the value that replaces a run's `value` of a field in `Config.shared_part`.

    A field has such a value if the compiled program gets it as an array (see `is_array`). Runs that
    share a program may differ in this field.
    """
    replacement = field.metadata["array"]
    return replacement(value) if callable(replacement) else replacement


def require_in_range(settings: Any) -> None:
    """Check that the value of each field is in its allowed range, given the other values.

    Args:
      settings: all settings, an object of the class `Fields`.

    Raises:
      UsageError: a value is not allowed; the message names the option.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        problem = _problem_with_value(field, value, settings.image_size)
        if problem is not None:
            reject(field.name, value, problem)
    if settings.batch_size % settings.accumulate:
        reject("accumulate", settings.accumulate, f"must divide --batch-size {settings.batch_size}")


def _problem_with_value(field: "dataclasses.Field[Any]", value: Any, image_size: int) -> str | None:
    """Return the end of an error message if a field must not have this value, else None."""
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        suggestion = did_you_mean(str(value), choices)
        return f"is not one of the choices; {suggestion}choose one of {', '.join(choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    rule = field.metadata.get("rule")
    if rule is None and type(value) is int:
        rule = COUNT
    if rule is None:
        return None
    if isinstance(rule, PixelRange):
        return None if rule.allows(value, image_size) else rule.rule_text(image_size)
    return None if rule.allows(value) else rule.message
