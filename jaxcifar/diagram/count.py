"""Multiply-accumulates of one equation of a traced program."""

import math
from typing import Any

from jax.extend.core import JaxprEqn


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array that enters or leaves an equation; JAX declares none."""
    return value.aval.shape


def multiply_accumulates(equation: JaxprEqn) -> int:
    """Those of a matrix product or convolution by its definition, else 0.

    A convolution takes a kernel's worth of them for each of its outputs; zeros that its padding
    or a transposed convolution's stride puts between the inputs are multiplied like others, as
    thop counts them.
    """
    output = math.prod(shape_of(equation.outvars[0])) if equation.outvars else 0
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = shape_of(equation.invars[0])
        return output * math.prod(shape[axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        kernel = shape_of(equation.invars[1])
        features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return output * (math.prod(kernel) // features)
    return 0
