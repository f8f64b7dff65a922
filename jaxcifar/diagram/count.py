"""The number of multiply-accumulates of one equation of a traced program."""

import math
from typing import Any

from jax.extend.core import JaxprEqn


def shape_of(variable: Any) -> tuple[int, ...]:
    """Return the shape of a variable that a traced equation reads or computes."""
    return variable.aval.shape


def multiply_accumulates(equation: JaxprEqn) -> int:
    """Return an equation's multiply-accumulates; 0 if it is no matrix product or convolution.

    Each output of a convolution needs one multiply-accumulate per weight of a kernel. As in thop,
    multiplications by zeros count too: by the padding, and by the zeros that a transposed
    convolution puts between its inputs.
    """
    output_size = math.prod(shape_of(equation.outvars[0])) if equation.outvars else 0
    if equation.primitive.name == "dot_general":
        (contracted_axes, _), _ = equation.params["dimension_numbers"]
        first_shape = shape_of(equation.invars[0])
        return output_size * math.prod(first_shape[axis] for axis in contracted_axes)
    if equation.primitive.name == "conv_general_dilated":
        kernel_shape = shape_of(equation.invars[1])
        feature_axis = equation.params["dimension_numbers"].rhs_spec[0]
        weights_per_feature = math.prod(kernel_shape) // kernel_shape[feature_axis]
        return output_size * weights_per_feature
    return 0
