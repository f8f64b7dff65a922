"""Divide the boxes of a drawn network into columns."""

import math
from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import BOX_WIDTH, Box

_GAP = 15  # points between boxes
_PANEL_EDGES = 6  # points that the edges of a panel add to the height of a box
_LEAST_HEIGHT = 620  # columns up to this height in points are always allowed
_ASPECT = 1.5  # desired ratio of the drawing's width to its height


def split_columns(boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Yield, for each column of the drawing, the indices of its boxes.

    A column ends only where a single array is passed on. It ends there if the resolution changes or
    the column is too high.
    """
    last_readers: dict[int, int] = {}
    for index, box in enumerate(boxes):
        last_readers |= dict.fromkeys(box.sources, index)
    total_height = sum(_height(box) for box in boxes)
    best_height = math.sqrt(total_height * (BOX_WIDTH + 80) / _ASPECT)
    column: list[int] = []
    column_height = 0.0
    waiting: set[int] = set()  # boxes with readers that are still to come
    cuts: set[int] = set()  # places in the column where it could have ended
    for index, box in enumerate(boxes):
        if column and _may_end(boxes, column, waiting, box):
            last = boxes[column[-1]]
            # A column may be higher if its end would divide panels.
            shared_panels = count_shared(last.path, box.path)
            most_height = max(_LEAST_HEIGHT, best_height) * (1 + 0.3 * shared_panels)
            same_resolution = last.output_shape[:-1] == box.output_shape[:-1] or box.kind == "data"
            if column_height > most_height or (not same_resolution and len(column) > 1):
                cut = _best_cut(boxes, column, cuts, box)
                yield column[:cut]
                column = column[cut:]
                cuts = set()
                column_height = sum(_height(boxes[index]) for index in column)
            else:
                cuts.add(len(column))
        column.append(index)
        if not box.is_side_box:
            column_height += _height(box)
        waiting.add(index)
        waiting = {source for source in waiting if last_readers.get(source, 0) > index}
    yield column


def _may_end(boxes: Sequence[Box], column: Sequence[int], waiting: set[int], box: Box) -> bool:
    """Return whether a column may end before `box`: later boxes read only the column's last box."""
    last = column[-1]
    beside_side_box = box.is_side_box or boxes[last].is_side_box
    return waiting == {last} and not beside_side_box


def _best_cut(boxes: Sequence[Box], column: Sequence[int], cuts: set[int], following: Box) -> int:
    """Return how many boxes of a column to keep; the others move to the next column.

    Up to three boxes move if a panel begins with them and would be divided otherwise. `cuts` has
    the allowed numbers of boxes. `following` is the first box after the column.
    """
    shared_at_end = count_shared(boxes[column[-1]].path, following.path)
    for cut in range(len(column) - 1, max(len(column) - 4, 1), -1):
        shared_at_cut = count_shared(boxes[column[cut - 1]].path, boxes[column[cut]].path)
        if cut in cuts and shared_at_cut < shared_at_end:
            return cut
    return len(column)


def _height(box: Box) -> float:
    """Return the height in points that a box, its gap and its panels' edges take in a column."""
    return box.size[1] + _GAP + _PANEL_EDGES * len(box.path)


def count_shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many panels contain both of two boxes, given each box's panels from outside in."""
    shared = 0
    while shared < min(len(first), len(second)) and first[shared] == second[shared]:
        shared += 1
    return shared
