"""The places of the boxes of a drawn network, and the arrows between them.

Boxes stand in columns, in the order of computation. An arrow joins a box to the next box if
the next box reads its output. Other edges run through lanes, vertical strips right of a column. A
new column begins only where a single array is passed on. Lengths are in points; y grows downwards.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxcifar.diagram.boxes import BOX_WIDTH, OPERATOR_RADIUS, Box
from jaxcifar.diagram.columns import count_shared, split_columns
from jaxcifar.diagram.layout_parts import (
    LANE_WIDTH,
    PADDING,
    Arrow,
    Branch,
    Header,
    Layout,
    Panel,
    Point,
)

GUTTER = 32  # between two columns
_TOP = 126  # of the first box or panel
_GAP = 15  # between two boxes
_FORK_HEIGHT = 13  # room for a fork above the next box
_PANEL_NAME_HEIGHT = 16


class _ColumnEnd(NamedTuple):
    """The index of a column's last box, and the point where the arrow to the next column begins."""

    box: int
    point: Point


def lay_out(boxes: Sequence[Box]) -> Layout:
    """Return the positions of all boxes, arrows and panels of a network's drawing."""
    layout = Layout()
    left = 0.0
    previous_end: _ColumnEnd | None = None
    for indices in split_columns(boxes):
        column = _Column(boxes, indices, layout, left)
        previous_end = column.lay_out(previous_end)
        left = column.right + GUTTER
    layout.width = left
    layout.height += 2 * _GAP
    return layout


