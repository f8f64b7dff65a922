"""Divide the boxes of a drawn network into columns."""

import math
from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import BOX_GAP, BOX_WIDTH, Box

_FRAME_EDGES_HEIGHT = 6  # points that the edges of a frame add to the height of a box
_LEAST_HEIGHT_LIMIT = 620  # columns up to this height in points are always allowed
_WIDTH_TO_HEIGHT = 1.5  # desired ratio of the drawing's width to its height
_COLUMN_MARGINS = 80  # width in points that a column takes beside its boxes
_MORE_HEIGHT_IN_FRAME = 0.3  # share by which a column may be higher for each frame it would divide
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
    possible_box_counts: set[int] = set()  # the column could have ended after so many boxes
    for index, box in enumerate(boxes):
        if column and _may_end_column(boxes, column, boxes_still_read_after[index - 1], box):
            last_box = boxes[column[-1]]
            is_too_high = column_height > _height_limit(last_box, box, desired_height)
            resolution_changes = len(column) > 1 and _changes_resolution(last_box, box)
            if is_too_high or resolution_changes:
                kept_count = _count_boxes_to_keep(boxes, column, possible_box_counts, box)
                yield column[:kept_count]
                column = column[kept_count:]
                column_height = sum(_height_in_column(boxes[moved_box]) for moved_box in column)
                possible_box_counts = set()
            else:
                possible_box_counts.add(len(column))
        column.append(index)
        if not box.is_side_box:
            column_height += _height_in_column(box)
    yield column


def _find_boxes_still_read(boxes: Sequence[Box]) -> list[set[int]]:
    """Return, for each box, the indices of the boxes up to this one that later boxes read."""
    last_target_of_box: dict[int, int] = {}
    for target, box in enumerate(boxes):
        for source in box.sources:
            last_target_of_box[source] = target
    boxes_still_read_after: list[set[int]] = []
    still_read: set[int] = set()
    for index in range(len(boxes)):
        candidates = still_read | {index}
        still_read = {source for source in candidates if last_target_of_box.get(source, 0) > index}
        boxes_still_read_after.append(still_read)
    return boxes_still_read_after


def _desired_column_height(boxes: Sequence[Box]) -> float:
    """Return the height in points of columns that give the drawing its desired proportions."""
    total_height = sum(_height_in_column(box) for box in boxes)
    total_area = total_height * (BOX_WIDTH + _COLUMN_MARGINS)
    return math.sqrt(total_area / _WIDTH_TO_HEIGHT)


def _height_limit(last_box: Box, next_box: Box, desired_height: float) -> float:
    """Return the column height above which a column ends between two boxes.

    The limit is higher where the end would divide frames around modules.

    Args:
      last_box: the column's last box if the column ends.
      next_box: the first box of the next column.
      desired_height: the height of columns that give the drawing its desired proportions.
    """
    divided_frames = count_shared_frames(last_box.frame_names, next_box.frame_names)
    limit_between_frames = max(_LEAST_HEIGHT_LIMIT, desired_height)
    return limit_between_frames * (1 + _MORE_HEIGHT_IN_FRAME * divided_frames)


def _changes_resolution(last_box: Box, next_box: Box) -> bool:
    """Return whether the outputs of two consecutive boxes differ in height or width.

    Return False if the next box is the logits.
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
    boxes: Sequence[Box], column: Sequence[int], possible_counts: set[int], next_box: Box
) -> int:
    """Return how many boxes of a column to keep; the others move to the next column.

    At most three boxes move. They move only if the end of the column then divides fewer frames
    around modules.

    Args:
      boxes: all boxes of the drawing.
      column: indices of the boxes in the column.
      possible_counts: the numbers of boxes after which the column may end.
      next_box: the first box after the column.
    """
    last_box = boxes[column[-1]]
    frames_divided_if_all_stay = count_shared_frames(last_box.frame_names, next_box.frame_names)
    for moved_count in range(1, _MAX_MOVED_BOXES + 1):
        kept_count = len(column) - moved_count
        if kept_count < _LEAST_KEPT_BOXES:
            break
        last_kept, first_moved = boxes[column[kept_count - 1]], boxes[column[kept_count]]
        frames_divided_if_some_move = count_shared_frames(
            last_kept.frame_names, first_moved.frame_names
        )
        divides_fewer_frames = frames_divided_if_some_move < frames_divided_if_all_stay
        column_may_end_here = kept_count in possible_counts
        if divides_fewer_frames and column_may_end_here:
            return kept_count
    return len(column)


def _height_in_column(box: Box) -> float:
    """Return the height in points that a box takes, with the gap and its frames' edges."""
    return box.size[1] + BOX_GAP + _FRAME_EDGES_HEIGHT * len(box.frame_names)


def count_shared_frames(first_frame_names: Sequence[str], second_frame_names: Sequence[str]) -> int:
    """Return how many frames around modules contain both of two boxes.

    Args:
      first_frame_names: names of the frames around the first box, outermost first.
      second_frame_names: names of the frames around the second box, outermost first.
    """
    shared_count = 0
    for first_frame, second_frame in zip(first_frame_names, second_frame_names, strict=False):
        if first_frame != second_frame:
            break
        shared_count += 1
    return shared_count
