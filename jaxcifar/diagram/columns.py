"""Divide the boxes of a drawn network into columns."""

import math
from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import BOX_WIDTH, Box

_GAP = 15  # points between boxes
_PANEL_EDGES = 6  # points that the edges of a panel add to the height of a box
_LEAST_HEIGHT = 620  # columns up to this height in points are always allowed
_ASPECT = 1.5  # desired ratio of the drawing's width to its height


def split_columns(boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Divide the boxes of a drawing into columns; yield the box indices of each column.

    A column may end where later boxes read only the output of its last box. It ends there if the
    resolution changes or the column is too high.
    """
    last_readers: dict[int, int] = {}
    for index, box in enumerate(boxes):
        last_readers |= dict.fromkeys(box.sources, index)
    total_height = sum(_height(box) for box in boxes)
    best_height = math.sqrt(total_height * (BOX_WIDTH + 80) / _ASPECT)
    column: list[int] = []
    column_height = 0.0
    awaiting_readers: set[int] = set()  # boxes with readers that are still to come
    possible_cuts: set[int] = set()  # places in the column where it could have ended
    for index, box in enumerate(boxes):
        if column and _may_end(boxes, column, awaiting_readers, box):
            last_box = boxes[column[-1]]
            # A column may be higher if its end would divide panels.
            shared_panels = count_shared(last_box.path, box.path)
            most_height = max(_LEAST_HEIGHT, best_height) * (1 + 0.3 * shared_panels)
            same_resolution = last_box.output_shape[:-1] == box.output_shape[:-1]
            changes_resolution = not same_resolution and box.kind != "data"
            if column_height > most_height or (changes_resolution and len(column) > 1):
                cut = _best_cut(boxes, column, possible_cuts, box)
                yield column[:cut]
                column = column[cut:]
                possible_cuts = set()
                column_height = sum(_height(boxes[index]) for index in column)
            else:
                possible_cuts.add(len(column))
        column.append(index)
        if not box.is_side_box:
            column_height += _height(box)
        awaiting_readers.add(index)
        awaiting_readers = {
            source for source in awaiting_readers if last_readers.get(source, 0) > index
        }
    yield column


def _may_end(
    boxes: Sequence[Box], column: Sequence[int], awaiting_readers: set[int], box: Box
) -> bool:
    """Return whether a column of a drawing may end before the next box.

    It may end if later boxes read only the output of the column's last box.

    Args:
      boxes: all boxes of the drawing.
      column: indices of the boxes in the column.
      awaiting_readers: indices of the boxes whose outputs later boxes read.
      box: the next box.
    """
    last_box = column[-1]
    touches_side_box = box.is_side_box or boxes[last_box].is_side_box
    return awaiting_readers == {last_box} and not touches_side_box


def _best_cut(
    boxes: Sequence[Box], column: Sequence[int], possible_cuts: set[int], following: Box
) -> int:
    """Return how many boxes of a column to keep; the others move to the next column.

    Up to three boxes move if a panel (a frame around a module) begins with them. The end of the
    column would divide this panel otherwise.

    Args:
      boxes: all boxes of the drawing.
      column: indices of the boxes in the column.
      possible_cuts: the numbers of boxes that may be kept.
      following: the first box after the column.
    """
    shared_at_end = count_shared(boxes[column[-1]].path, following.path)
    lowest_cut = max(len(column) - 3, 2)
    for cut in range(len(column) - 1, lowest_cut - 1, -1):
        shared_at_cut = count_shared(boxes[column[cut - 1]].path, boxes[column[cut]].path)
        if cut in possible_cuts and shared_at_cut < shared_at_end:
            return cut
    return len(column)


def _height(box: Box) -> float:
    """Return the height in points that a box takes, with the gap and its panels' edges."""
    return box.size[1] + _GAP + _PANEL_EDGES * len(box.path)


def count_shared(first_path: Sequence[str], second_path: Sequence[str]) -> int:
    """Return how many panels, i.e. frames around modules, contain both of two boxes.

    Args:
      first_path: names of the panels around the first box, outermost first.
      second_path: names of the panels around the second box, outermost first.
    """
    shared_count = 0
    for first_panel, second_panel in zip(first_path, second_path, strict=False):
        if first_panel != second_panel:
            break
        shared_count += 1
    return shared_count
