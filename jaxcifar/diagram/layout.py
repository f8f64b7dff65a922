"""The places of the boxes of a drawn network, and the arrows between them.

Boxes stand in columns, in the order of computation. An arrow joins a box to the next box if
the next box reads its output. Other edges run through lanes, vertical strips right of a column. A
new column begins only where a single array is passed on. Lengths are in points; y grows downwards.
"""

from collections.abc import Sequence

from jaxcifar.diagram.boxes import BOX_GAP, Box
from jaxcifar.diagram.column_layout import Column
from jaxcifar.diagram.columns import split_columns
from jaxcifar.diagram.layout_parts import GUTTER, ColumnEnd, Layout


def lay_out(boxes: Sequence[Box]) -> Layout:
    """Return the positions of all boxes, arrows and frames of a network's drawing."""
    layout = Layout()
    left = 0.0
    previous_end: ColumnEnd | None = None
    for box_indices in split_columns(boxes):
        column = Column(boxes, box_indices, layout, left)
        previous_end = column.lay_out(previous_end)
        left = column.right + GUTTER
    layout.width = left
    layout.height += 2 * BOX_GAP
    return layout
