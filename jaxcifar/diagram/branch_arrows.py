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

    From the branch point, an arrow runs right into the lane, down the lane, and left to the box
    that reads the array.

    Args:
      layout: the layout, changed in place.
      boxes: all boxes of the drawing.
      branch: the branch.
      column_x: x of the middle of the column.
      lane_x: x of the middle of the branch's lane, a vertical strip right of the column.
    """
    arrow_start = (column_x, branch.start_y)
    branch_point = (column_x, branch.top)
    starts_on_other_arrow = arrow_start == branch_point
    first_points = [branch_point] if starts_on_other_arrow else [arrow_start, branch_point]
    lane_top = (lane_x, branch.top)
    bend = WIDE_BEND if branch.width > PLAIN_LANE_WIDTH else NARROW_BEND
    for target_box in branch.target_boxes:
        arrow_end = _right_end(boxes[target_box], layout.centres[target_box])
        _, arrow_end_y = arrow_end
        lane_bottom = (lane_x, arrow_end_y)
        points = [*first_points, lane_top, lane_bottom, arrow_end]
        layout.arrows.append(Arrow(points, bend))
    if starts_on_other_arrow:
        layout.branch_dots.append(branch_point)
    lane_middle = (lane_x, (branch.top + branch.bottom) / 2)
    if branch.side_box is not None:
        layout.centres[branch.side_box] = lane_middle
    elif branch.is_identity:
        layout.identity_labels.append(lane_middle)


def _right_end(box: Box, centre: Point) -> Point:
    """Return the middle of a box's right edge; `centre` is the centre of the box."""
    x, y = centre
    half_width = OPERATOR_RADIUS if box.kind == "operator" else BOX_WIDTH / 2
    return (x + half_width, y)
