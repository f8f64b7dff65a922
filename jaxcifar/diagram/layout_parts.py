"""The parts of a drawn network's layout: panels, arrows, branches and column headings.

Lengths are in points; y grows downwards.
"""

import dataclasses
from typing import NamedTuple

from jaxcifar.diagram.boxes import SIDE_BOX_WIDTH
from jaxcifar.diagram.operation import Shape

Point = tuple[float, float]
PADDING = 9  # between a panel's edge and what is in it
LANE_WIDTH, _NAMED_LANE_WIDTH, _BOX_LANE_WIDTH = 16, 52, SIDE_BOX_WIDTH + 2 * PADDING


@dataclasses.dataclass
class Panel:
    """A frame around the boxes of one module; `depth` is the number of panels that contain it."""

    name: str
    depth: int
    left: float
    top: float
    right: float = 0
    bottom: float = 0


@dataclasses.dataclass
class Branch:
    """The path of an array from a fork in a column, through a lane beside it, to its readers.

    Attributes:
      start: y where the branch's arrows begin. If an arrow to the box below passes the fork, the
        branch's arrows begin at the fork, otherwise at the box above.
      top: y of the fork, where the branch leaves the column.
      bottom: y of the last box that reads the array.
      targets: indices of the boxes that read the array.
      side_box: the index of the box in the branch's lane, if there is one.
      is_identity: True if the branch is a plain skip connection, drawn with the word "identity".
      lane: the number of the branch's lane (a vertical strip), from left to right.
    """

    start: float
    top: float
    bottom: float
    targets: list[int]
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
            return _BOX_LANE_WIDTH
        return _NAMED_LANE_WIDTH if self.is_identity else LANE_WIDTH


class Arrow(NamedTuple):
    """An arrow through points, with rounded corners; `bend` limits the size of the rounding."""

    points: list[Point]
    bend: float


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
      forks: points where an arrow branches off from another arrow.
      identities: points where the word "identity" is written on a skip connection.
      panels: the panels around boxes.
      headers: the headings of the columns.
      width, height: the size of the drawing.
    """

    centres: dict[int, Point] = dataclasses.field(default_factory=dict)
    arrows: list[Arrow] = dataclasses.field(default_factory=list)
    forks: list[Point] = dataclasses.field(default_factory=list)
    identities: list[Point] = dataclasses.field(default_factory=list)
    panels: list[Panel] = dataclasses.field(default_factory=list)
    headers: list[Header] = dataclasses.field(default_factory=list)
    width: float = 0
    height: float = 0
