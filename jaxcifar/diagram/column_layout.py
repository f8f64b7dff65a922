"""The places of the boxes in one column of a drawn network, and the arrows between them.

An arrow leads from a box to the next box if the next box reads its output. An array that a box
further down reads leaves the column at a fork, and runs down in a lane: a vertical strip right of
the column. Lengths are in points; y grows downwards.
"""

from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import BOX_GAP, BOX_WIDTH, Box
from jaxcifar.diagram.branch_arrows import NARROW_BEND, add_branch
from jaxcifar.diagram.columns import count_shared_panels
from jaxcifar.diagram.layout_parts import (
    GUTTER,
    PADDING,
    Arrow,
    Branch,
    ColumnEnd,
    Header,
    Layout,
    Panel,
    assign_lanes,
    find_lane_edges,
)

_COLUMN_TOP = 126  # y of the first box or panel
_FORK_HEIGHT = 13
_FORK_SPACING = 1.3  # room for a fork above the next box, as a multiple of `_FORK_HEIGHT`
_LANES_OVERLAP = PADDING * 0.6  # by which lanes reach into the edges of the panels beside them
_LANE_PADDING = PADDING / 3  # between a lane and the edge of a panel around it, for each panel
_PANEL_NAME_HEIGHT = 16
# Distances of an arrow between two columns from the boxes below and above which it runs.
_GAP_BELOW_COLUMN, _GAP_ABOVE_COLUMN = 1.5 * BOX_GAP, 0.9 * BOX_GAP


