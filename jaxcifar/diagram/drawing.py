"""A network drawn from its summary: layers, functions between them, branches and joins."""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve

from jaxcifar.diagram.boxes import RADIUS, Box, make_boxes
from jaxcifar.diagram.layout import GUTTER, Panel, Point, lay_out
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.diagram.trace import Shape
from jaxcifar.errors import printable

_HEADER, _LEGEND, _LEGEND_ENTRY = 32, 48, 130
_MOST_PIXELS = 30_000  # along either side; the drawing library can do twice as many

# By kind, its name in the legend and its fill: tints of Okabe and Ito's colour-blind-safe palette.
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
_STYLE_OF = {
    "norm": "function",
    "activation": "function",
    "dropout": "function",
    "product": "attention",
}
_INK, _FAINT, _PANELS = "#222222", "#5a5a5a", ("#f0f0f0", "#e6e6e6", "#dcdcdc")
_PLAIN: dict[str, Any] = {"edgecolor": _INK, "linewidth": 0.8}
_SHRINKING: dict[str, Any] = {"edgecolor": "#d55e00", "linewidth": 2.2}
_NOTE = "Shapes: channels × height × width.  BN: batch normalisation.  × n: runs n times."
_CHARACTER, _BOLD = 0.62, 0.7  # width of one, of the font's size


