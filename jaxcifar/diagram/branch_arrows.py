"""Draw a branch: the arrows of an array that leaves a column of boxes, and comes back further down.

Lengths are in points; y grows downwards.
"""

from collections.abc import Sequence

from jaxcifar.diagram.boxes import BOX_WIDTH, OPERATOR_RADIUS, Box
from jaxcifar.diagram.layout_parts import PLAIN_LANE_WIDTH, Arrow, Branch, Layout, Point

WIDE_BEND, NARROW_BEND = 28, 7  # roundings of arrows


def add_branch(
    layout: Layout, boxes: Sequence[Box], branch: Branch, column_x: float, lane_x: float
) -> None:
    """Add a branch to a layout: its arrows, and a side box or the word "identity" if it has one.

    From the fork, an arrow runs right into the lane, down the lane, and left to the box that reads
    the array.

    Args:
      layout: the layout, changed in place.
      boxes: all boxes of the drawing.
      branch: the branch.
      column_x: x of the middle of the column.
      lane_x: x of the middle of the branch's lane, right of the column.
    """
    start = (column_x, branch.start_y)
    fork = (column_x, branch.top)
    starts_at_fork = start == fork
    points_to_fork = [fork] if starts_at_fork else [start, fork]
    top_of_lane = (lane_x, branch.top)
    bend = WIDE_BEND if branch.width > PLAIN_LANE_WIDTH else NARROW_BEND
    for target_box in branch.target_boxes:
        arrow_end = _right_end(boxes[target_box], layout.centres[target_box])
        bottom_of_lane = (lane_x, arrow_end[1])
        points = [*points_to_fork, top_of_lane, bottom_of_lane, arrow_end]
        layout.arrows.append(Arrow(points, bend))
    if starts_at_fork:
        layout.forks.append(fork)
    middle_of_lane = (lane_x, (branch.top + branch.bottom) / 2)
    if branch.side_box is not None:
        layout.centres[branch.side_box] = middle_of_lane
    elif branch.is_identity:
        layout.identities.append(middle_of_lane)


def _right_end(box: Box, centre: Point) -> Point:
    """Return the middle of a box's right edge; `centre` is the centre of the box."""
    x, y = centre
    half_width = OPERATOR_RADIUS if box.kind == "operator" else BOX_WIDTH / 2
    return (x + half_width, y)
