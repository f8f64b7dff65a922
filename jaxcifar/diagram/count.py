"""Multiply-accumulates of one equation of a traced program."""

import math

from jax.extend.core import JaxprEqn


def multiply_accumulates(equation: JaxprEqn) -> int:
    """Those of a matrix product or convolution by its definition, else 0.

    A convolution takes a kernel's worth of them for each of its outputs; zeros that its padding
    or a transposed convolution's stride puts between the inputs are multiplied like others, as
    thop counts them.
    """
    output = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return output * math.prod(shape[axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return output * (math.prod(kernel) // features)
    return 0