def plot_network(summary: Summary, title: str, file: BinaryIO, form: str | None = None) -> None:
    """Columns of boxes, to be read downwards and from left to right.

    Args:
      summary: of the network.
      title: names the network.
      file: where the picture goes.
      form: its format, such as png, svg or pdf; by default what matplotlib is set to (PNG).

    Raises:
      OSError: it can't be written.
    """
    boxes = make_boxes(summary.graph)
    layout = lay_out(boxes)
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for shape, x in layout.headers:
        _draw_header(axes, shape, x)
    for panel in layout.panels:
        _draw_panel(axes, panel)
    for points, bend in layout.ways:
        _draw_arrow(axes, points, bend)
    for point in layout.dots:
        axes.add_patch(patches.Circle(point, 2, color=_INK))
    for point in layout.names:
        _write_on_way(axes, point, "identity", layout.panels)
    for spot, centre in layout.centres.items():
        _draw_box(axes, boxes[spot], centre)
    width = max(layout.width, 480)
    handles = _legend(boxes)
    in_row = min(len(handles), int(width // _LEGEND_ENTRY))
    height = layout.height + _LEGEND + 14 * (len(handles) - 1) // in_row
    _write(axes, (width / 2, 16), f"{printable(title, 200)}: {summary.params:,} parameters", 13)
    _write(axes, (width / 2, height - 12), _NOTE, color=_FAINT)
    where: dict[str, Any] = {
        "loc": "lower center",
        "bbox_to_anchor": (0.5, 22 / height),
        "borderaxespad": 0,
    }
    axes.legend(handles=handles, ncols=in_row, fontsize=8.5, frameon=False, **where)
    axes.set(xlim=(-GUTTER / 2, width - GUTTER / 2), ylim=(height, 0))
    figure.set_size_inches(width / 72, height / 72)
    dpi = min(100, _MOST_PIXELS / max(figure.get_size_inches()))
    figure.savefig(file, dpi=dpi, format=form)


def _style(box: Box) -> str:
    return _STYLE_OF.get(box.kind, box.kind)


def _draw_header(axes: Axes, shape: Shape, x: float) -> None:
    """A column's resolution and, as a cuboid, the array that leaves it."""
    if len(shape) != 3:
        positions = "×".join(map(str, shape[:-1]))
        name = f"{positions} positions" if positions else "vectors"
        _write(axes, (x, _HEADER + 62), name, 11)
        if positions:
            _write(axes, (x, _HEADER + 74), f"{shape[-1]} channels", color=_FAINT)
        return
    height, width, channels = shape
    scale = 42 / max(height, width, 32)
    depth = 1.3 * min(math.sqrt(channels), 30)
    right, up, back = np.array(
        [(scale * width, 0), (0, -scale * height), (0.85 * depth, -0.5 * depth)]
    )
    corner = np.array((x, _HEADER + 26)) - (right + up + back) / 2
    faces = [(0, right, up, "#e4e4e4"), (right, back, up, "#b4b4b4"), (up, right, back, "#cccccc")]
    for offset, u, v, grey in faces:
        face = corner + offset + np.array([0 * u, u, u + v, v])
        axes.add_patch(patches.Polygon(face, facecolor=grey, **_PLAIN))
    _write(axes, (x, _HEADER + 62), "×".join(map(str, shape[:-1])), 11)
    _write(axes, (x, _HEADER + 74), f"{shape[-1]} channels", color=_FAINT)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    centre = (panel.left + panel.right) / 2, (panel.top + panel.bottom) / 2
    size = panel.right - panel.left, panel.bottom - panel.top
    _draw_rounded(axes, centre, size, facecolor=_PANELS[panel.depth], linewidth=0, zorder=0)
    spot = (panel.left + 6, panel.top + 9)
    _write(axes, spot, _fit(panel.label, 7.5, size[0])[0], color=_FAINT, ha="left")


def _draw_box(axes: Axes, box: Box, centre: Point) -> None:
    edge = _SHRINKING if box.shrinks else _PLAIN
    if box.kind == "operator":
        axes.add_patch(patches.Circle(centre, RADIUS, facecolor="white", **_PLAIN, zorder=3))
        _write(axes, centre, box.nodes[0].name[:1], 11, va="center_baseline")
        return
    _draw_rounded(axes, centre, box.size, facecolor=_STYLES[_style(box)][1], **edge, zorder=3)
    lines = box.lines
    for number, line in enumerate(lines):
        y = centre[1] + 12 * (number - (len(lines) - 1) / 2)
        text, size = _fit(line, 7.5 if number else 8.5, box.size[0] - 6)
        _write(axes, (centre[0], y), text, size, weight="normal" if number else "bold")


def _fit(text: str, size: float, width: float) -> tuple[str, float]:
    """Text and a size at which it fits a width: smaller if need be, then shorter."""
    character = _BOLD if size > 7.5 else _CHARACTER
    most = int(width / (character * 5.5))
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text, min(size, width / (character * max(len(text), 1)))


def _draw_rounded(axes: Axes, centre: Point, size: Point, **style: Any) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    shape = "round,pad=0,rounding_size=5"
    axes.add_patch(patches.FancyBboxPatch(corner, *size, boxstyle=shape, **style))


def _draw_arrow(axes: Axes, points: Sequence[Point], bend: float) -> None:
    """An arrow along the points; `bend` is how far from a corner it starts to turn at most."""
    ends = np.array(points)
    ways = np.diff(ends, axis=0)
    lengths = np.linalg.norm(ways, axis=1, keepdims=True)
    ways = ways / lengths * np.minimum(bend, lengths / 2)
    inner = ends[1:-1]
    turns = np.stack([inner - ways[:-1], inner, inner + ways[1:]], axis=1).reshape(-1, 2)
    turn = [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    codes = [Curve.MOVETO, *turn * len(inner), Curve.LINETO]
    curve = Curve([ends[0], *turns, ends[-1]], codes)
    look: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 8,
        "color": _INK,
        "linewidth": 1.1,
    }
    axes.add_patch(patches.FancyArrowPatch(path=curve, **look, zorder=2))


def _write(axes: Axes, centre: Point, text: str, size: float = 7.5, **style: Any) -> None:
    """Text around a point, bold if it is larger than notes are."""
    weight = "bold" if size > 7.5 else "normal"
    style = {"ha": "center", "va": "center", "color": _INK, "weight": weight, **style}
    # Names are a stranger's and no formulas.
    axes.text(*centre, text, size=size, zorder=4, parse_math=False, **style)


def _write_on_way(axes: Axes, centre: Point, text: str, panels: Sequence[Panel]) -> None:
    """Text that stands on an arrow, which goes on behind its ground."""
    x, y = centre
    around = [p for p in panels if p.left < x < p.right and p.top < y < p.bottom]
    ground = _PANELS[len(around) - 1] if around else "white"
    _write(axes, centre, text, backgroundcolor=ground)


def _legend(boxes: Sequence[Box]) -> list[patches.Patch]:
    """The kinds that occur."""
    kinds = {_style(box) for box in boxes}
    styles = [style for kind, style in _STYLES.items() if kind in kinds]
    handles = [patches.Patch(facecolor=fill, label=name, **_PLAIN) for name, fill in styles]
    if any(box.shrinks for box in boxes):
        meaning = "lowers the resolution"
        handles.append(patches.Patch(facecolor="white", label=meaning, **_SHRINKING))
    return handles
