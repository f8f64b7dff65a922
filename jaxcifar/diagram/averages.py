"""Recognise averages: sums that are divided by the number of their terms."""

import math
from collections.abc import Sequence

from jaxcifar.diagram.functions import scale_factor
from jaxcifar.diagram.operation import Operation


def scales_by_constant(operation: Operation, depends_on_image: Sequence[bool]) -> bool:
    """Return whether an operation multiplies activations by a constant, or divides them by one.

    `depends_on_image` has, for each operand, whether it depends on the network's input image.
    """
    if operation.name not in ("mul", "div") or all(depends_on_image):
        return False
    divides_constant_by_activations = operation.name == "div" and not depends_on_image[0]
    return not divides_constant_by_activations


def is_average(
    sum_operation: Operation,
    scaling: Operation,
    depends_on_image: Sequence[bool],
    operation_on_ones: Operation | None,
) -> bool:
    """Return whether a sum and its multiplication or division by a constant compute an average.

    Args:
      sum_operation: the operation that may be a sum.
      scaling: the multiplication or division of the result of `sum_operation`.
      depends_on_image: for each operand of `scaling`, whether it depends on the input image.
      operation_on_ones: the operation that computes the constant from an array of ones. None if
        the constant is a number in the program.
    """
    term_count = _count_terms_of_sum(sum_operation)
    if term_count is None:
        return False
    if operation_on_ones is not None:
        # An average pool divides by an array that counts the pixels inside of the image.
        is_same_operation = operation_on_ones.name == sum_operation.name
        has_same_params = operation_on_ones.equation.params == sum_operation.equation.params
        counts_terms_of_sum = is_same_operation and has_same_params
        return counts_terms_of_sum and scaling.name == "div"
    factor = scale_factor(scaling, depends_on_image)
    return factor is not None and math.isclose(factor * term_count, 1, rel_tol=1e-5)


def _count_terms_of_sum(operation: Operation) -> int | None:
    """Return how many numbers a sum adds for each element of its result.

    Return None if the operation is not a sum.
    """
    params = operation.equation.params
    if operation.name == "reduce_sum":
        shape = operation.traced_input_shape
        return math.prod(shape[axis] for axis in params["axes"])
    if operation.name == "reduce_window_sum":
        return math.prod(params["window_dimensions"])
    return None
