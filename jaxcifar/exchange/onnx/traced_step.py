"""One operation of a network that is traced with two batch sizes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.count import shape_of
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
    exported_dtype,
    fixed_constant,
    paired_shape,
)

# Shapes, positions and programs, which the conversions read in both traces, and the value that
# `gather` gives outside of an array: no conversion reads it, and it is NaN, which equals nothing.
_PAIRED_PARAMETERS = (
    "fill_value",
    "jaxpr",
    "limit_indices",
    "new_sizes",
    "shape",
    "slice_sizes",
    "start_indices",
    "update_jaxpr",
)


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation of a network that is traced with two batch sizes, with its inputs.

    Attributes:
      equation_for_two: the operation in the trace for two images.
      equation_for_three: the operation in the trace for three images.
      inputs: its inputs.
    """

    equation_for_two: JaxprEqn
    equation_for_three: JaxprEqn
    inputs: tuple[Value, ...]

    @property
    def name(self) -> str:
        """The operation's name in JAX, such as "add"."""
        return self.equation_for_two.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        """The operation's parameters in the trace for two images."""
        return self.equation_for_two.params

    @property
    def params_for_three_images(self) -> dict[str, Any]:
        """The operation's parameters in the trace for three images."""
        return self.equation_for_three.params

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the results."""
        shapes = []
        for result_for_two, result_for_three in zip(
            self.equation_for_two.outvars, self.equation_for_three.outvars, strict=True
        ):
            shapes.append(paired_shape(shape_of(result_for_two), shape_of(result_for_three)))
        return shapes

    @property
    def shape(self) -> Shape:
        """The shape of the first result."""
        return self.shapes[0]

    @property
    def dtype(self) -> np.dtype:
        """The dtype that the first result has in the graph: float32 for all floats."""
        aval: Any = self.equation_for_two.outvars[0].aval
        return exported_dtype(aval.dtype)

    def check_parameters(self) -> None:
        """Raise UnconvertibleError if a parameter depends on the number of images.

        The parameters in `_PAIRED_PARAMETERS` may depend on it.
        """
        for name, parameter in self.params.items():
            may_differ = name in _PAIRED_PARAMETERS
            if not may_differ and not _is_equal(parameter, self.params_for_three_images[name]):
                raise UnconvertibleError(
                    f"the operation {self.name}, whose {name} depends on the number of images, "
                    "can't be converted; use a fixed value"
                )

    def constant_inputs(self, first_index: int, title: str) -> list[Constant]:
        """Return the operation's inputs from index `first_index` on, which must be constants.

        `title` names these inputs in the error message.

        Raises:
          UnconvertibleError: an input depends on the images.
        """
        constants = []
        for value in self.inputs[first_index:]:
            if not isinstance(value, Constant):
                raise UnconvertibleError(
                    f"{title} that depend on the images can't be converted; use constants"
                )
            constants.append(value)
        return constants

    def compute(self, inputs: Sequence[Constant]) -> list[Constant]:
        """Compute the operation for inputs that do not depend on the images; return its results."""
        inputs_for_two = [value.for_two_images for value in inputs]
        results_for_two = _computed_results(self.equation_for_two, inputs_for_two)
        has_same_inputs = all(value.has_one_array for value in inputs)
        if has_same_inputs and self._is_the_same_in_both_traces():
            return [fixed_constant(result) for result in results_for_two]
        inputs_for_three = [value.for_three_images for value in inputs]
        results_for_three = _computed_results(self.equation_for_three, inputs_for_three)
        return [Constant(*pair) for pair in zip(results_for_two, results_for_three, strict=True)]

    def _is_the_same_in_both_traces(self) -> bool:
        """Return True if the results' shapes and all parameters are equal in both traces."""
        has_fixed_shapes = all(size.is_fixed for shape in self.shapes for size in shape)
        return has_fixed_shapes and _is_equal(self.params, self.params_for_three_images)


def _is_equal(first: Any, second: Any) -> bool:
    """Return True if two values of a parameter are equal; False if they can't be compared."""
    try:
        return bool(first == second)
    except ValueError:  # the parameter is an array, or contains one
        return False


def _computed_results(equation: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """Compute an operation of a traced program; return its results."""
    results = equation.primitive.bind(*inputs, **equation.params)
    return list(results) if equation.primitive.multiple_results else [results]


def is_constant_filled_with(value: Value, scalar: float) -> bool:
    """Return True if a value is a constant whose elements all equal `scalar`.

    Raises:
      UnconvertibleError: the constant depends on the number of images.
    """
    return isinstance(value, Constant) and bool(np.all(value.array_for_any_batch() == scalar))


def only_input(step: Step) -> Tensor:
    """Return the only input of an operation; it must depend on the images."""
    [x] = step.inputs
    assert isinstance(x, Tensor)  # operations of constants are computed before
    return x


def ids_of_used_operations(program: Jaxpr) -> set[int]:
    """Return the identities (`id`) of the operations on which the results of a program depend.

    Other operations are not converted, for example a `jax.debug.print` and the mean over the batch
    that it prints.
    """
    needed_variables = {
        variable for variable in program.outvars if not isinstance(variable, Literal)
    }
    used_ids: set[int] = set()
    for equation in reversed(program.eqns):
        if needed_variables.isdisjoint(equation.outvars):
            continue
        used_ids.add(id(equation))
        inputs = [variable for variable in equation.invars if not isinstance(variable, Literal)]
        needed_variables.update(inputs)
    return used_ids


def constants_of_program(
    program_for_two: ClosedJaxpr | Jaxpr, program_for_three: ClosedJaxpr | Jaxpr
) -> list[Constant]:
    """Return the arrays that a program contains, from its traces for two and for three images.

    A `ClosedJaxpr` is a program with its constant arrays; a `Jaxpr` has none.
    """
    if not isinstance(program_for_two, ClosedJaxpr):
        return []
    assert isinstance(program_for_three, ClosedJaxpr)
    arrays_for_two, arrays_for_three = program_for_two.consts, program_for_three.consts
    return [Constant(*pair) for pair in zip(arrays_for_two, arrays_for_three, strict=True)]


def constant_of_literal(literal_for_two: Any, literal_for_three: Any) -> Constant:
    """Return the constant for a number that is written into a program.

    `literal_for_two` and `literal_for_three` are JAX's `Literal` of the number in the two traces.
    """
    array_for_two = np.asarray(literal_for_two.val, literal_for_two.aval.dtype)
    array_for_three = np.asarray(literal_for_three.val, literal_for_three.aval.dtype)
    if np.array_equal(array_for_two, array_for_three):
        return fixed_constant(array_for_two)
    return Constant(array_for_two, array_for_three)
