"""One-line errors for failures caused by this machine or by JAX's settings.

This module does not import JAX, because an invalid setting can make that import fail.
"""

import re

from jaxcifar.errors import OneLineError, RunError, UsageError, first_line
from jaxcifar.machine.terminal import format_bytes

# What the allocators of XLA, CUDA and TPUs say if memory is short.
_SHORTAGES = re.compile(r"RESOURCE_EXHAUSTED|OUT_OF_MEMORY|out of memory", re.IGNORECASE)
_AMOUNT = re.compile(r"\b(\d[\d.]*) ?(bytes|[KMGT](?:i?B)?)\b")
_UNITS = {"b": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NON_FINITE = re.compile(r"invalid value \((nan|inf)\)|^\('jit\(.*', '(nan|inf)'\)$")
_NO_THREAD = "can't start new thread"  # as CPython says it
_INVALID_SETTING = re.compile(r"JAX flag jax_\w+|environment '?JAX_\w+")


def memory_shortage(error: BaseException) -> str | None:
    """Return what an error says about missing memory, such as "4.1 GB could not be allocated".

    Args:
      error: any exception.

    Returns:
      None if the exception is about something else.
    """
    text = str(error)
    by_xla = isinstance(error, RuntimeError) and _SHORTAGES.search(text)
    if not by_xla and not isinstance(error, MemoryError):
        return None
    if amount := _AMOUNT.search(text):
        return f"{format_bytes(float(amount[1]) * _UNITS[amount[2][0]])} could not be allocated"
    return "there is not enough"


def as_one_line_error(error: BaseException) -> OneLineError | None:
    """Return this package's own exception with the same meaning and a message of one line.

    Args:
      error: any exception.

    Returns:
      None if the exception has nothing to do with the machine or JAX's settings.
    """
    if shortage := memory_shortage(error):
        remedy = "close other programs, or use a machine with more memory"
        return RunError(f"out of memory, {shortage}; {remedy}")
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        limits = "the limits on memory and processes (ulimit -v, ulimit -u)"
        return RunError(f"the system starts no more threads for this command; raise {limits}")
    if number := _non_finite_value(error):
        setting = {"nan": "JAX_DEBUG_NANS", "inf": "JAX_DEBUG_INFS"}[number]
        return RunError(f"{setting} is set, and a result has the value {number}; unset it to go on")
    if isinstance(error, ValueError) and _INVALID_SETTING.search(str(error)):
        return UsageError(
            f"{first_line(error)}: this JAX setting is invalid; unset it or correct its value"
        )
    return None


def _non_finite_value(error: BaseException) -> str | None:
    """Return "nan" or "inf" if JAX stopped at such a number, as it was set to do; else None."""
    # A program that was compiled ahead raises an exception without a public name.
    kinds = ("FloatingPointError", "InternalFloatingPointError")
    if type(error).__name__ not in kinds or not (found := _NON_FINITE.search(str(error))):
        return None
    return found[1] or found[2]
