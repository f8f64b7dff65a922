"""Divide the boxes of a drawn network into columns."""

import math
from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import BOX_GAP, BOX_WIDTH, Box

_PANEL_EDGES_HEIGHT = 6  # points that the edges of a panel add to the height of a box
_LEAST_HEIGHT_LIMIT = 620  # columns up to this height in points are always allowed
_WIDTH_TO_HEIGHT = 1.5  # desired ratio of the drawing's width to its height
_COLUMN_MARGINS = 80  # width in points that a column takes beside its boxes
_MORE_HEIGHT_IN_PANEL = 0.3  # share by which a column may be higher for each panel it would divide
_MAX_MOVED_BOXES = 3  # boxes that may move from the end of a column to the next column
_LEAST_KEPT_BOXES = 2  # boxes that must stay in the column then


def split_columns(boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Divide the boxes of a drawing into columns; yield the box indices of each column.

    A column may end where later boxes read only the output of its last box. It ends there if the
    resolution changes or the column is too high.
    """
    boxes_still_read_after = _find_boxes_still_read(boxes)
    desired_height = _desired_column_height(boxes)
    column: list[int] = []
    column_height = 0.0
    allowed_box_counts: set[int] = set()  # the column may end after so many boxes
    for index, box in enumerate(boxes):
        if column and _may_end_column(boxes, column, boxes_still_read_after[index - 1], box):
            last_box = boxes[column[-1]]
            is_too_high = column_height > _height_limit(last_box, box, desired_height)
            resolution_changes = len(column) > 1 and _changes_resolution(last_box, box)
            if is_too_high or resolution_changes:
                kept_count = _count_boxes_to_keep(boxes, column, allowed_box_counts, box)
                yield column[:kept_count]
                column = column[kept_count:]
                column_height = sum(_height_in_column(boxes[moved_box]) for moved_box in column)
                allowed_box_counts = set()
            else:
                allowed_box_counts.add(len(column))
        column.append(index)
        if not box.is_side_box:
            column_height += _height_in_column(box)
    yield column


def _find_boxes_still_read(boxes: Sequence[Box]) -> list[set[int]]:
    """Return, for each box, the indices of the boxes up to this one that later boxes read."""
    last_reader_of_box: dict[int, int] = {}
    for reader, box in enumerate(boxes):
        for source in box.sources:
            last_reader_of_box[source] = reader
    boxes_still_read_after: list[set[int]] = []
    still_read: set[int] = set()
    for index in range(len(boxes)):
        candidates = still_read | {index}
        still_read = {source for source in candidates if last_reader_of_box.get(source, 0) > index}
        boxes_still_read_after.append(still_read)
    return boxes_still_read_after


def _desired_column_height(boxes: Sequence[Box]) -> float:
    """Return the height in points of columns that give the drawing its desired proportions."""
    total_height = sum(_height_in_column(box) for box in boxes)
    total_area = total_height * (BOX_WIDTH + _COLUMN_MARGINS)
    return math.sqrt(total_area / _WIDTH_TO_HEIGHT)


def _height_limit(last_box: Box, next_box: Box, desired_height: float) -> float:
    """Return the column height above which a column ends between two boxes.

    The limit is higher where the end would divide panels (frames around modules).

    Args:
      last_box: the column's last box if the column ends.
      next_box: the first box of the next column.
      desired_height: the height of columns that give the drawing its desired proportions.
    """
    divided_panels = count_shared_panels(last_box.panel_names, next_box.panel_names)
    return max(_LEAST_HEIGHT_LIMIT, desired_height) * (1 + _MORE_HEIGHT_IN_PANEL * divided_panels)


def _changes_resolution(last_box: Box, next_box: Box) -> bool:
    """Return whether the outputs of two boxes differ in height or width.

    If the next box is the logits, the answer is no.
    """
    last_spatial_sizes, next_spatial_sizes = last_box.output_shape[:-1], next_box.output_shape[:-1]
    return last_spatial_sizes != next_spatial_sizes and next_box.kind != "data"


def _may_end_column(
    boxes: Sequence[Box], column: Sequence[int], boxes_still_read: set[int], next_box: Box
) -> bool:
    """Return whether a column of a drawing may end before the next box.

    It may end if later boxes read only the output of the column's last box.

    Args:
      boxes: all boxes of the drawing.
      column: indices of the boxes in the column.
      boxes_still_read: indices of the boxes whose outputs later boxes read.
      next_box: the first box after the column.
    """
    last_box = column[-1]
    touches_side_box = next_box.is_side_box or boxes[last_box].is_side_box
    return boxes_still_read == {last_box} and not touches_side_box


def _count_boxes_to_keep(
    boxes: Sequence[Box], column: Sequence[int], allowed_counts: set[int], next_box: Box
) -> int:
    """Return how many boxes of a column to keep; the others move to the next column.

    Boxes move only if the two columns then divide fewer panels (frames around modules) between
    them. At most three boxes move.

    Args:
      boxes: all boxes of the drawing.
      column: indices of the boxes in the column.
      allowed_counts: the numbers of boxes after which the column may end.
      next_box: the first box after the column.
    """
    last_box = boxes[column[-1]]
    panels_divided_at_end = count_shared_panels(last_box.panel_names, next_box.panel_names)
    for moved_count in range(1, _MAX_MOVED_BOXES + 1):
        kept_count = len(column) - moved_count
        if kept_count < _LEAST_KEPT_BOXES:
            break
        last_kept, first_moved = boxes[column[kept_count - 1]], boxes[column[kept_count]]
        panels_divided_here = count_shared_panels(last_kept.panel_names, first_moved.panel_names)
        divides_fewer_panels = panels_divided_here < panels_divided_at_end
        if divides_fewer_panels and kept_count in allowed_counts:
            return kept_count
    return len(column)


def _height_in_column(box: Box) -> float:
    """Return the height in points that a box takes, with the gap and its panels' edges."""
    return box.size[1] + BOX_GAP + _PANEL_EDGES_HEIGHT * len(box.panel_names)


def count_shared_panels(first_panel_names: Sequence[str], second_panel_names: Sequence[str]) -> int:
    """Return how many panels, i.e. frames around modules, contain both of two boxes.

    Args:
      first_panel_names: names of the panels around the first box, outermost first.
      second_panel_names: names of the panels around the second box, outermost first.
    """
    shared_count = 0
    for first_panel, second_panel in zip(first_panel_names, second_panel_names, strict=False):
        if first_panel != second_panel:
            break
        shared_count += 1
    return shared_count
