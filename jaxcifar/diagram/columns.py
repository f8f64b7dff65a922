"""The columns of a drawn network: which boxes stand below each other."""

import itertools
import math
from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import WIDTH, Box

_GAP = 15
_LEAST_HEIGHT, _ASPECT = 620, 1.5


def split_columns(boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Places of the boxes of each column."""
    last: dict[int, int] = {}  # reader of each box
    for index, box in enumerate(boxes):
        last |= dict.fromkeys(box.sources, index)
    tall = math.sqrt(sum(_room(box) for box in boxes) * (WIDTH + 80) / _ASPECT)
    column: list[int] = []
    height = 0.0
    open_ways: set[int] = set()
    cuts: set[int] = set()
    for index, box in enumerate(boxes):
        if column and open_ways == {column[-1]} and not (box.side or boxes[column[-1]].side):
            before = boxes[column[-1]]
            limit = max(_LEAST_HEIGHT, tall) * (1 + 0.3 * shared(before.path, box.path))
            other = before.output[:-1] != box.output[:-1] and box.kind != "data"
            if (other and len(column) > 1) or height > limit:
                cut = _cut(boxes, column, cuts, box)
                yield column[:cut]
                column, cuts = column[cut:], set()
                height = sum(_room(boxes[index]) for index in column)
            else:
                cuts.add(len(column))
        column.append(index)
        height += 0 if box.side else _room(box)
        open_ways = {way for way in (*open_ways, index) if last.get(way, 0) > index}
    yield column


def _cut(boxes: Sequence[Box], column: Sequence[int], cuts: set[int], following: Box) -> int:
    """How many boxes to leave in a column: without those of a panel that has only just begun."""
    inside = shared(boxes[column[-1]].path, following.path)
    for cut in range(len(column) - 1, max(len(column) - 4, 1), -1):
        around = shared(boxes[column[cut - 1]].path, boxes[column[cut]].path)
        if cut in cuts and around < inside:
            return cut
    return len(column)


def _room(box: Box) -> float:
    return box.size[1] + _GAP + 6 * len(box.path)


def shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many panels two boxes share."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return len(list(same))