class Column:
    """One column of a drawing, which adds its boxes, arrows and panels to a layout.

    Attributes:
      right: x of the column's right edge, once `lay_out` has run.
    """

    def __init__(
        self, boxes: Sequence[Box], box_indices: Sequence[int], layout: Layout, left: float
    ) -> None:
        self.right = left
        self._boxes, self._layout, self._left = boxes, layout, left
        self._main_boxes = [index for index in box_indices if not boxes[index].is_side_box]
        self._side_boxes = [index for index in box_indices if boxes[index].is_side_box]
        self._max_panel_depth = max(len(boxes[index].panel_names) for index in box_indices)
        width_of_panel_edges = PADDING * (self._max_panel_depth + 1)
        self._middle_x = left + width_of_panel_edges + BOX_WIDTH / 2  # of the main boxes
        self._next_y = float(_COLUMN_TOP)  # lower end of the boxes and panels placed so far
        self._fork_y_of_source: dict[int, float] = {}  # box above the fork -> y of the fork
        self._open_panels: list[Panel] = []
        self._panels: list[Panel] = []

    def lay_out(self, previous_end: ColumnEnd | None) -> ColumnEnd:
        """Place this column's boxes, arrows and panels; return where its last box is.

        `previous_end` says where the last box of the previous column is; None for the first column.
        """
        previous_box = previous_end.box if previous_end else None
        for box_index in self._main_boxes:
            self._lay_out_box(box_index, previous_box)
            previous_box = box_index
        self._close_panels(kept_count=0)
        self._lay_out_lanes()
        self._layout.panels += self._panels
        last_box = self._main_boxes[-1]
        self._layout.headers.append(Header(self._boxes[last_box].output_shape, self._middle_x))
        self._layout.height = max(self._layout.height, self._next_y)
        if previous_end:
            self._add_arrow_from_previous_column(previous_end)
        return ColumnEnd(last_box, (self._middle_x, self._bottom_of_box(last_box)))

    def _lay_out_box(self, box_index: int, previous_box: int | None) -> None:
        """Place a box below the previous box.

        Between them, panels (frames) end and begin. A fork is there if boxes further down read the
        previous box too.

        Args:
          box_index: index of the box.
          previous_box: index of the previous box, perhaps in the previous column; None for the
            first box.
        """
        box = self._boxes[box_index]
        branch_readers = self._other_readers(previous_box, box_index)
        if previous_box in self._main_boxes:
            previous_panel_names = self._boxes[previous_box].panel_names
            self._close_panels(count_shared_panels(previous_panel_names, box.panel_names))
            fork_fills_gap = bool(branch_readers) and not box.panel_names
            self._next_y += BOX_GAP / 2 if fork_fills_gap else BOX_GAP
        if previous_box is not None and branch_readers:
            self._open_panels_with_fork(box, previous_box, branch_readers)
        else:
            self._open_panels_around(box, len(box.panel_names))
        _, height = box.size
        top = self._next_y
        self._next_y += height
        self._layout.centres[box_index] = (self._middle_x, top + height / 2)
        if previous_box in self._main_boxes and previous_box in box.sources:
            arrow_start = (self._middle_x, self._bottom_of_box(previous_box))
            self._layout.arrows.append(Arrow([arrow_start, (self._middle_x, top)], bend=0))

    def _open_panels_with_fork(
        self, box: Box, fork_source: int, branch_readers: Sequence[int]
    ) -> None:
        """Open the panels (frames) around a box, and place a fork above the box.

        The fork is inside the panels that also contain all boxes in `branch_readers`.

        Args:
          box: the box below the fork.
          fork_source: index of the box whose output leaves the column at the fork.
          branch_readers: indices of the boxes that read the output further down.
        """
        shared_panels = [
            count_shared_panels(box.panel_names, self._boxes[reader].panel_names)
            for reader in branch_readers
        ]
        fork_depth = max(min(shared_panels), len(self._open_panels))
        self._open_panels_around(box, fork_depth)
        self._fork_y_of_source[fork_source] = self._next_y + _FORK_HEIGHT / 2
        self._next_y += _FORK_HEIGHT * _FORK_SPACING
        self._open_panels_around(box, len(box.panel_names))

    def _other_readers(self, source: int | None, next_box: int) -> list[int]:
        """Return the boxes of this column, other than `next_box`, that read the output of `source`.

        All boxes are given by their indices.
        """
        box_indices = (*self._main_boxes, *self._side_boxes)
        readers = [index for index in box_indices if source in self._boxes[index].sources]
        return [index for index in readers if index != next_box]

    def _open_panels_around(self, box: Box, panel_count: int) -> None:
        """Open panels (frames) around a box until `panel_count` panels are open."""
        for depth in range(len(self._open_panels), panel_count):
            panel_left = self._left + PADDING * depth
            panel = Panel(box.panel_names[depth], depth, panel_left, self._next_y)
            self._open_panels.append(panel)
            self._panels.append(panel)
            self._next_y += _PANEL_NAME_HEIGHT

    def _close_panels(self, kept_count: int) -> None:
        """Set the lower edge of all open panels (frames) except the `kept_count` outermost ones."""
        while len(self._open_panels) > kept_count:
            self._next_y += PADDING
            innermost_panel = self._open_panels.pop()
            innermost_panel.bottom = self._next_y

    def _middle_y(self, box_index: int) -> float:
        _, y = self._layout.centres[box_index]
        return y

    def _top_of_box(self, box_index: int) -> float:
        _, height = self._boxes[box_index].size
        return self._middle_y(box_index) - height / 2

    def _bottom_of_box(self, box_index: int) -> float:
        _, height = self._boxes[box_index].size
        return self._middle_y(box_index) + height / 2

    def _lay_out_lanes(self) -> None:
        """Place each branch in a lane to the right of the boxes, and set the panels' right edges.

        Branches at the same height need different lanes.
        """
        branches = list(self._find_branches())
        assign_lanes(branches)
        boxes_right = self._middle_x + BOX_WIDTH / 2
        panels_right = boxes_right + PADDING * (self._max_panel_depth + 1)
        lane_edges = find_lane_edges(branches, panels_right - _LANES_OVERLAP)
        for branch in branches:
            lane_left, lane_right = lane_edges[branch.lane], lane_edges[branch.lane + 1]
            lane_x = (lane_left + lane_right) / 2
            add_branch(self._layout, self._boxes, branch, self._middle_x, lane_x)
        for panel in self._panels:
            lanes_inside = [
                branch.lane
                for branch in branches
                if panel.top <= branch.top and branch.bottom <= panel.bottom
            ]
            inner_panel_count = self._max_panel_depth - panel.depth
            if lanes_inside:
                last_lane_right = lane_edges[max(lanes_inside) + 1]
                panel.right = last_lane_right + _LANE_PADDING * inner_panel_count
            else:
                panel.right = boxes_right + PADDING * inner_panel_count
        right_edges = [lane_edges[-1] + _LANES_OVERLAP]
        right_edges += [panel.right for panel in self._panels]
        self.right = max(right_edges)

    def _find_branches(self) -> Iterator[Branch]:
        """Yield the paths of arrays that leave the column at a fork and come back further down."""
        for source, fork_y in self._fork_y_of_source.items():
            start_y = fork_y  # the branch begins on the arrow to the box below the fork
            if source in self._main_boxes:
                next_box = self._main_boxes[self._main_boxes.index(source) + 1]
                if source not in self._boxes[next_box].sources:  # there is no such arrow
                    start_y = self._bottom_of_box(source)
            else:  # the source is the last box of the previous column
                next_box = self._main_boxes[0]
            readers = self._other_readers(source, next_box)
            main_readers = [index for index in readers if not self._boxes[index].is_side_box]
            side_boxes = [index for index in readers if self._boxes[index].is_side_box]
            if main_readers:
                bottom = max(self._middle_y(reader) for reader in main_readers)
                first_nodes = [self._boxes[reader].nodes[0] for reader in main_readers]
                is_identity = all(node.name == "+" for node in first_nodes)
                yield Branch(start_y, fork_y, bottom, main_readers, is_identity=is_identity)
            for side_box in side_boxes:  # such as the convolution in a skip connection
                reader_of_side_box, *_ = self._other_readers(side_box, next_box=side_box)
                bottom = self._middle_y(reader_of_side_box)
                yield Branch(start_y, fork_y, bottom, [reader_of_side_box], side_box)

    def _add_arrow_from_previous_column(self, previous_end: ColumnEnd) -> None:
        """Add the arrow from the previous column, which runs up between the two columns."""
        layout, first_box = self._layout, self._main_boxes[0]
        start_x, start_y = previous_end.point
        panels_to_leave = len(self._boxes[previous_end.box].panel_names)
        y_below_boxes = start_y + _GAP_BELOW_COLUMN + panels_to_leave * PADDING
        y_above_boxes = _COLUMN_TOP - _GAP_ABOVE_COLUMN
        gutter_x = self._left - GUTTER / 2
        points = [
            previous_end.point,
            (start_x, y_below_boxes),
            (gutter_x, y_below_boxes),
            (gutter_x, y_above_boxes),
            (self._middle_x, y_above_boxes),
            (self._middle_x, self._top_of_box(first_box)),
        ]
        layout.arrows.append(Arrow(points, NARROW_BEND))
        layout.height = max(layout.height, y_below_boxes)