class _Column:
    """One column of a drawing, which adds its boxes, arrows and panels to a layout.

    Attributes:
      right: x of the column's right edge, once `lay_out` has run.
    """

    def __init__(
        self, boxes: Sequence[Box], column: Sequence[int], layout: Layout, left: float
    ) -> None:
        self.right = left
        self._boxes, self._layout, self._left = boxes, layout, left
        self._main_boxes = [index for index in column if not boxes[index].is_side_box]
        self._side_boxes = [index for index in column if boxes[index].is_side_box]
        self._depth = max(len(boxes[index].path) for index in column)
        self._x = left + PADDING * (self._depth + 1) + BOX_WIDTH / 2  # middle of the main boxes
        self._y = float(_TOP)  # lower end of what is placed so far
        self._forks: dict[int, float] = {}  # source -> y of the fork below it
        self._open_panels: list[Panel] = []
        self._panels: list[Panel] = []

    def lay_out(self, previous_end: _ColumnEnd | None) -> _ColumnEnd:
        """Place the boxes, arrows and panels of this column, and return the end of the column.

        `previous_end` is the end of the column before it, or None for the first column.
        """
        source = previous_end.box if previous_end else None
        for index in self._main_boxes:
            self._lay_out_box(index, source)
            source = index
        self._close_panels(0)
        self._lay_out_lanes()
        self._layout.panels += self._panels
        last_box = self._main_boxes[-1]
        self._layout.headers.append(Header(self._boxes[last_box].output_shape, self._x))
        self._layout.height = max(self._layout.height, self._y)
        if previous_end:
            self._draw_arrow_from_previous_column(previous_end)
        return _ColumnEnd(last_box, (self._x, self._bottom(last_box)))

    def _lay_out_box(self, index: int, source: int | None) -> None:
        """Place a box below the previous box, with the panel edges and the fork between them.

        A fork is the point where an array also leaves the column to other boxes.

        Args:
          index: index of the box.
          source: index of the previous box, perhaps in the previous column; None for the first box.
        """
        box, path = self._boxes[index], self._boxes[index].path
        branch_readers = self._branch_readers(source, index)
        if source in self._main_boxes:
            self._close_panels(count_shared(self._boxes[source].path, path))
            needs_full_gap = path or not branch_readers
            self._y += _GAP if needs_full_gap else _GAP / 2
        shared_panels = [count_shared(path, self._boxes[reader].path) for reader in branch_readers]
        fork_depth = max(min(shared_panels, default=0), len(self._open_panels))
        for depth in range(len(self._open_panels), len(path) + 1):
            if source is not None and branch_readers and depth == fork_depth:
                inside_open_panel = depth == len(self._open_panels)
                self._forks[source] = self._y + (_FORK_HEIGHT / 2 if inside_open_panel else 0)
                self._y += _FORK_HEIGHT * 1.3
            if depth < len(path):
                self._open_panel(path[depth], depth)
        top = self._y
        self._y += box.size[1]
        self._layout.centres[index] = (self._x, top + box.size[1] / 2)
        if source in self._main_boxes and source in box.sources:
            start = (self._x, self._bottom(source))
            self._layout.arrows.append(Arrow([start, (self._x, top)], bend=0))

    def _branch_readers(self, source: int | None, following: int) -> list[int]:
        """Return the indices of the boxes of this column that read the output of the box `source`.

        The box `following` is left out.
        """
        column = (*self._main_boxes, *self._side_boxes)
        readers = [index for index in column if source in self._boxes[index].sources]
        return [index for index in readers if index != following]

    def _open_panel(self, name: str, depth: int) -> None:
        panel = Panel(name, depth, self._left + PADDING * depth, self._y)
        self._open_panels.append(panel)
        self._panels.append(panel)
        self._y += _PANEL_NAME_HEIGHT

    def _close_panels(self, depth: int) -> None:
        """Set the lower edge of all open panels (frames) except the `depth` outermost ones."""
        while len(self._open_panels) > depth:
            self._y += PADDING
            self._open_panels.pop().bottom = self._y

    def _bottom(self, index: int) -> float:
        return self._layout.centres[index][1] + self._boxes[index].size[1] / 2

    def _lay_out_lanes(self) -> None:
        """Draw each branch in a lane to the right of the boxes, and set the panels' right edges.

        A lane is a vertical strip; branches at the same height need different lanes.
        """
        branches = list(self._branches())
        branches.sort(key=lambda branch: (branch.bottom - branch.top, branch.top))
        for number, branch in enumerate(branches):
            taken_lanes = [other.lane for other in branches[:number] if other.overlaps(branch)]
            branch.lane = max(taken_lanes, default=-1) + 1
        edges = self._lane_edges(branches)
        for branch in branches:
            self._draw_branch(branch, (edges[branch.lane] + edges[branch.lane + 1]) / 2)
        for panel in self._panels:
            lanes_inside = [
                branch.lane
                for branch in branches
                if panel.top <= branch.top and branch.bottom <= panel.bottom
            ]
            inner_panels = self._depth - panel.depth
            if lanes_inside:
                panel.right = edges[max(lanes_inside) + 1] + PADDING / 3 * inner_panels
            else:
                panel.right = self._x + BOX_WIDTH / 2 + PADDING * inner_panels
        self.right = max([edges[-1] + PADDING * 0.6, *(panel.right for panel in self._panels)])

    def _lane_edges(self, branches: Sequence[Branch]) -> list[float]:
        """Return the x coordinates of the edges of all lanes, from left to right.

        A lane is a vertical strip for branches. There is one edge more than lanes.
        """
        left = self._x + BOX_WIDTH / 2 + PADDING * (self._depth + 1)
        edges = [left - PADDING * 0.6]
        lane_count = max((branch.lane for branch in branches), default=-1) + 1
        for lane in range(lane_count):
            lane_width = max(branch.width for branch in branches if branch.lane == lane)
            edges.append(edges[-1] + lane_width)
        return edges

    def _branches(self) -> Iterator[Branch]:
        """Yield the paths of arrays that leave the column at a fork and come back further down."""
        for source, fork in self._forks.items():
            is_in_column = source in self._main_boxes
            next_position = self._main_boxes.index(source) + 1 if is_in_column else 0
            next_box = self._main_boxes[next_position]
            arrow_passes_fork = source in self._boxes[next_box].sources or not is_in_column
            start = fork if arrow_passes_fork else self._bottom(source)
            readers = self._branch_readers(source, next_box)
            main_readers = [index for index in readers if not self._boxes[index].is_side_box]
            if main_readers:
                bottom = max(self._layout.centres[index][1] for index in main_readers)
                is_identity = all(self._boxes[index].nodes[0].name == "+" for index in main_readers)
                yield Branch(start, fork, bottom, main_readers, is_identity=is_identity)
            for side_box in readers:
                if self._boxes[side_box].is_side_box:
                    join, *_ = self._branch_readers(side_box, following=side_box)
                    bottom = self._layout.centres[join][1]
                    yield Branch(start, fork, bottom, [join], side_box)

    def _draw_branch(self, branch: Branch, lane: float) -> None:
        """Add the arrows of a branch, and its side box or the word "identity".

        `lane` is the x coordinate of the vertical part of the branch, right of the boxes.
        """
        layout = self._layout
        fork = (self._x, branch.top)
        starts_at_fork = branch.start == branch.top
        beginning = [fork] if starts_at_fork else [(self._x, branch.start), fork]
        bend = 28 if branch.width > LANE_WIDTH else 7
        for target in branch.targets:
            x, y = layout.centres[target]
            is_operator = self._boxes[target].kind == "operator"
            edge = x + (OPERATOR_RADIUS if is_operator else BOX_WIDTH / 2)
            layout.arrows.append(
                Arrow([*beginning, (lane, branch.top), (lane, y), (edge, y)], bend)
            )
        if starts_at_fork:
            layout.forks.append(fork)
        middle = (lane, (branch.top + branch.bottom) / 2)
        if branch.side_box is not None:
            layout.centres[branch.side_box] = middle
        elif branch.is_identity:
            layout.identities.append(middle)

    def _draw_arrow_from_previous_column(self, previous_end: _ColumnEnd) -> None:
        """Add the arrow from the previous column, which runs up between the two columns."""
        layout, first_box = self._layout, self._main_boxes[0]
        start_x, start_y = previous_end.point
        panels_to_leave = len(self._boxes[previous_end.box].path)
        low = start_y + 1.5 * _GAP + panels_to_leave * PADDING
        high = _TOP - 0.9 * _GAP
        gutter = self._left - GUTTER / 2
        end = layout.centres[first_box][1] - self._boxes[first_box].size[1] / 2
        corners = [(start_x, low), (gutter, low), (gutter, high), (self._x, high)]
        layout.arrows.append(Arrow([previous_end.point, *corners, (self._x, end)], bend=7))
        layout.height = max(layout.height, low)
