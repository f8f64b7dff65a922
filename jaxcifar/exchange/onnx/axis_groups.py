"""Split a reshape into groups of axes that are reshaped independently of each other."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jaxcifar.exchange.onnx.onnx_values import ONE, Shape, Size, product, require_elements


@dataclasses.dataclass(frozen=True)
class AxisGroup:
    """Neighbouring axes of an array, and the neighbouring axes that a reshape turns them into.

    Attributes:
      axes_before: the axes before the reshape.
      axes_after: the axes after the reshape.
    """

    axes_before: tuple[int, ...]
    axes_after: tuple[int, ...]

    @property
    def is_reshaped(self) -> bool:
        """False if the group is a single axis that the reshape does not change."""
        return len(self.axes_before) != 1 or len(self.axes_after) != 1


def axis_groups(shape_before: Shape, shape_after: Shape) -> list[AxisGroup]:
    """Split the axes of a reshape into groups that can be reshaped one by one; return the groups.

    For example, a reshape of `[B, 32, 32, 12]` to `[B, 1024, 3, 4]` has three groups: B stays B,
    32 x 32 becomes 1024, and 12 becomes 3 x 4. The groups are as small as possible. An axis of size
    1 that appears or disappears is a group of its own.

    Args:
      shape_before: the shape before the reshape.
      shape_after: the shape after the reshape, with the same number of elements.

    Raises:
      UnconvertibleError: the array has no elements; then the sizes do not show the groups.
    """
    require_elements([*shape_before, *shape_after])
    groups = []
    start_before, start_after = 0, 0  # the first axes that are in no group yet
    while start_before < len(shape_before) or start_after < len(shape_after):
        counts = _axis_counts_of_first_group(shape_before[start_before:], shape_after[start_after:])
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


def _axis_counts_of_first_group(
    sizes_before: Sequence[Size], sizes_after: Sequence[Size]
) -> _AxisCounts:
    """Return how many axes the first group has before and after the reshape (see `axis_groups`).

    The group starts with one axis on each side. While the products of the sizes differ, the side
    with the smaller product gets its next axis.

    Args:
      sizes_before: sizes of the axes before the reshape that are in no group yet.
      sizes_after: sizes of the axes after the reshape that are in no group yet.
    """
    has_axes_on_both_sides = len(sizes_before) > 0 and len(sizes_after) > 0
    axis_keeps_its_size = has_axes_on_both_sides and sizes_before[0] == sizes_after[0]
    if axis_keeps_its_size:
        return _AxisCounts(before=1, after=1)
    axis_of_size_one_disappears = len(sizes_before) > 0 and sizes_before[0] == ONE
    if axis_of_size_one_disappears:
        return _AxisCounts(before=1, after=0)
    axis_of_size_one_appears = len(sizes_after) > 0 and sizes_after[0] == ONE
    if axis_of_size_one_appears:
        return _AxisCounts(before=0, after=1)
    count_before, count_after = 1, 1
    elements_before, elements_after = sizes_before[0], sizes_after[0]
    while elements_before != elements_after:
        can_grow_before = count_before < len(sizes_before)
        can_grow_after = count_after < len(sizes_after)
        is_smaller_after = elements_after.for_two_images < elements_before.for_two_images
        should_grow_after = is_smaller_after or not can_grow_before
        if can_grow_after and should_grow_after:
            count_after += 1
        else:
            count_before += 1
        elements_before = product(sizes_before[:count_before])
        elements_after = product(sizes_after[:count_after])
    return _AxisCounts(count_before, count_after)
