"""Names of settings on the command line, and the error for a value that is not allowed."""

from typing import Any, NoReturn

from jaxcifar.errors import UsageError


def flag(name: str) -> str:
    """Return a field's name as it stands in an option, such as learning-rate."""
    return name.replace("_", "-")


def reject(name: str, value: Any, rule: str) -> NoReturn:
    """Refuse the value of a setting.

    Raises:
      UsageError: always; the message has the option, its value and the rule that it breaks.
    """
    raise UsageError(f"--{flag(name)} {value}: {rule}")
