"""Recognise known functions, such as a softmax, in groups of operations."""

from collections.abc import Collection
from typing import NamedTuple

from jaxcifar.diagram.functions import ARITHMETIC

# Operations that may be part of a known function.
GROUPABLE_OPERATIONS = ARITHMETIC | {
    "abs", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "log", "log1p",
    "logistic", "max", "min", "pow", "rsqrt", "select_n", "sign", "sqrt", "square", "tanh",
    "gt", "ge", "lt", "le", "eq", "cos", "sin", "clamp", "reduce_max", "reduce_sum",
}  # fmt: skip
# Subtracting the maximum keeps the exponentials of a softmax small and leaves its result the same.
_SHIFT_BY_MAXIMUM = {"reduce_max", "sub"}
_CUBE_OPERATIONS = {"add", "integer_pow", "mul", "pow"}
_MOMENT_OPERATIONS = {
    "abs", "add", "div", "integer_pow", "max", "mul", "select_n", "square", "sub",
}  # fmt: skip


class _FunctionPattern(NamedTuple):
    """A known function, and the operations by which the function is recognised in a group.

    Attributes:
      function_name: the function's name; "" if a network computes the same without the function.
      required_operations: names of operations that the group must have.
      optional_operations: names of other operations that the group may have.
      least_factor, most_factor: limits for the absolute values of constant factors. With a factor
        outside of these limits, the group computes another function.
    """

    function_name: str
    required_operations: set[str]
    optional_operations: set[str]
    least_factor: float = 1
    most_factor: float = 1

    def matches(self, operations: Collection[str], factors: Collection[float]) -> bool:
        """Return whether operations, which multiply by some factors, compute this function."""
        present_operations = set(operations)
        allowed_operations = self.required_operations | self.optional_operations
        has_all_required = present_operations >= self.required_operations
        has_only_allowed = present_operations <= allowed_operations
        factors_fit = all(
            self.least_factor <= abs(factor) <= self.most_factor for factor in factors
        )
        return has_all_required and has_only_allowed and factors_fit


_FUNCTION_PATTERNS = (
    _FunctionPattern("", _SHIFT_BY_MAXIMUM, set()),
    _FunctionPattern("log-softmax", {"exp", "reduce_sum", "log", "sub"}, _SHIFT_BY_MAXIMUM),
    _FunctionPattern("softmax", {"exp", "reduce_sum", "div"}, _SHIFT_BY_MAXIMUM),
    _FunctionPattern("SiLU", {"logistic", "mul"}, set()),
    # The constants of a GELU and its approximations lie between 0.03 and 2.
    _FunctionPattern("GELU", {"erf", "mul"}, {"add", "div"}, 0.03, 2),
    _FunctionPattern("GELU", {"erfc", "mul"}, {"div", "neg"}, 0.03, 2),
    _FunctionPattern("GELU", {"tanh", "mul", "add"}, _CUBE_OPERATIONS, 0.03, 2),
    _FunctionPattern("normalise", {"reduce_sum", "rsqrt"}, _MOMENT_OPERATIONS),
    _FunctionPattern("normalise", {"reduce_sum", "sqrt"}, _MOMENT_OPERATIONS),
)


def known_function_name(operations: Collection[str], factors: Collection[float]) -> str | None:
    """Return the name of the known function that a group of operations computes from an array.

    Args:
      operations: names of the operations.
      factors: constants by which the operations multiply.

    Returns:
      The function's name; "" for a function that the drawing can omit, because the network's output
      is the same without it; None if the function is not known.
    """
    for pattern in _FUNCTION_PATTERNS:
        if pattern.matches(operations, factors):
            return pattern.function_name
    return None
