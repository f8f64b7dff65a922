"""The parts of a drawn network's layout: frames, arrows, branches and column headings.

Lengths are in points; y grows downwards.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jaxcifar.diagram.boxes import SIDE_BOX_WIDTH
from jaxcifar.diagram.operation import Shape

Point = tuple[float, float]
GUTTER = 32  # between two columns
PADDING = 9  # between a frame's edge and what is in it
PLAIN_LANE_WIDTH, _IDENTITY_LANE_WIDTH, _SIDE_BOX_LANE_WIDTH = 16, 52, SIDE_BOX_WIDTH + 2 * PADDING


@dataclasses.dataclass
class Frame:
    """A frame around the boxes of one module; `depth` is the number of frames that contain it."""

    name: str
    depth: int
    left: float
    top: float
    right: float = 0
    bottom: float = 0

    def contains(self, point: Point) -> bool:
        x, y = point
        return self.left < x < self.right and self.top < y < self.bottom


class BranchPoint(NamedTuple):
    """A point in a column where an array also leaves the column, into one or more branches.

    Attributes:
      source: the index of the box whose output is the array.
      box_below: the index of the box below the branch point.
      y: the y coordinate of the branch point.
    """

    source: int
    box_below: int
    y: float


@dataclasses.dataclass
class Branch:
    """The path of an array from a branch point, through a lane beside the column, to other boxes.

    Attributes:
      start_y: y where the branch's arrows begin. They begin at the branch point if it is on the
        arrow to the box below, otherwise at the box above.
      top: y of the branch point, where the branch leaves the column.
      bottom: y of the last box that reads the array.
      target_boxes: indices of the boxes that read the array.
      side_box: the index of the box in the branch's lane, if there is one.
      is_identity: True if the branch is a plain skip connection, drawn with the word "identity".
      lane: the number of the branch's lane (a vertical strip), from left to right.
    """

    start_y: float
    top: float
    bottom: float
    target_boxes: list[int]
    side_box: int | None = None
    is_identity: bool = False
    lane: int = 0

    def overlaps(self, other: "Branch") -> bool:
        """Return whether two branches have a height in common, and so can't share a lane."""
        return self.top < other.bottom and other.top < self.bottom

    @property
    def width(self) -> float:
        """The width, in points, of the lane (a vertical strip) that the branch needs."""
        if self.side_box is not None:
            return _SIDE_BOX_LANE_WIDTH
        return _IDENTITY_LANE_WIDTH if self.is_identity else PLAIN_LANE_WIDTH


def assign_lanes(branches: list[Branch]) -> None:
    """Sort branches by length, shortest first, and give overlapping branches different lanes.

    A lane is a vertical strip beside a column of boxes.
    """
    branches.sort(key=lambda branch: (branch.bottom - branch.top, branch.top))
    for number, branch in enumerate(branches):
        taken_lanes = [other.lane for other in branches[:number] if other.overlaps(branch)]
        branch.lane = max(taken_lanes, default=-1) + 1


def find_lane_edges(branches: Sequence[Branch], first_edge: float) -> list[float]:
    """Return the x coordinates of the edges of all lanes, from left to right.

    A lane is a vertical strip for branches. There is one edge more than lanes.

    Args:
      branches: the branches, whose lanes are known.
      first_edge: x of the left edge of the first lane.
    """
    lane_edges = [first_edge]
    lane_count = max((branch.lane for branch in branches), default=-1) + 1
    for lane in range(lane_count):
        lane_width = max(branch.width for branch in branches if branch.lane == lane)
        lane_edges.append(lane_edges[-1] + lane_width)
    return lane_edges


class Arrow(NamedTuple):
    """An arrow through points, with rounded corners; `bend` limits the size of the rounding."""

    points: list[Point]
    bend: float


class ColumnEnd(NamedTuple):
    """The index of a column's last box, and the point where the arrow to the next column begins."""

    box: int
    point: Point


class Header(NamedTuple):
    """A column's heading: the shape of the column's output, and the x coordinate of its middle."""

    shape: Shape
    x: float


@dataclasses.dataclass
class Layout:
    """The positions of everything in a network's drawing.

    Attributes:
      centres: the centre of each box, by the box's index.
      arrows: the arrows between boxes.
      branch_dots: points where an arrow branches off from another arrow, drawn as dots.
      identity_labels: points where the word "identity" is written on a skip connection.
      frames: the frames around boxes.
      headers: the headings of the columns.
      width, height: the size of the drawing.
    """

    centres: dict[int, Point] = dataclasses.field(default_factory=dict)
    arrows: list[Arrow] = dataclasses.field(default_factory=list)
    branch_dots: list[Point] = dataclasses.field(default_factory=list)
    identity_labels: list[Point] = dataclasses.field(default_factory=list)
    frames: list[Frame] = dataclasses.field(default_factory=list)
    headers: list[Header] = dataclasses.field(default_factory=list)
    width: float = 0
    height: float = 0
