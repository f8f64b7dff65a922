"""Recognise known functions, such as a softmax, in groups of operations."""

from collections.abc import Collection
from typing import NamedTuple

from jaxcifar.diagram.functions import ARITHMETIC

# Operations that may be part of a known function.
GROUPABLE = ARITHMETIC | {
    "abs", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "log", "log1p",
    "logistic", "max", "min", "pow", "rsqrt", "select_n", "sign", "sqrt", "square", "tanh",
    "gt", "ge", "lt", "le", "eq", "cos", "sin", "clamp", "reduce_max", "reduce_sum",
}  # fmt: skip
# Subtracting the maximum keeps the exponentials of a softmax small and leaves its result the same.
_SHIFT = {"reduce_max", "sub"}
_CUBE = {"add", "integer_pow", "mul", "pow"}
_MOMENTS = {
    "abs", "add", "div", "integer_pow", "max", "mul", "select_n", "square", "sub",
}  # fmt: skip


class _Pattern(NamedTuple):
    """A known function, and the operations by which the function is recognised in a group.

    Attributes:
      name: the function's name; "" if a network computes the same without the function.
      required: names of operations that the group must have.
      optional: names of other operations that the group may have.
      least_factor, most_factor: limits for the absolute values of constant factors. With a factor
        outside of these limits, the group computes another function.
    """

    name: str
    required: set[str]
    optional: set[str]
    least_factor: float = 1
    most_factor: float = 1


_PATTERNS = (
    _Pattern("", _SHIFT, set()),
    _Pattern("log-softmax", {"exp", "reduce_sum", "log", "sub"}, _SHIFT),
    _Pattern("softmax", {"exp", "reduce_sum", "div"}, _SHIFT),
    _Pattern("SiLU", {"logistic", "mul"}, set()),
    # The constants of a GELU and its approximations lie between 0.03 and 2.
    _Pattern("GELU", {"erf", "mul"}, {"add", "div"}, 0.03, 2),
    _Pattern("GELU", {"erfc", "mul"}, {"div", "neg"}, 0.03, 2),
    _Pattern("GELU", {"tanh", "mul", "add"}, _CUBE, 0.03, 2),
    _Pattern("normalise", {"reduce_sum", "rsqrt"}, _MOMENTS),
    _Pattern("normalise", {"reduce_sum", "sqrt"}, _MOMENTS),
)


def group_name(operations: Collection[str], factors: Collection[float]) -> str | None:
    """Return the name of the known function that a group of operations computes from an array.

    Args:
      operations: names of the operations.
      factors: constants by which the operations multiply.

    Returns:
      The function's name; "" for a function that the drawing can omit, because the network's output
      is the same without it; None if the function is not known.
    """
    names = set(operations)
    for pattern in _PATTERNS:
        has_all_required = names >= pattern.required
        has_only_allowed = names <= pattern.required | pattern.optional
        if has_all_required and has_only_allowed:
            least, most = pattern.least_factor, pattern.most_factor
            factors_fit = all(least <= abs(factor) <= most for factor in factors)
            return pattern.name if factors_fit else None
    return None
