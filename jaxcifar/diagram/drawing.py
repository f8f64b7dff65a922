"""Draw a network: its layers, the functions between them, its branches and joins."""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve

from jaxcifar.diagram.box_style import (
    FRAME_FILLS,
    LOWER_RESOLUTION_EDGE,
    NOTE_COLOR,
    PLAIN_EDGE,
    TEXT_COLOR,
    legend_entries,
    style_of_box,
)
from jaxcifar.diagram.boxes import OPERATOR_RADIUS, Box, make_boxes
from jaxcifar.diagram.layout import lay_out
from jaxcifar.diagram.layout_parts import GUTTER, Arrow, Frame, Header, Point
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.errors import printable

# Lengths are in points.
_POINTS_PER_INCH, _LEAST_WIDTH = 72, 480
_TITLE_Y, _TITLE_FONT_SIZE, _HEADER_FONT_SIZE = 16, 13, 11
_CUBOID_Y, _RESOLUTION_Y, _CHANNELS_Y = 58, 94, 106  # of the parts of a column's heading
_LARGEST_CUBOID_SIDE, _LEAST_SIDE_PIXELS = 42, 32  # smaller images get smaller cuboids
_CUBOID_DEPTH_SCALE, _MAX_CUBOID_CHANNELS = 1.3, 900  # depth = scale * sqrt(channels)
_LEGEND_HEIGHT, _LEGEND_ENTRY_WIDTH, _LEGEND_ROW_HEIGHT = 48, 130, 14
_NOTE_ABOVE_BOTTOM, _LEGEND_ABOVE_BOTTOM = 12, 22  # heights above the bottom of the figure
_TEXT_LINE_HEIGHT, _BOX_PADDING = 12, 3
_MAX_PIXELS = 30_000  # along either side; matplotlib can draw twice as many
_MAX_TITLE_CHARACTERS = 200
_NOTE_BELOW_DRAWING = (
    "Shapes: channels × height × width.  BN: batch normalisation.  × n: runs n times."
)
_NAME_FONT_SIZE, _NOTE_FONT_SIZE, _LEAST_FONT_SIZE, _SYMBOL_FONT_SIZE = 8.5, 7.5, 5.5, 11
# The mean width of a character, as a fraction of the font's size.
_CHARACTER_WIDTH, _BOLD_CHARACTER_WIDTH = 0.62, 0.7


def plot_network(
    summary: Summary, title: str, file: BinaryIO, file_format: str | None = None
) -> None:
    """Draw a network as columns of boxes, to be read downwards and from left to right.

    Args:
      summary: the network's summary.
      title: a name for the network, printed above the drawing.
      file: the binary file to which the picture is written.
      file_format: the picture's format, such as "png", "svg" or "pdf"; None for the format in
        matplotlib's settings, which is PNG by default.

    Raises:
      OSError: the file can't be written.
    """
    boxes = make_boxes(summary.graph)
    layout = lay_out(boxes)
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for header in layout.headers:
        _draw_column_heading(axes, header)
    for frame in layout.frames:
        _draw_frame(axes, frame)
    for arrow in layout.arrows:
        _draw_arrow(axes, arrow)
    for branch_dot in layout.branch_dots:
        axes.add_patch(patches.Circle(branch_dot, 2, color=TEXT_COLOR))
    for lane_middle in layout.identity_labels:
        _write_on_arrow(axes, lane_middle, "identity", layout.frames)
    for box_index, box_centre in layout.centres.items():
        _draw_box(axes, boxes[box_index], box_centre)
    width = max(layout.width, _LEAST_WIDTH)
    heading = f"{printable(title, _MAX_TITLE_CHARACTERS)}: {summary.params:,} parameters"
    _write_text(axes, (width / 2, _TITLE_Y), heading, _TITLE_FONT_SIZE)
    height = _add_legend(axes, boxes, width, layout.height)
    axes.set(xlim=(-GUTTER / 2, width - GUTTER / 2), ylim=(height, 0))
    figure.set_size_inches(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH)
    dpi = min(100, _MAX_PIXELS / max(figure.get_size_inches()))
    figure.savefig(file, dpi=dpi, format=file_format)


