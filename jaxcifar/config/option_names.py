"""Names of settings on the command line, and the error for a value that is not allowed."""

from typing import Any, NoReturn

from jaxcifar.errors import UsageError

# Fields with another name than their option, because `continue` is a keyword of Python.
_OPTION_NAMES = {"continue_from": "continue"}


def option_name(field: str) -> str:
    """Return the spelling of a field in its option, such as `learning-rate` for `learning_rate`."""
    return _OPTION_NAMES.get(field, field).replace("_", "-")


def reject(field: str, value: Any, rule: str) -> NoReturn:
    """Raise a `UsageError` with the option, its value and the rule that the value breaks."""
    raise UsageError(f"--{option_name(field)} {value}: {rule}")
