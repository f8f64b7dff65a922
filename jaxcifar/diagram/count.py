"""The number of multiply-accumulates of one equation of a traced program."""

import math
from typing import Any

from jax.extend.core import JaxprEqn


def shape_of(variable: Any) -> tuple[int, ...]:
    """Return the shape of an equation's input or output; JAX gives these variables no type."""
    return variable.aval.shape


def multiply_accumulates(equation: JaxprEqn) -> int:
    """Return the number of multiply-accumulates of a matrix product or convolution, else 0.

    A convolution needs as many for each output as one of its kernels has weights. Like thop, this
    also counts multiplications by the zeros of the padding, and by the zeros that the stride of a
    transposed convolution puts between the inputs.
    """
    output = math.prod(shape_of(equation.outvars[0])) if equation.outvars else 0
    if equation.primitive.name == "dot_general":
        (contracted_axes, _), _ = equation.params["dimension_numbers"]
        shape = shape_of(equation.invars[0])
        return output * math.prod(shape[axis] for axis in contracted_axes)
    if equation.primitive.name == "conv_general_dilated":
        kernel = shape_of(equation.invars[1])
        features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return output * (math.prod(kernel) // features)
    return 0
