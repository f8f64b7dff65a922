"""The places of the boxes in one column of a drawn network, and the arrows between them.

An arrow leads from a box to the next box if the next box reads its output. An array that a box
further down reads leaves the column at a branch point, and runs down in a lane: a vertical strip
right of the column. A frame is drawn around the boxes of a module. Lengths are in points; y grows
downwards.
"""

from collections.abc import Iterator, Sequence

from jaxcifar.diagram.boxes import BOX_GAP, BOX_WIDTH, Box
from jaxcifar.diagram.branch_arrows import NARROW_BEND, add_branch
from jaxcifar.diagram.columns import count_shared_frames
from jaxcifar.diagram.layout_parts import (
    GUTTER,
    PADDING,
    Arrow,
    Branch,
    BranchPoint,
    ColumnEnd,
    Frame,
    Header,
    Layout,
    assign_lanes,
    find_lane_edges,
)

_COLUMN_TOP = 126  # y of the first box or frame
_BRANCH_POINT_HEIGHT = 13
_BRANCH_POINT_SPACING = 1.3  # room for a branch point, as a multiple of `_BRANCH_POINT_HEIGHT`
_LANES_OVERLAP = PADDING * 0.6  # by which lanes reach into the edges of the frames beside them
_LANE_PADDING = PADDING / 3  # between a lane and the edge of a frame around it, for each frame
_FRAME_NAME_HEIGHT = 16
# Distances of an arrow between two columns from the boxes below and above which it runs.
_GAP_BELOW_COLUMN, _GAP_ABOVE_COLUMN = 1.5 * BOX_GAP, 0.9 * BOX_GAP


