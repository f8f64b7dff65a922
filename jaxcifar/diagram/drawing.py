"""Draw a network: its layers, the functions between them, its branches and joins."""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve

from jaxcifar.diagram.boxes import OPERATOR_RADIUS, Box, make_boxes
from jaxcifar.diagram.layout import GUTTER, lay_out
from jaxcifar.diagram.layout_parts import Arrow, Header, Panel, Point
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.errors import printable

# Lengths are in points.
_HEADER_TOP, _LEGEND_HEIGHT, _LEGEND_ENTRY_WIDTH = 32, 48, 130
_LEAST_WIDTH = 480
_MOST_PIXELS = 30_000  # along either side; matplotlib can draw twice as many

# Style -> its name in the legend and its fill: tints of Okabe and Ito's colour-blind-safe palette.
_STYLES = {
    "data": ("input and output", "#ffffff"),
    "conv": ("convolution", "#bfe0f5"),
    "shortcut": ("on a side branch", "#f0cfe1"),
    "linear": ("linear", "#b5e0d0"),
    "pool": ("pooling or flattening", "#fbe3a6"),
    "attention": ("attention or product", "#f7d0b0"),
    "function": ("function or normalisation", "#fbf7c4"),
    "join": ("joining", "#d9d9d9"),
    "module": ("module of another kind", "#c9d6ea"),
}
# Kinds of boxes that share the style of another kind.
_SHARED_STYLES = {
    "norm": "function",
    "activation": "function",
    "dropout": "function",
    "product": "attention",
}
_INK, _FAINT = "#222222", "#5a5a5a"
_PANEL_FILLS = ("#f0f0f0", "#e6e6e6", "#dcdcdc")  # by depth
_PLAIN: dict[str, Any] = {"edgecolor": _INK, "linewidth": 0.8}
_LOWERS_RESOLUTION: dict[str, Any] = {"edgecolor": "#d55e00", "linewidth": 2.2}
_NOTE = "Shapes: channels × height × width.  BN: batch normalisation.  × n: runs n times."
_NAME_SIZE, _NOTE_SIZE, _LEAST_SIZE = 8.5, 7.5, 5.5  # of fonts
# The mean width of a character, as a fraction of the font's size.
_CHARACTER_WIDTH, _BOLD_CHARACTER_WIDTH = 0.62, 0.7


def plot_network(summary: Summary, title: str, file: BinaryIO, form: str | None = None) -> None:
    """Draw a network as columns of boxes, to be read downwards and from left to right.

    Args:
      summary: the network's summary.
      title: a name for the network, printed above the drawing.
      file: the binary file to which the picture is written.
      form: the picture's format, such as "png", "svg" or "pdf"; by default matplotlib's setting,
        which is PNG unless it was changed.

    Raises:
      OSError: the file can't be written.
    """
    boxes = make_boxes(summary.graph)
    layout = lay_out(boxes)
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for header in layout.headers:
        _draw_header(axes, header)
    for panel in layout.panels:
        _draw_panel(axes, panel)
    for arrow in layout.arrows:
        _draw_arrow(axes, arrow)
    for point in layout.forks:
        axes.add_patch(patches.Circle(point, 2, color=_INK))
    for point in layout.identities:
        _write_on_arrow(axes, point, "identity", layout.panels)
    for index, centre in layout.centres.items():
        _draw_box(axes, boxes[index], centre)
    width = max(layout.width, _LEAST_WIDTH)
    heading = f"{printable(title, 200)}: {summary.params:,} parameters"
    _write_text(axes, (width / 2, 16), heading, 13)
    height = _add_legend(axes, boxes, width, layout.height)
    axes.set(xlim=(-GUTTER / 2, width - GUTTER / 2), ylim=(height, 0))
    figure.set_size_inches(width / 72, height / 72)
    dpi = min(100, _MOST_PIXELS / max(figure.get_size_inches()))
    figure.savefig(file, dpi=dpi, format=form)


