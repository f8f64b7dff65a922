"""One-line errors for failures caused by this machine or by JAX's settings.

This module does not import JAX, because an invalid setting can make that import fail.
"""

import contextlib
import re
from collections.abc import Iterator

from jaxcifar.errors import OneLineError, RunError, UsageError, first_line
from jaxcifar.machine.terminal import format_bytes

# Texts in the errors of XLA, CUDA and TPUs when memory is short.
_SHORTAGE_PATTERN = re.compile(r"RESOURCE_EXHAUSTED|OUT_OF_MEMORY|out of memory", re.IGNORECASE)
_AMOUNT_PATTERN = re.compile(r"\b(\d[\d.]*) ?(bytes|[KMGT](?:i?B)?)\b")
_BYTES_IN_UNIT = {"b": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NON_FINITE_PATTERN = re.compile(r"invalid value \((nan|inf)\)|^\('jit\(.*', '(nan|inf)'\)$")
# A program that was compiled ahead of time raises the second one, which has no public name.
_NON_FINITE_ERROR_TYPES = ("FloatingPointError", "InternalFloatingPointError")
_TOO_MANY_FILES_TEXT = "Too many open files"  # in messages of the C library
_NO_THREAD_TEXT = "can't start new thread"  # in CPython's message
_INVALID_SETTING_PATTERN = re.compile(r"JAX flag jax_\w+|environment '?JAX_\w+")


def describe_memory_shortage(error: BaseException) -> str | None:
    """Return a phrase about the missing memory if an exception was raised for lack of memory.

    Args:
      error: any exception.

    Returns:
      text such as "4.1 GB could not be allocated"; None if the exception has another cause.
    """
    text = str(error)
    is_raised_by_xla = isinstance(error, RuntimeError) and _SHORTAGE_PATTERN.search(text)
    if not is_raised_by_xla and not isinstance(error, MemoryError):
        return None
    amount = _AMOUNT_PATTERN.search(text)
    if amount is None:
        return "there is not enough"
    number, unit = amount.groups()
    byte_count = float(number) * _BYTES_IN_UNIT[unit[0]]
    return f"{format_bytes(byte_count)} could not be allocated"


def as_one_line_error(error: BaseException) -> OneLineError | None:
    """Return this package's one-line error for a known failure, such as too little memory.

    Args:
      error: any exception.

    Returns:
      the one-line error, or None if the exception is not caused by the machine or a JAX setting.
    """
    shortage = describe_memory_shortage(error)
    if shortage:
        remedy = "close other programs, or use a machine with more memory"
        return RunError(f"out of memory, {shortage}; {remedy}")
    if isinstance(error, RuntimeError) and _NO_THREAD_TEXT in str(error):
        limits = "the limits on memory and processes (ulimit -v, ulimit -u)"
        return RunError(f"the system starts no more threads for this command; raise {limits}")
    if _TOO_MANY_FILES_TEXT in str(error):
        return RunError(
            "the system opens no more files for this command; raise the limit (ulimit -n)"
        )
    non_finite_value = _non_finite_value(error)
    if non_finite_value:
        setting = {"nan": "JAX_DEBUG_NANS", "inf": "JAX_DEBUG_INFS"}[non_finite_value]
        return RunError(
            f"{setting} is set, and a result has the value {non_finite_value}; unset {setting} to "
            "go on"
        )
    if isinstance(error, ValueError) and _INVALID_SETTING_PATTERN.search(str(error)):
        return UsageError(
            f"{first_line(error)}: this JAX setting is invalid; unset it or correct its value"
        )
    return None


@contextlib.contextmanager
def report_machine_failures() -> Iterator[None]:
    """Turn a failure that the machine or a JAX setting causes into this package's one-line error.

    Raises:
      OneLineError: see `as_one_line_error`. Other exceptions do not change.
    """
    try:
        yield
    except OneLineError:
        raise
    except Exception as error:
        known_error = as_one_line_error(error)
        if known_error is None:
            raise
        raise known_error from error


def _non_finite_value(error: BaseException) -> str | None:
    """Return "nan" or "inf" if JAX raised `error` because a result has this value; else None."""
    if type(error).__name__ not in _NON_FINITE_ERROR_TYPES:
        return None
    match = _NON_FINITE_PATTERN.search(str(error))
    if match is None:
        return None
    return match[1] or match[2]