class Column:
    """One column of a drawing, which adds its boxes, arrows and frames to a layout.

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
        self._max_frame_depth = max(len(boxes[index].frame_names) for index in box_indices)
        width_of_frame_edges = PADDING * (self._max_frame_depth + 1)
        self._middle_x = left + width_of_frame_edges + BOX_WIDTH / 2  # of the main boxes
        self._next_y = float(_COLUMN_TOP)  # lower end of the boxes and frames placed so far
        self._branch_points: list[BranchPoint] = []
        self._open_frames: list[Frame] = []
        self._frames: list[Frame] = []

    def lay_out(self, previous_end: ColumnEnd | None) -> ColumnEnd:
        """Place this column's boxes, arrows and frames; return where its last box is.

        `previous_end` says where the last box of the previous column is; None for the first column.
        """
        previous_box = previous_end.box if previous_end else None
        for box_index in self._main_boxes:
            self._lay_out_box(box_index, previous_box)
            previous_box = box_index
        self._close_frames(frames_to_keep=0)
        self._lay_out_branches()
        self._layout.frames += self._frames
        last_box = self._main_boxes[-1]
        self._layout.headers.append(Header(self._boxes[last_box].output_shape, self._middle_x))
        self._layout.height = max(self._layout.height, self._next_y)
        if previous_end:
            self._add_arrow_from_previous_column(previous_end)
        return ColumnEnd(last_box, (self._middle_x, self._bottom_of_box(last_box)))

    def _lay_out_box(self, box_index: int, previous_box: int | None) -> None:
        """Place a box, and what stands between it and the previous box.

        Frames around the previous box end there, and frames around this box begin. There is also a
        branch point if boxes further down read the previous box.

        Args:
          box_index: index of the box.
          previous_box: index of the previous box, perhaps in the previous column; None for the
            first box.
        """
        box = self._boxes[box_index]
        box_above = previous_box if previous_box in self._main_boxes else None
        branch_targets = self._targets_further_down(previous_box, box_index)
        if box_above is not None:
            frame_names_above = self._boxes[box_above].frame_names
            frames_around_both = count_shared_frames(frame_names_above, box.frame_names)
            self._close_frames(frames_to_keep=frames_around_both)
            branch_point_fills_gap = bool(branch_targets) and not box.frame_names
            self._next_y += BOX_GAP / 2 if branch_point_fills_gap else BOX_GAP
        if previous_box is not None and branch_targets:
            self._open_frames_with_branch_point(previous_box, box_index, branch_targets)
        else:
            self._open_frames_around(box, len(box.frame_names))
        _, height = box.size
        top = self._next_y
        self._next_y += height
        self._layout.centres[box_index] = (self._middle_x, top + height / 2)
        if box_above is not None and box_above in box.sources:
            arrow_start = (self._middle_x, self._bottom_of_box(box_above))
            self._layout.arrows.append(Arrow([arrow_start, (self._middle_x, top)], bend=0))

    def _open_frames_with_branch_point(
        self, source: int, box_index: int, branch_targets: Sequence[int]
    ) -> None:
        """Open the frames around a box, and place a branch point above the box.

        The branch point is inside the frames that also contain all boxes in `branch_targets`.

        Args:
          source: index of the box whose output leaves the column at the branch point.
          box_index: index of the box below the branch point.
          branch_targets: indices of the boxes that read the output further down.
        """
        box = self._boxes[box_index]
        frames_shared_with_targets = [
            count_shared_frames(box.frame_names, self._boxes[target].frame_names)
            for target in branch_targets
        ]
        frames_around_branch = min(frames_shared_with_targets)
        self._open_frames_around(box, max(frames_around_branch, len(self._open_frames)))
        branch_point_y = self._next_y + _BRANCH_POINT_HEIGHT / 2
        self._branch_points.append(BranchPoint(source, box_index, branch_point_y))
        self._next_y += _BRANCH_POINT_HEIGHT * _BRANCH_POINT_SPACING
        self._open_frames_around(box, len(box.frame_names))

    def _targets_further_down(self, source: int | None, next_box: int) -> list[int]:
        """Return the indices of this column's boxes, except `next_box`, that read box `source`."""
        return [target for target in self._targets(source) if target != next_box]

    def _targets(self, source: int | None) -> list[int]:
        """Return the indices of this column's boxes that read the output of the box `source`."""
        box_indices = (*self._main_boxes, *self._side_boxes)
        return [index for index in box_indices if source in self._boxes[index].sources]

    def _open_frames_around(self, box: Box, frame_count: int) -> None:
        """Open frames around a box until `frame_count` frames are open."""
        for depth in range(len(self._open_frames), frame_count):
            frame_left = self._left + PADDING * depth
            frame = Frame(box.frame_names[depth], depth, frame_left, self._next_y)
            self._open_frames.append(frame)
            self._frames.append(frame)
            self._next_y += _FRAME_NAME_HEIGHT

    def _close_frames(self, frames_to_keep: int) -> None:
        """Set the lower edge of all open frames except the `frames_to_keep` outermost ones."""
        while len(self._open_frames) > frames_to_keep:
            self._next_y += PADDING
            innermost_frame = self._open_frames.pop()
            innermost_frame.bottom = self._next_y

    def _middle_y(self, box_index: int) -> float:
        _, y = self._layout.centres[box_index]
        return y

    def _top_of_box(self, box_index: int) -> float:
        _, height = self._boxes[box_index].size
        return self._middle_y(box_index) - height / 2

    def _bottom_of_box(self, box_index: int) -> float:
        _, height = self._boxes[box_index].size
        return self._middle_y(box_index) + height / 2

    def _lay_out_branches(self) -> None:
        """Place each branch in a lane to the right of the boxes, and set the frames' right edges.

        A lane is a vertical strip. Branches at the same height need different lanes.
        """
        branches = list(self._find_branches())
        assign_lanes(branches)
        width_of_frame_edges = PADDING * (self._max_frame_depth + 1)
        first_lane_left = self._right_of_boxes() + width_of_frame_edges - _LANES_OVERLAP
        lane_edges = find_lane_edges(branches, first_lane_left)
        for branch in branches:
            lane_left, lane_right = lane_edges[branch.lane], lane_edges[branch.lane + 1]
            lane_x = (lane_left + lane_right) / 2
            add_branch(self._layout, self._boxes, branch, self._middle_x, lane_x)
        for frame in self._frames:
            frame.right = self._right_of_frame(frame, branches, lane_edges)
        right_of_lanes = lane_edges[-1] + _LANES_OVERLAP
        self.right = max([right_of_lanes, *(frame.right for frame in self._frames)])

    def _right_of_boxes(self) -> float:
        return self._middle_x + BOX_WIDTH / 2

    def _right_of_frame(
        self, frame: Frame, branches: Sequence[Branch], lane_edges: Sequence[float]
    ) -> float:
        """Return x of a frame's right edge, which is right of the frame's boxes and lanes."""
        lanes_inside = [
            branch.lane
            for branch in branches
            if frame.top <= branch.top and branch.bottom <= frame.bottom
        ]
        inner_frame_count = self._max_frame_depth - frame.depth
        if not lanes_inside:
            return self._right_of_boxes() + PADDING * inner_frame_count
        last_lane_right = lane_edges[max(lanes_inside) + 1]
        return last_lane_right + _LANE_PADDING * inner_frame_count

    def _find_branches(self) -> Iterator[Branch]:
        """Yield the paths of arrays that leave the column and come back further down."""
        for point in self._branch_points:
            starts_on_arrow = self._is_on_arrow(point)
            start_y = point.y if starts_on_arrow else self._bottom_of_box(point.source)
            targets = self._targets_further_down(point.source, point.box_below)
            main_boxes = [index for index in targets if not self._boxes[index].is_side_box]
            side_boxes = [index for index in targets if self._boxes[index].is_side_box]
            if main_boxes:
                bottom = max(self._middle_y(index) for index in main_boxes)
                first_nodes = [self._boxes[index].nodes[0] for index in main_boxes]
                leads_only_to_additions = all(node.name == "+" for node in first_nodes)
                yield Branch(
                    start_y, point.y, bottom, main_boxes, is_identity=leads_only_to_additions
                )
            for side_box in side_boxes:  # such as the convolution in a skip connection
                [target] = self._targets(side_box)
                yield Branch(start_y, point.y, self._middle_y(target), [target], side_box)

    def _is_on_arrow(self, point: BranchPoint) -> bool:
        """Return whether a branch point is on the arrow from its source to the box below it."""
        comes_from_previous_column = point.source not in self._main_boxes
        return comes_from_previous_column or point.source in self._boxes[point.box_below].sources

    def _add_arrow_from_previous_column(self, previous_end: ColumnEnd) -> None:
        """Add the arrow from the previous column, which runs up between the two columns."""
        layout, first_box = self._layout, self._main_boxes[0]
        start_x, start_y = previous_end.point
        frames_to_leave = len(self._boxes[previous_end.box].frame_names)
        y_below_boxes = start_y + _GAP_BELOW_COLUMN + frames_to_leave * PADDING
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
