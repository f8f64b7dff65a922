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
    Fork,
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
        self._forks: list[Fork] = []
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
        """Place a box, and what stands between it and the previous box.

        Panels (frames) around the previous box end there, and panels around this box begin. There
        is also a fork if boxes further down read the previous box.

        Args:
          box_index: index of the box.
          previous_box: index of the previous box, perhaps in the previous column; None for the
            first box.
        """
        box = self._boxes[box_index]
        box_above = previous_box if previous_box in self._main_boxes else None
        branch_readers = self._readers_further_down(previous_box, box_index)
        if box_above is not None:
            panel_names_above = self._boxes[box_above].panel_names
            self._close_panels(kept_count=count_shared_panels(panel_names_above, box.panel_names))
            fork_fills_gap = bool(branch_readers) and not box.panel_names
            self._next_y += BOX_GAP / 2 if fork_fills_gap else BOX_GAP
        if previous_box is not None and branch_readers:
            self._open_panels_with_fork(previous_box, box_index, branch_readers)
        else:
            self._open_panels_around(box, len(box.panel_names))
        _, height = box.size
        top = self._next_y
        self._next_y += height
        self._layout.centres[box_index] = (self._middle_x, top + height / 2)
        if box_above is not None and box_above in box.sources:
            arrow_start = (self._middle_x, self._bottom_of_box(box_above))
            self._layout.arrows.append(Arrow([arrow_start, (self._middle_x, top)], bend=0))

    def _open_panels_with_fork(
        self, source: int, box_index: int, branch_readers: Sequence[int]
    ) -> None:
        """Open the panels (frames) around a box, and place a fork above the box.

        The fork is inside the panels that also contain all boxes in `branch_readers`.

        Args:
          source: index of the box whose output leaves the column at the fork.
          box_index: index of the box below the fork.
          branch_readers: indices of the boxes that read the output further down.
        """
        box = self._boxes[box_index]
        shared_panel_counts = [
            count_shared_panels(box.panel_names, self._boxes[reader].panel_names)
            for reader in branch_readers
        ]
        panels_around_fork = max(min(shared_panel_counts), len(self._open_panels))
        self._open_panels_around(box, panels_around_fork)
        self._forks.append(Fork(source, box_index, y=self._next_y + _FORK_HEIGHT / 2))
        self._next_y += _FORK_HEIGHT * _FORK_SPACING
        self._open_panels_around(box, len(box.panel_names))

    def _readers_further_down(self, source: int | None, next_box: int) -> list[int]:
        """Return the boxes of this column that read the output of `source`, without `next_box`.

        All boxes are given by their indices.
        """
        return [reader for reader in self._readers(source) if reader != next_box]

    def _readers(self, source: int | None) -> list[int]:
        """Return the indices of this column's boxes that read the output of the box `source`."""
        box_indices = (*self._main_boxes, *self._side_boxes)
        return [index for index in box_indices if source in self._boxes[index].sources]

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
        width_of_panel_edges = PADDING * (self._max_panel_depth + 1)
        first_lane_left = self._right_of_boxes() + width_of_panel_edges - _LANES_OVERLAP
        lane_edges = find_lane_edges(branches, first_lane_left)
        for branch in branches:
            lane_left, lane_right = lane_edges[branch.lane], lane_edges[branch.lane + 1]
            lane_x = (lane_left + lane_right) / 2
            add_branch(self._layout, self._boxes, branch, self._middle_x, lane_x)
        for panel in self._panels:
            panel.right = self._right_of_panel(panel, branches, lane_edges)
        right_of_lanes = lane_edges[-1] + _LANES_OVERLAP
        self.right = max([right_of_lanes, *(panel.right for panel in self._panels)])

    def _right_of_boxes(self) -> float:
        return self._middle_x + BOX_WIDTH / 2

    def _right_of_panel(
        self, panel: Panel, branches: Sequence[Branch], lane_edges: Sequence[float]
    ) -> float:
        """Return x of a panel's right edge, which is right of the panel's boxes and lanes."""
        lanes_inside = [
            branch.lane
            for branch in branches
            if panel.top <= branch.top and branch.bottom <= panel.bottom
        ]
        inner_panel_count = self._max_panel_depth - panel.depth
        if not lanes_inside:
            return self._right_of_boxes() + PADDING * inner_panel_count
        last_lane_right = lane_edges[max(lanes_inside) + 1]
        return last_lane_right + _LANE_PADDING * inner_panel_count

    def _find_branches(self) -> Iterator[Branch]:
        """Yield the paths of arrays that leave the column at a fork and come back further down."""
        for fork in self._forks:
            start_y = fork.y if self._arrow_passes(fork) else self._bottom_of_box(fork.source)
            readers = self._readers_further_down(fork.source, fork.box_below)
            main_readers = [index for index in readers if not self._boxes[index].is_side_box]
            side_boxes = [index for index in readers if self._boxes[index].is_side_box]
            if main_readers:
                bottom = max(self._middle_y(reader) for reader in main_readers)
                first_nodes = [self._boxes[reader].nodes[0] for reader in main_readers]
                leads_only_to_additions = all(node.name == "+" for node in first_nodes)
                yield Branch(
                    start_y, fork.y, bottom, main_readers, is_identity=leads_only_to_additions
                )
            for side_box in side_boxes:  # such as the convolution in a skip connection
                [join] = self._readers(side_box)
                yield Branch(start_y, fork.y, self._middle_y(join), [join], side_box)

    def _arrow_passes(self, fork: Fork) -> bool:
        """Return whether an arrow from the fork's source to the box below passes the fork."""
        comes_from_previous_column = fork.source not in self._main_boxes
        return comes_from_previous_column or fork.source in self._boxes[fork.box_below].sources

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
