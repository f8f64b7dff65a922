"""The values of a traced program: which are constants, and what the others are computed from."""

import itertools
from collections.abc import Collection, Sequence

import numpy as np
from jax.extend.core import Literal

from jaxcifar.diagram.operation import constant_result


class TracedValues:
    """What is known about the values of a traced program. Each value has a number.

    Attributes:
      constants: value -> the number in all elements of its array, for each value where it is known.
      image_dependent_values: numbers of the values that depend on the image.
    """

    def __init__(self) -> None:
        self.constants: dict[int, float] = {}
        self.image_dependent_values: set[int] = set()
        self._device_values: set[int] = set()  # values that say only which kind of device is used
        # Values that are computed from positions (`iota`), not from the image.
        self._position_values: set[int] = set()
        self._unused_numbers = itertools.count()

    def new_value(self) -> int:
        """Return a number that no value has yet."""
        return next(self._unused_numbers)

    def add_literal(self, literal: Literal) -> int:
        """Add a constant that is written in the program, and return its number."""
        number = self.new_value()
        self.constants[number] = np.asarray(literal.val).item()
        return number

    def replace_constants_by_unknowns(self, values: Sequence[int]) -> list[int]:
        """Return the values, with a new, unknown value in place of each known constant.

        For example, a loop's counter is 0 in the first step only, so it must not count as constant.
        """
        return [self.new_value() if value in self.constants else value for value in values]

    def any_depends_on_image(self, values: Collection[int]) -> bool:
        """Return whether any of the values depends on the image."""
        return not self.image_dependent_values.isdisjoint(values)

    def any_is_computed_from_positions(self, values: Collection[int]) -> bool:
        """Return whether any value is computed from elements' positions, as a one-hot matrix is."""
        return not self._position_values.isdisjoint(values)

    def depends_only_on_device(self, value: int) -> bool:
        """Return whether a value tells only the kind of device, such as CPU or GPU."""
        return value in self._device_values

    def record_outputs(self, primitive: str, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Record what is known about an operation's outputs, given what is known about its inputs.

        Args:
          primitive: JAX's name of the operation, such as "add".
          inputs: numbers of the values that the operation reads.
          outputs: numbers of the values that it computes.
        """
        depends_on_image = self.any_depends_on_image(inputs)
        if depends_on_image:
            self.image_dependent_values.update(outputs)
        variable_inputs = {value for value in inputs if value not in self.constants}
        # JAX clamps and converts the index of the device's kind before a conditional reads it.
        depends_only_on_device = bool(variable_inputs) and variable_inputs <= self._device_values
        if primitive == "platform_index" or depends_only_on_device:
            self._device_values.update(outputs)
        depends_on_positions = self.any_is_computed_from_positions(inputs)
        if primitive == "iota" or (depends_on_positions and not depends_on_image):
            self._position_values.update(outputs)
        input_constants = [self.constants.get(value) for value in inputs]
        constant = constant_result(primitive, input_constants)
        if constant is not None:
            self.constants |= dict.fromkeys(outputs, constant)
