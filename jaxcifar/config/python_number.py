"""Convert the numbers that a user's program gives, such as those of NumPy."""

import numbers
from typing import Any


def python_number(value: Any) -> Any:
    """Return a number as Python's int or float, such as a number of NumPy; other values unchanged.

    Programs often have such numbers, for example the learning rates of `np.logspace`.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value
