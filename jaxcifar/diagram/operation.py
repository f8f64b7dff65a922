"""The steps of a traced program: operations, and calls of functions."""

import dataclasses
import operator
from collections.abc import Sequence
from typing import NamedTuple, Self

from jax.extend.core import JaxprEqn

Shape = tuple[int, ...]
# Operations that do not change element values; a constant stays constant through them.
_VALUE_PRESERVING_PRIMITIVES = {
    "broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose",
}  # fmt: skip
_ARITHMETIC_PRIMITIVES = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TracedStep:
    """A step of a traced program, with the shapes of one input array and one output array.

    Attributes:
      traced_input_shape: the input array's shape, batch axes included.
      traced_output_shape: the output array's shape, batch axes included.
      input_batch_axes: axes of the input array whose size grows with the batch.
      output_batch_axes: axes of the output array whose size grows with the batch.
    """

    traced_input_shape: Shape
    traced_output_shape: Shape
    input_batch_axes: tuple[int, ...] = (0,)
    output_batch_axes: tuple[int, ...] = (0,)

    @property
    def input_shape(self) -> Shape:
        return _shape_of_one_image(self.traced_input_shape, self.input_batch_axes)

    @property
    def output_shape(self) -> Shape:
        return _shape_of_one_image(self.traced_output_shape, self.output_batch_axes)

    @property
    def input_image_axes(self) -> tuple[int, ...]:
        """The axes of the traced input array that are not batch axes."""
        return _image_axes(self.traced_input_shape, self.input_batch_axes)

    @property
    def input_spatial_axes(self) -> tuple[int, ...]:
        """The axes of the traced input array that are neither batch axes nor the channels."""
        return self.input_image_axes[:-1]

    @property
    def output_image_axes(self) -> tuple[int, ...]:
        """The axes of the traced output array that are not batch axes."""
        return _image_axes(self.traced_output_shape, self.output_batch_axes)

    def with_batch_axes(self, larger_batch_step: Self) -> Self:
        """Return a copy of this step of the program that knows which axes are batch axes.

        Args:
          larger_batch_step: the same step in a trace for more images. The axes of its arrays that
            are longer than in this step are batch axes.
        """
        larger_input_shape = larger_batch_step.traced_input_shape
        larger_output_shape = larger_batch_step.traced_output_shape
        return dataclasses.replace(
            self,
            input_batch_axes=_differing_axes(self.traced_input_shape, larger_input_shape),
            output_batch_axes=_differing_axes(self.traced_output_shape, larger_output_shape),
        )


class FunctionCall(NamedTuple):
    """One call of a jitted function: the function's name, and a number unique to this call."""

    name: str
    number: int


@dataclasses.dataclass(frozen=True)
class Operation(TracedStep):
    """An equation of the traced program; each value in the program has a number.

    A loop or a conditional is an operation too. It comes after the operations of its body or
    branches and reads their results. Its outputs include only results that depend on the image.

    The inherited shapes are of the first input that depends on the image and of the first output.

    Attributes:
      equation: the equation with its parameters.
      inputs: numbers of the values that the operation reads.
      constants: for each input, the one number that fills the whole array; None if unknown.
      outputs: numbers of the values that the operation computes.
      repeat_count: how often loops repeat the operation; 0 in a branch or condition that is not
        counted.
      call_number: the number of the innermost module call around the operation; None outside of
        calls.
      function_calls: calls of jitted functions around the operation, outermost first.
      depends_on_image: True if any input depends on the image.
      macs: multiply-accumulates of one repetition. A product with a matrix of zeros and ones that
        is computed from indices has 0, because it only picks values.
    """

    equation: JaxprEqn
    inputs: tuple[int, ...]
    constants: tuple[float | None, ...]
    outputs: tuple[int, ...]
    repeat_count: int
    call_number: int | None
    function_calls: tuple[FunctionCall, ...]
    depends_on_image: bool
    macs: int

    @property
    def name(self) -> str:
        """The name of the JAX primitive, such as "dot_general"."""
        return self.equation.primitive.name


def _shape_of_one_image(shape: Shape, batch_axes: Sequence[int]) -> Shape:
    """Return the shape of a traced array for one image: without its batch axes of length 1.

    A batch axis longer than 1 stays, because it holds several pieces of the image.
    """
    return tuple(size for axis, size in enumerate(shape) if axis not in batch_axes or size > 1)


def _image_axes(shape: Shape, batch_axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(len(shape)) if axis not in batch_axes)


def _differing_axes(shape: Shape, other_shape: Shape) -> tuple[int, ...]:
    """Return the axes along which two shapes with equally many axes differ."""
    axes = []
    for axis, (size, other_size) in enumerate(zip(shape, other_shape, strict=True)):
        if size != other_size:
            axes.append(axis)
    return tuple(axes)


def constant_result(primitive: str, inputs: Sequence[float | None]) -> float | None:
    """Return the number that every element of an operation's result equals; None if unknown.

    Args:
      primitive: JAX's name of the operation, such as "add".
      inputs: for each input array, the number that all its elements equal; None if unknown.
    """
    if not inputs or None in inputs:
        return None
    if primitive in _VALUE_PRESERVING_PRIMITIVES:
        return inputs[0]
    if primitive in _ARITHMETIC_PRIMITIVES:
        return _ARITHMETIC_PRIMITIVES[primitive](*inputs)
    return None