def _add_legend(axes: Axes, boxes: Sequence[Box], width: float, top: float) -> float:
    """Add a legend and a note below a drawing that ends at `top`; return the new total height."""
    entries = _legend_entries(boxes)
    entries_in_row = min(len(entries), int(width // _LEGEND_ENTRY_WIDTH))
    height = top + _LEGEND_HEIGHT + 14 * (len(entries) - 1) // entries_in_row
    _write_text(axes, (width / 2, height - 12), _NOTE, color=_FAINT)
    axes.legend(
        handles=entries,
        ncols=entries_in_row,
        fontsize=8.5,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 22 / height),
        borderaxespad=0,
    )
    return height


def _style_of(box: Box) -> str:
    """Return the name of a box's style, such as "conv": a key of `_STYLES`."""
    return _SHARED_STYLES.get(box.kind, box.kind)


def _draw_header(axes: Axes, header: Header) -> None:
    """Draw the heading of a column of boxes: its resolution, and a cuboid for its output."""
    x, shape = header.x, header.shape
    resolution = "×".join(map(str, shape[:-1]))
    if len(shape) == 3:
        _draw_cuboid(axes, (x, _HEADER_TOP + 26), *shape)
        text = resolution
    elif resolution:
        text = f"{resolution} positions"
    else:
        text = "vectors"
    _write_text(axes, (x, _HEADER_TOP + 62), text, 11)
    if resolution:
        _write_text(axes, (x, _HEADER_TOP + 74), f"{shape[-1]} channels", color=_FAINT)


def _draw_cuboid(axes: Axes, centre: Point, height: int, width: int, channels: int) -> None:
    """Draw the front, side and top of a cuboid whose depth stands for the channels."""
    scale = 42 / max(height, width, 32)
    depth = 1.3 * min(math.sqrt(channels), 30)
    right = np.array((scale * width, 0.0))
    up = np.array((0.0, -scale * height))
    back = np.array((0.85 * depth, -0.5 * depth))
    corner = np.array(centre) - (right + up + back) / 2  # front, left, bottom
    _draw_parallelogram(axes, corner, right, up, "#e4e4e4")
    _draw_parallelogram(axes, corner + right, back, up, "#b4b4b4")
    _draw_parallelogram(axes, corner + up, right, back, "#cccccc")


def _draw_parallelogram(
    axes: Axes, corner: np.ndarray, side: np.ndarray, other_side: np.ndarray, grey: str
) -> None:
    corners = [corner, corner + side, corner + (side + other_side), corner + other_side]
    axes.add_patch(patches.Polygon(np.array(corners), facecolor=grey, **_PLAIN))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    width, height = panel.right - panel.left, panel.bottom - panel.top
    centre = (panel.left + panel.right) / 2, (panel.top + panel.bottom) / 2
    fill = _PANEL_FILLS[panel.depth]
    _draw_rounded_box(axes, centre, (width, height), facecolor=fill, linewidth=0, zorder=0)
    name, _ = _fit_text(panel.name, _NOTE_SIZE, width)
    _write_text(axes, (panel.left + 6, panel.top + 9), name, color=_FAINT, ha="left")


def _draw_box(axes: Axes, box: Box, centre: Point) -> None:
    if box.kind == "operator":
        style = {"facecolor": "white", "zorder": 3, **_PLAIN}
        axes.add_patch(patches.Circle(centre, OPERATOR_RADIUS, **style))
        _write_text(axes, centre, box.nodes[0].name[:1], 11, va="center_baseline")
        return
    _, fill = _STYLES[_style_of(box)]
    edge = _LOWERS_RESOLUTION if box.lowers_resolution else _PLAIN
    _draw_rounded_box(axes, centre, box.size, facecolor=fill, **edge, zorder=3)
    x, y = centre
    middle_line = (len(box.lines) - 1) / 2
    for number, line in enumerate(box.lines):
        size, weight = (_NAME_SIZE, "bold") if number == 0 else (_NOTE_SIZE, "normal")
        text, size = _fit_text(line, size, box.size[0] - 6)
        _write_text(axes, (x, y + 12 * (number - middle_line)), text, size, weight=weight)


def _fit_text(text: str, size: float, width: float) -> tuple[str, float]:
    """Return a text and a font size that fit into a width in points.

    The font gets smaller if necessary. A text that is too long for the smallest font is cut.
    """
    character_width = _BOLD_CHARACTER_WIDTH if size > _NOTE_SIZE else _CHARACTER_WIDTH
    most_characters = int(width / (character_width * _LEAST_SIZE))
    if len(text) > most_characters:
        text = text[: most_characters - 1] + "…"
    return text, min(size, width / (character_width * max(len(text), 1)))


def _draw_rounded_box(axes: Axes, centre: Point, size: Point, **style: Any) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    shape = "round,pad=0,rounding_size=5"
    axes.add_patch(patches.FancyBboxPatch(corner, *size, boxstyle=shape, **style))


def _draw_arrow(axes: Axes, arrow: Arrow) -> None:
    """Draw an arrow through its points, with corners rounded by at most `arrow.bend` points."""
    points = np.array(arrow.points)
    sections = np.diff(points, axis=0)
    lengths = np.linalg.norm(sections, axis=1, keepdims=True)
    rounding = np.minimum(arrow.bend, lengths / 2)  # how far from its ends a section is rounded
    steps = sections / lengths * rounding
    corners = points[1:-1]
    # Each corner becomes a line to where the turn begins and a curve around the corner.
    turns = np.stack([corners - steps[:-1], corners, corners + steps[1:]], axis=1).reshape(-1, 2)
    turn_codes = [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    codes = [Curve.MOVETO, *turn_codes * len(corners), Curve.LINETO]
    patch = patches.FancyArrowPatch(
        path=Curve([points[0], *turns, points[-1]], codes),
        arrowstyle="-|>",
        mutation_scale=8,
        color=_INK,
        linewidth=1.1,
        zorder=2,
    )
    axes.add_patch(patch)


def _write_text(
    axes: Axes, centre: Point, text: str, size: float = _NOTE_SIZE, **style: Any
) -> None:
    """Write a text centred at a point; text larger than `_NOTE_SIZE` is bold by default."""
    weight = "bold" if size > _NOTE_SIZE else "normal"
    style = {"ha": "center", "va": "center", "color": _INK, "weight": weight, **style}
    # Names come from users: a dollar sign in them must not start a formula.
    axes.text(*centre, text, size=size, zorder=4, parse_math=False, **style)


def _write_on_arrow(axes: Axes, centre: Point, text: str, panels: Sequence[Panel]) -> None:
    """Write a text over an arrow, on a background in the colour of the panel at that point."""
    x, y = centre
    enclosing_panels = [
        panel for panel in panels if panel.left < x < panel.right and panel.top < y < panel.bottom
    ]
    background = _PANEL_FILLS[len(enclosing_panels) - 1] if enclosing_panels else "white"
    _write_text(axes, centre, text, backgroundcolor=background)


def _legend_entries(boxes: Sequence[Box]) -> list[patches.Patch]:
    """Return a legend entry for each style of box, and one for boxes that lower the resolution."""
    used_styles = {_style_of(box) for box in boxes}
    entries = [
        patches.Patch(facecolor=fill, label=name, **_PLAIN)
        for style, (name, fill) in _STYLES.items()
        if style in used_styles
    ]
    if any(box.lowers_resolution for box in boxes):
        text = "lowers the resolution"
        entries.append(patches.Patch(facecolor="white", label=text, **_LOWERS_RESOLUTION))
    return entries
