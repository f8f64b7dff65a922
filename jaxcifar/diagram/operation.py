"""One operation of a traced program."""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Self

from jax.extend.core import JaxprEqn

Shape = tuple[int, ...]
# What leaves every element as it is, and so a constant what it is.
_KEEPS = {"broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose"}
_ARITHMETIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shaped:
    """What has arrays that enter and leave.

    Attributes:
      shapes: of one that enters, and of one that leaves.
      batch: of these two, the axes that grow with the batch.
    """

    shapes: tuple[Shape, Shape]
    batch: tuple[tuple[int, ...], tuple[int, ...]] = ((0,), (0,))

    @property
    def input_shape(self) -> Shape:
        """Of what enters, for one image."""
        return _of_one(self.shapes[0], self.batch[0])

    @property
    def output_shape(self) -> Shape:
        """Of what leaves, for one image."""
        return _of_one(self.shapes[1], self.batch[1])

    def within(self, which: int) -> tuple[int, ...]:
        """Axes of what enters (0) or leaves (1) that lie within an image."""
        axes = range(len(self.shapes[which]))
        return tuple(axis for axis in axes if axis not in self.batch[which])

    def beside(self, larger: Self) -> Self:
        """The same, with the batch's axes told by what it is for more images."""
        entering, leaving = map(_unequal, self.shapes, larger.shapes)
        return dataclasses.replace(self, batch=(entering, leaving))


@dataclasses.dataclass(frozen=True)
class Operation(Shaped):
    """An equation of the program; values have numbers.

    A loop or a choice between branches is an operation, too, behind those that lie in it: it reads
    what they come to, and of what it returns it has what depends on the image.

    Attributes:
      equation: with its parameters.
      inputs: values that it reads.
      constants: of each of these, the number that all of its elements are, None if not known.
      outputs: no other operation has them.
      shapes: of the first input that depends on the image, and of the first output.
      times: how often loops repeat it; 0 if it lies in a branch or condition that is not counted.
      call: the number of the innermost module call around it.
      functions: name and number of each call of a jitted function around it, outermost first.
      depends: whether it depends on the image.
      macs: multiply-accumulates, `times` left out; none where a pattern of zeros and ones, made of
        indices, only picks values.
    """

    equation: JaxprEqn
    inputs: tuple[int, ...]
    constants: tuple[float | None, ...]
    outputs: tuple[int, ...]
    times: int
    call: int | None
    functions: tuple[tuple[str, int], ...]
    depends: bool
    macs: int

    @property
    def name(self) -> str:
        """That of the primitive."""
        return self.equation.primitive.name


def _of_one(shape: Shape, batch: Sequence[int]) -> Shape:
    """An array's shape for one image; an axis that holds several pieces of it keeps these."""
    return tuple(size for axis, size in enumerate(shape) if axis not in batch or size > 1)


def _unequal(one: Shape, two: Shape) -> tuple[int, ...]:
    pairs = enumerate(zip(one, two, strict=True))
    return tuple(axis for axis, (first, second) in pairs if first != second)


def constant_result(name: str, numbers: Sequence[float | None]) -> float | None:
    """What all elements of an operation's result are, if its inputs' are these."""
    if not numbers or None in numbers:
        return None
    if name in _KEEPS:
        return numbers[0]
    return _ARITHMETIC[name](*numbers) if name in _ARITHMETIC else None
