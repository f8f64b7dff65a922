"""The parts of a drawn network's layout: panels, arrows, branches and the heads of columns.

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
    """A panel around the boxes of a module; `depth` is the number of panels around it."""

    name: str
    depth: int
    left: float
    top: float
    right: float = 0
    bottom: float = 0


@dataclasses.dataclass
class Branch:
    """A way of an array from a fork in the column through a lane to the boxes that read it.

    Attributes:
      start: y where its arrows begin: at the box above the fork, or at the fork itself if an arrow
        to the box below passes there.
      top: y of the fork, where it leaves the column.
      bottom: y of its last reader.
      targets: indices of the boxes that read it.
      side_box: the index of the box in its lane, if there is one.
      is_identity: whether it is a skip connection that changes nothing, and is named so.
      lane: the number of its lane, from left to right.
    """

    start: float
    top: float
    bottom: float
    targets: list[int]
    side_box: int | None = None
    is_identity: bool = False
    lane: int = 0

    @property
    def width(self) -> float:
        """The width of the lane that it needs."""
        if self.side_box is not None:
            return _BOX_LANE_WIDTH
        return _NAMED_LANE_WIDTH if self.is_identity else LANE_WIDTH


class Arrow(NamedTuple):
    """An arrow along points. It starts to turn at most `bend` before each corner."""

    points: list[Point]
    bend: float


class Header(NamedTuple):
    """The head of a column: the shape of the array that leaves it, and x of its middle."""

    shape: Shape
    x: float


@dataclasses.dataclass
class Layout:
    """The places of everything that is drawn.

    Attributes:
      centres: the centre of each box, by its index.
      arrows: the arrows between boxes.
      forks: points where an arrow leaves another one.
      identities: points at which a skip connection is named "identity".
      panels: the panels around boxes.
      headers: the heads of the columns.
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
