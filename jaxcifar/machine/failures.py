"""One line for what JAX, NumPy or Python raises because of this machine, or of how JAX is set.

It imports no JAX, which may fail at its own settings while it is imported.
"""

import re

from jaxcifar.errors import OneLine, RunError, UsageError, first_line
from jaxcifar.machine.terminal import gigabytes

# How allocators say that memory is short: XLA's, CUDA's, TPUs'.
_SHORTAGES = re.compile(r"RESOURCE_EXHAUSTED|OUT_OF_MEMORY|out of memory", re.IGNORECASE)
_AMOUNT = re.compile(r"\b(\d[\d.]*) ?(bytes|[KMGT](?:i?B)?)\b")
_UNITS = {"b": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DEBUGGED = re.compile(r"invalid value \((nan|inf)\)|^\('jit\(.*', '(nan|inf)'\)$")
_NO_SUCH_VALUE = re.compile(r"JAX flag jax_\w+|environment '?JAX_\w+")


def memory_shortage(error: BaseException) -> str | None:
    """Return what an error says of missing memory, such as "4.1 GB could not be had".

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
        return f"{gigabytes(float(amount[1]) * _UNITS[amount[2][0]])} could not be had"
    return "there is not enough"


def one_line(error: BaseException) -> OneLine | None:
    """Return the exception of this package's own that says the same in one line.

    Args:
      error: any exception.

    Returns:
      None if the exception has nothing to do with the machine or JAX's settings.
    """
    if shortage := memory_shortage(error):
        remedy = "close other programs, or use a machine with more memory"
        return RunError(f"out of memory, {shortage}; {remedy}")
    if number := _debugged(error):
        setting = {"nan": "JAX_DEBUG_NANS", "inf": "JAX_DEBUG_INFS"}[number]
        return RunError(f"{setting} is set, and a result has the value {number}; unset it to go on")
    if isinstance(error, ValueError) and _NO_SUCH_VALUE.search(str(error)):
        return UsageError(f"{first_line(error)}: a setting of JAX's; unset it, or mend its value")
    return None


def _debugged(error: BaseException) -> str | None:
    """Return "nan" or "inf" where JAX was told to stop at such a number, and did."""
    # Of a program that was compiled ahead, JAX tells by an exception that has no public name.
    kinds = ("FloatingPointError", "InternalFloatingPointError")
    if type(error).__name__ not in kinds or not (found := _DEBUGGED.search(str(error))):
        return None
    return found[1] or found[2]