def _add_legend(axes: Axes, boxes: Sequence[Box], width: float, drawing_height: float) -> float:
    """Add a legend and a note below a drawing; return the height of the figure with them."""
    entries = legend_entries(boxes)
    entries_in_row = min(len(entries), int(width // _LEGEND_ENTRY_WIDTH))
    rows_after_first = math.ceil(len(entries) / entries_in_row) - 1
    figure_height = drawing_height + _LEGEND_HEIGHT + _LEGEND_ROW_HEIGHT * rows_after_first
    note_centre = (width / 2, figure_height - _NOTE_ABOVE_BOTTOM)
    _write_text(axes, note_centre, _NOTE_BELOW_DRAWING, color=NOTE_COLOR)
    axes.legend(
        handles=entries,
        ncols=entries_in_row,
        fontsize=8.5,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, _LEGEND_ABOVE_BOTTOM / figure_height),  # fractions of the figure
        borderaxespad=0,
    )
    return figure_height


def _draw_column_heading(axes: Axes, heading: Header) -> None:
    """Draw the heading of a column of boxes: its resolution, and a cuboid for its output."""
    shape = heading.shape
    resolution = "×".join(map(str, shape[:-1]))
    if len(shape) == 3:
        _draw_cuboid(axes, (heading.x, _CUBOID_Y), *shape)
        title = resolution
    elif resolution:
        title = f"{resolution} positions"
    else:
        title = "vectors"
    _write_text(axes, (heading.x, _RESOLUTION_Y), title, _HEADER_FONT_SIZE)
    if resolution:
        _write_text(axes, (heading.x, _CHANNELS_Y), f"{shape[-1]} channels", color=NOTE_COLOR)


def _draw_cuboid(axes: Axes, centre: Point, height: int, width: int, channels: int) -> None:
    """Draw the front, side and top of a cuboid whose depth stands for the channels."""
    scale = _LARGEST_CUBOID_SIDE / max(height, width, _LEAST_SIDE_PIXELS)
    depth = _CUBOID_DEPTH_SCALE * math.sqrt(min(channels, _MAX_CUBOID_CHANNELS))
    width_edge = np.array((scale * width, 0.0))
    height_edge = np.array((0.0, -scale * height))
    depth_edge = np.array((0.85 * depth, -0.5 * depth))  # at about 30 degrees
    bottom_left = np.array(centre) - (width_edge + height_edge + depth_edge) / 2  # of the front
    bottom_right, top_left = bottom_left + width_edge, bottom_left + height_edge
    _draw_parallelogram(axes, bottom_left, width_edge, height_edge, "#e4e4e4")
    _draw_parallelogram(axes, bottom_right, depth_edge, height_edge, "#b4b4b4")
    _draw_parallelogram(axes, top_left, width_edge, depth_edge, "#cccccc")


def _draw_parallelogram(
    axes: Axes, corner: np.ndarray, side: np.ndarray, other_side: np.ndarray, grey: str
) -> None:
    opposite_corner = corner + (side + other_side)
    corners = [corner, corner + side, opposite_corner, corner + other_side]
    axes.add_patch(patches.Polygon(np.array(corners), facecolor=grey, **PLAIN_EDGE))


def _draw_frame(axes: Axes, frame: Frame) -> None:
    """Draw the frame around the boxes of a module, with its name at the top left."""
    width, height = frame.right - frame.left, frame.bottom - frame.top
    centre = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
    fill = FRAME_FILLS[frame.depth]
    _draw_rounded_box(axes, centre, (width, height), facecolor=fill, linewidth=0, zorder=0)
    name, _ = _fit_text(frame.name, _NOTE_FONT_SIZE, width, is_bold=False)
    _write_text(axes, (frame.left + 6, frame.top + 9), name, color=NOTE_COLOR, ha="left")


def _draw_box(axes: Axes, box: Box, centre: Point) -> None:
    """Draw a box with its lines of text, or the circle of an operator such as "+"."""
    if box.kind == "operator":
        style = {"facecolor": "white", "zorder": 3, **PLAIN_EDGE}
        axes.add_patch(patches.Circle(centre, OPERATOR_RADIUS, **style))
        symbol = box.nodes[0].name[:1]  # the circle has space for one character
        _write_text(axes, centre, symbol, _SYMBOL_FONT_SIZE, va="center_baseline")
        return
    fill = style_of_box(box).fill
    edge = LOWER_RESOLUTION_EDGE if box.lowers_resolution else PLAIN_EDGE
    _draw_rounded_box(axes, centre, box.size, facecolor=fill, **edge, zorder=3)
    x, y = centre
    box_width, _ = box.size
    text_width = box_width - 2 * _BOX_PADDING
    middle_line_number = (len(box.text_lines) - 1) / 2
    for line_number, line in enumerate(box.text_lines):
        is_name = line_number == 0
        weight = "bold" if is_name else "normal"
        largest_font_size = _NAME_FONT_SIZE if is_name else _NOTE_FONT_SIZE
        text, font_size = _fit_text(line, largest_font_size, text_width, is_bold=is_name)
        line_y = y + _TEXT_LINE_HEIGHT * (line_number - middle_line_number)
        _write_text(axes, (x, line_y), text, font_size, weight=weight)


def _fit_text(
    text: str, largest_font_size: float, width: float, is_bold: bool
) -> tuple[str, float]:
    """Return a text and a font size that fit into a width in points.

    The font gets smaller if necessary. A text that is too long for the smallest font is cut.
    """
    character_width = _BOLD_CHARACTER_WIDTH if is_bold else _CHARACTER_WIDTH
    max_characters = int(width / (character_width * _LEAST_FONT_SIZE))
    if len(text) > max_characters:
        text = text[: max_characters - 1] + "…"
    fitting_font_size = width / (character_width * max(len(text), 1))
    return text, min(largest_font_size, fitting_font_size)


def _draw_rounded_box(axes: Axes, centre: Point, box_size: Point, **style: Any) -> None:
    x, y = centre
    width, height = box_size
    corner = (x - width / 2, y - height / 2)
    shape = "round,pad=0,rounding_size=5"
    axes.add_patch(patches.FancyBboxPatch(corner, width, height, boxstyle=shape, **style))


def _draw_arrow(axes: Axes, arrow: Arrow) -> None:
    """Draw an arrow along `arrow.points`, with each corner rounded by a curve.

    The curve begins and ends at most `arrow.bend` away from the corner.
    """
    points = np.array(arrow.points)
    sections = np.diff(points, axis=0)  # from each point to the next one
    lengths = np.linalg.norm(sections, axis=1, keepdims=True)
    directions = sections / lengths
    rounded_lengths = np.minimum(arrow.bend, lengths / 2)  # at each end of a section
    rounded_parts = directions * rounded_lengths
    corners = points[1:-1]
    turn_starts = corners - rounded_parts[:-1]
    turn_ends = corners + rounded_parts[1:]
    curve_points, curve_codes = [points[0]], [Curve.MOVETO]
    for turn_start, corner, turn_end in zip(turn_starts, corners, turn_ends, strict=True):
        curve_points += [turn_start, corner, turn_end]
        curve_codes += [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    curve_points.append(points[-1])
    curve_codes.append(Curve.LINETO)
    patch = patches.FancyArrowPatch(
        path=Curve(curve_points, curve_codes),
        arrowstyle="-|>",
        mutation_scale=8,
        color=TEXT_COLOR,
        linewidth=1.1,
        zorder=2,
    )
    axes.add_patch(patch)


def _write_text(
    axes: Axes, centre: Point, text: str, font_size: float = _NOTE_FONT_SIZE, **style: Any
) -> None:
    """Write a text centred at a point; text larger than `_NOTE_FONT_SIZE` is bold by default."""
    weight = "bold" if font_size > _NOTE_FONT_SIZE else "normal"
    style = {"ha": "center", "va": "center", "color": TEXT_COLOR, "weight": weight, **style}
    # Names come from users: a dollar sign in them must not start a formula.
    axes.text(*centre, text, size=font_size, zorder=4, parse_math=False, **style)


def _write_on_arrow(axes: Axes, centre: Point, text: str, frames: Sequence[Frame]) -> None:
    """Write a text over an arrow, on a background in the colour of the frame at that point."""
    frames_around_text = [frame for frame in frames if frame.contains(centre)]
    innermost_depth = len(frames_around_text) - 1
    background = FRAME_FILLS[innermost_depth] if frames_around_text else "white"
    _write_text(axes, centre, text, backgroundcolor=background)
