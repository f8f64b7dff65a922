"""Split a reshape into groups of axes that are reshaped independently of each other."""

import dataclasses
from collections.abc import Sequence

from jaxcifar.exchange.onnx.onnx_values import ONE, Shape, Size, product, require_elements


@dataclasses.dataclass(frozen=True)
class AxisGroup:
    """Neighbouring axes that become other neighbouring axes with as many elements.

    Attributes:
      before: the axes before the reshape.
      after: the axes after the reshape.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def changes(self) -> bool:
        """True if the group is reshaped; False if it is one axis that stays."""
        return len(self.before) != 1 or len(self.after) != 1


def axis_groups(before: Shape, after: Shape) -> list[AxisGroup]:
    """Split a reshape into the smallest groups of axes.

    For example, `[B, 32, 32, 12]` to `[B, 1024, 3, 4]` has the groups B to B, 32 x 32 to 1024 and
    12 to 3 x 4. Axes of size 1 that appear or disappear are groups of their own.

    Args:
      before: the shape before the reshape.
      after: the shape after the reshape, with as many elements.

    Raises:
      UnconvertibleError: the array has no elements, so that its axes do not tell its groups.
    """
    require_elements([*before, *after])
    groups = []
    first, second = 0, 0  # the first axes that are in no group yet
    while first < len(before) or second < len(after):
        first_end, second_end = _end_of_group(before[first:], after[second:])
        first_axes = tuple(range(first, first + first_end))
        second_axes = tuple(range(second, second + second_end))
        groups.append(AxisGroup(first_axes, second_axes))
        first, second = first + first_end, second + second_end
    return groups


def _end_of_group(before: Sequence[Size], after: Sequence[Size]) -> tuple[int, int]:
    """Return how many axes of both shapes the first group has."""
    if before and after and before[0] == after[0]:
        return 1, 1
    if before and before[0] == ONE:
        return 1, 0
    if after and after[0] == ONE:
        return 0, 1
    first_count, second_count = 1, 1
    while product(before[:first_count]) != product(after[:second_count]):
        first, second = product(before[:first_count]), product(after[:second_count])
        is_first_smaller = first.for_two <= second.for_two
        if second_count == len(after) or (is_first_smaller and first_count < len(before)):
            first_count += 1
        else:
            second_count += 1
    return first_count, second_count
