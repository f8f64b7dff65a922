"""Split a reshape into groups of axes that are reshaped independently of each other."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jaxcifar.exchange.onnx.onnx_values import ONE, Shape, Size, product, require_elements


@dataclasses.dataclass(frozen=True)
class AxisGroup:
    """Neighbouring axes of an array, and the neighbouring axes that a reshape turns them into.

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
    start_before, start_after = 0, 0  # the first axes that are in no group yet
    while start_before < len(before) or start_after < len(after):
        counts = _axes_of_first_group(before[start_before:], after[start_after:])
        end_before = start_before + counts.before
        end_after = start_after + counts.after
        axes_before = tuple(range(start_before, end_before))
        axes_after = tuple(range(start_after, end_after))
        groups.append(AxisGroup(axes_before, axes_after))
        start_before, start_after = end_before, end_after
    return groups


class _AxisCounts(NamedTuple):
    """The numbers of axes that a group has before and after a reshape."""

    before: int
    after: int


def _axes_of_first_group(before: Sequence[Size], after: Sequence[Size]) -> _AxisCounts:
    """Return how many axes the first group of a reshape has, before and after the reshape.

    The group takes one more axis on either side until both sides have equally many elements.
    """
    if before and after and before[0] == after[0]:
        return _AxisCounts(1, 1)
    if before and before[0] == ONE:
        return _AxisCounts(1, 0)
    if after and after[0] == ONE:
        return _AxisCounts(0, 1)
    count_before, count_after = 1, 1
    while True:
        elements_before = product(before[:count_before])
        elements_after = product(after[:count_after])
        if elements_before == elements_after:
            return _AxisCounts(count_before, count_after)
        # The side with fewer elements gets another axis, as long as it has one.
        has_fewer_before = elements_before.for_two <= elements_after.for_two
        has_more_axes_before = count_before < len(before)
        has_more_axes_after = count_after < len(after)
        if not has_more_axes_after or (has_fewer_before and has_more_axes_before):
            count_before += 1
        else:
            count_after += 1
