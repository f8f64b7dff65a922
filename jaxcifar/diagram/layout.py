"""Where the boxes of a drawn network stand, and the ways between them.

Boxes stand in columns in the order in which they are computed, each joined to the next by an arrow
if it feeds it. Every other edge runs through a lane at the side of its column, and a new column
begins only where one array alone is passed on. Lengths are in points; y grows downwards.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import RADIUS, SIDE_WIDTH, WIDTH, Box
from jaxcifar.diagram.columns import shared, split_columns
from jaxcifar.diagram.trace import Shape

Point = tuple[float, float]

GAP, PAD, GUTTER, TOP = 15, 9, 32, 126
_FORK, _LABEL = 13, 16  # room above and below a fork, and for a panel's name
_NARROW, _NAMED, _WIDE = 16, 52, SIDE_WIDTH + 2 * PAD  # lanes


@dataclasses.dataclass
class Panel:
    """Drawn around the boxes of a module that holds several; `depth` of them lie around it."""

    label: str
    depth: int
    left: float
    top: float
    right: float = 0
    bottom: float = 0


@dataclasses.dataclass
class Net:
    """An array on its way through a lane, from where it forks to all that read it.

    Attributes:
      start: where the arrow to the box below begins, if there is one that goes on there.
      top, bottom: where it leaves the column, and its last reader.
      targets: indices of boxes.
      box: index of the box that stands on the way, if any.
      named: whether to write on it that it is a skip.
    """

    start: float
    top: float
    bottom: float
    targets: list[int]
    box: int | None = None
    named: bool = False
    lane: int = 0

    @property
    def width(self) -> float:
        """Of the lane that it needs."""
        if self.box is not None:
            return _WIDE
        return _NAMED if self.named else _NARROW


@dataclasses.dataclass
class Layout:
    """All that is to be drawn.

    Attributes:
      centres: of each box.
      ways: points of each arrow, and how far from a corner it starts to turn.
      dots: where ways fork.
      names: of skips that nothing changes.
      headers: the shape at the head of each column, and its middle.
    """

    centres: dict[int, Point] = dataclasses.field(default_factory=dict)
    ways: list[tuple[list[Point], float]] = dataclasses.field(default_factory=list)
    dots: list[Point] = dataclasses.field(default_factory=list)
    names: list[Point] = dataclasses.field(default_factory=list)
    panels: list[Panel] = dataclasses.field(default_factory=list)
    headers: list[tuple[Shape, float]] = dataclasses.field(default_factory=list)
    width: float = 0
    height: float = 0


def lay_out(boxes: Sequence[Box]) -> Layout:
    """Lay out everything."""
    layout = Layout()
    left, flow = 0.0, None
    for column in split_columns(boxes):
        left, flow = _Column(boxes, column, layout, left).lay_out(flow)
    layout.width = left
    layout.height += 2 * GAP
    return layout


class _Column:
    """One column, being laid out."""

    def __init__(
        self, boxes: Sequence[Box], column: Sequence[int], layout: Layout, left: float
    ) -> None:
        self._boxes, self._layout, self._left = boxes, layout, left
        self._main = [index for index in column if not boxes[index].side]
        self._side = [index for index in column if boxes[index].side]
        self._depth = max(len(boxes[index].path) for index in column)
        self._x = left + PAD * (self._depth + 1) + WIDTH / 2
        self._y = float(TOP)
        self._forks: dict[int, float] = {}  # by source
        self._open: list[Panel] = []
        self._panels: list[Panel] = []

    def lay_out(self, flow: tuple[int, Point] | None) -> tuple[float, tuple[int, Point]]:
        """Lay out all, entered by the way of a box ending at a point; gives the next of both."""
        source = flow[0] if flow else None
        for index in self._main:
            self._lay_box(index, source)
            source = index
        self._close(0)
        right = self._lay_lanes()
        self._layout.panels += self._panels
        last = self._main[-1]
        self._layout.headers.append((self._boxes[last].output, self._x))
        self._layout.height = max(self._layout.height, self._y)
        if flow:
            before, entry = flow
            self._enter(entry, before)
        end = (self._x, self._bottom(last))
        return right + GUTTER, (last, end)

    def _lay_box(self, index: int, source: int | None) -> None:
        box, path = self._boxes[index], self._boxes[index].path
        targets = self._lane_targets(source, index)
        if source in self._main:
            self._close(shared(self._boxes[source].path, path))
            self._y += GAP if path or not targets else GAP / 2
        level = len(self._open)
        for target in targets:
            level = max(level, shared(path, self._boxes[target].path))
        fork_at = min((shared(path, self._boxes[t].path) for t in targets), default=level)
        fork_at = max(fork_at, len(self._open))
        for depth in range(len(self._open), len(path) + 1):
            if source is not None and targets and depth == fork_at:
                self._forks[source] = self._y + (_FORK / 2 if depth == len(self._open) else 0)
                self._y += _FORK * 1.3
            if depth < len(path):
                self._open_panel(path[depth], depth)
        start, height = self._y, box.size[1]
        self._layout.centres[index] = (self._x, start + height / 2)
        self._y += height
        if source in self._main and source in box.sources:
            self._layout.ways.append(([(self._x, self._bottom(source)), (self._x, start)], 0))

    def _lane_targets(self, source: int | None, following: int) -> list[int]:
        """Boxes that read from a source otherwise than by the arrow to the one that follows it."""
        column = (*self._main, *self._side)
        return [p for p in column if source in self._boxes[p].sources and p != following]

    def _open_panel(self, label: str, depth: int) -> None:
        panel = Panel(label, depth, self._left + PAD * depth, self._y)
        self._open.append(panel)
        self._panels.append(panel)
        self._y += _LABEL

    def _close(self, depth: int) -> None:
        while len(self._open) > depth:
            self._y += PAD
            self._open.pop().bottom = self._y

    def _bottom(self, index: int) -> float:
        return self._layout.centres[index][1] + self._boxes[index].size[1] / 2

    def _nets(self) -> Iterator[Net]:
        heights = {index: centre[1] for index, centre in self._layout.centres.items()}
        for source, fork in self._forks.items():
            at = self._main.index(source) + 1 if source in self._main else 0
            targets = self._lane_targets(source, self._main[at])
            goes_on = source in self._boxes[self._main[at]].sources
            start = fork if goes_on or not at else self._bottom(source)
            direct = [index for index in targets if not self._boxes[index].side]
            if direct:
                named = all(self._boxes[index].nodes[0].name == "+" for index in direct)
                bottom = max(heights[index] for index in direct)
                yield Net(start, fork, bottom, direct, named=named)
            for index in set(targets) - set(direct):
                join = next(main for main in self._main if index in self._boxes[main].sources)
                yield Net(start, fork, heights[join], [join], index)

    def _lay_lanes(self) -> float:
        """Lay out all ways through lanes and what stands on them; returns where the column ends."""
        nets = sorted(self._nets(), key=lambda net: (net.bottom - net.top, net.top))
        for number, net in enumerate(nets):
            beside = [n.lane for n in nets[:number] if n.top < net.bottom and net.top < n.bottom]
            net.lane = max(beside, default=-1) + 1
        edge = self._x + WIDTH / 2 + PAD * (self._depth + 1)
        edges = [edge - PAD * 0.6]  # of the lanes, from left to right
        for lane in range(max((net.lane for net in nets), default=-1) + 1):
            edges.append(edges[-1] + max(net.width for net in nets if net.lane == lane))
        for net in nets:
            self._draw_net(net, (edges[net.lane] + edges[net.lane + 1]) / 2)
        for panel in self._panels:
            inner = [n.lane for n in nets if panel.top <= n.top and n.bottom <= panel.bottom]
            below = self._depth - panel.depth
            panel.right = self._x + WIDTH / 2 + PAD * below
            if inner:
                panel.right = edges[max(inner) + 1] + PAD / 3 * below
        return max([edges[-1] + PAD * 0.6, *(panel.right for panel in self._panels)])

    def _draw_net(self, net: Net, lane: float) -> None:
        layout, fork = self._layout, (self._x, net.top)
        start = [fork] if net.start == net.top else [(self._x, net.start), fork]
        for target in net.targets:
            x, y = layout.centres[target]
            side = x + (RADIUS if self._boxes[target].kind == "operator" else WIDTH / 2)
            bend = 28 if net.width > _NARROW else 7
            layout.ways.append(([*start, (lane, net.top), (lane, y), (side, y)], bend))
        if len(start) == 1:
            layout.dots.append(fork)
        middle = (lane, (net.top + net.bottom) / 2)
        if net.box is not None:
            layout.centres[net.box] = middle
        elif net.named:
            layout.names.append(middle)

    def _enter(self, entry: Point, before: int) -> None:
        """Draw the way from the column before, up through the gutter."""
        layout, first = self._layout, self._main[0]
        high, gutter, low = TOP - 0.9 * GAP, self._left - GUTTER / 2, entry[1] + 1.5 * GAP
        closings = len(self._boxes[before].path) * PAD
        low += closings
        end = self._layout.centres[first][1] - self._boxes[first].size[1] / 2
        turns = [entry, (entry[0], low), (gutter, low), (gutter, high), (self._x, high)]
        layout.ways.append(([*turns, (self._x, end)], 7))
        layout.height = max(layout.height, low)
