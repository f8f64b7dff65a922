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
    def is_reshaped(self) -> bool:
        """False if the group is a single axis, which the reshape leaves as it is."""
        return len(self.before) != 1 or len(self.after) != 1


def axis_groups(before: Shape, after: Shape) -> list[AxisGroup]:
    """Split the axes of a reshape into groups that can be reshaped one by one; return the groups.

    For example, a reshape of `[B, 32, 32, 12]` to `[B, 1024, 3, 4]` has three groups: B stays B,
    32 x 32 becomes 1024, and 12 becomes 3 x 4. The groups are as small as possible. An axis of size
    1 that appears or disappears is a group of its own.

    Args:
      before: the shape before the reshape.
      after: the shape after the reshape, with the same number of elements.

    Raises:
      UnconvertibleError: the array has no elements; then the sizes do not show the groups.
    """
    require_elements([*before, *after])
    groups = []
    start_before, start_after = 0, 0  # the first axes that are in no group yet
    while start_before < len(before) or start_after < len(after):
        counts = _count_axes_of_first_group(before[start_before:], after[start_after:])
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


def _count_axes_of_first_group(before: Sequence[Size], after: Sequence[Size]) -> _AxisCounts:
    """Count the axes of the first group (see `axis_groups`), before and after the reshape.

    The group gets more axes until it has as many elements before the reshape as after it.

    Args:
      before: sizes of the axes before the reshape that are in no group yet.
      after: sizes of the axes after the reshape that are in no group yet.
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
        # The side with fewer elements gets another axis, if there is another one.
        all_are_counted_before = count_before == len(before)
        all_are_counted_after = count_after == len(after)
        if all_are_counted_after:
            count_before += 1
        elif all_are_counted_before or elements_before.for_two > elements_after.for_two:
            count_after += 1
        else:
            count_before += 1
