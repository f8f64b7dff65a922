"""A network drawn from its layer rows: shapes, kernels, parameters and skip connections."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Curve

from jaxcifar.models.summary import Layer, count_params

Shape = tuple[int, ...]
Point = tuple[float, float]

# Lengths are in points, as font sizes are, and y grows downwards: text fits its box at any dpi.
_BOX, _SKIP_BOX = (122, 42), (80, 42)
_GAP, _PAD, _GUTTER = 15, 9, 32
_LANE = _SKIP_BOX[0] + 2 * _PAD  # to the right of a residual block's boxes, for the skip
_HEADER, _FIRST = 32, 126  # top of a column's header and of its first box
_LEGEND = 48

# By kind, its name in the legend and its fill: tints of Okabe and Ito's colour-blind-safe palette.
_STYLES = {
    "Data": ("input and output", "#ffffff"),
    "Conv2d": ("convolution", "#bfe0f5"),
    "shortcut": ("projection of a skip", "#f0cfe1"),
    "MaxPool2d": ("pooling or flattening", "#fbe3a6"),
    "Linear": ("linear", "#b5e0d0"),
}
_INK, _FAINT, _PANEL = "#222222", "#5a5a5a", "#f0f0f0"
_PLAIN = {"edgecolor": _INK, "linewidth": 0.8}
_SHRINKING = {"edgecolor": "#d55e00", "linewidth": 2.2}
_SHORT = {"BatchNorm1d": "BN", "BatchNorm2d": "BN"}
_NOTE = (
    "Shapes: channels × height × width.  BN: batch normalisation.  Functions between layers,"
    " such as a ReLU that the layer table does not list, are not drawn."
)


@dataclasses.dataclass(frozen=True)
class _Box:
    """What is drawn as one box; shapes are channels last."""

    kind: str  # key of _STYLES
    lines: tuple[str, ...]
    output: Shape
    stage: Shape  # resolution of the column that it stands in; () for vectors
    block: str = ""  # its residual block, if any
    shrinks: bool = False  # whether fewer pixels leave than enter


def plot_network(layers: Sequence[Layer], title: str, path: Path) -> None:
    """A column of boxes for each resolution, to be read downwards and from left to right.

    Args:
      layers: rows of `jaxcifar.summary.trace_layers`. A function that a network applies outside
        of its layers is not among them and not drawn, save pooling or flattening before a
        linear layer, which the shapes tell.
      title: names the network.
      path: of the picture; its suffix is the format, such as .png, .svg or .pdf.

    Raises:
      ValueError: no layers, the first is no convolution, pooling or linear layer, or the suffix
        is unknown.
    """
    if not layers or layers[0].kind not in _STYLES:
        raise ValueError("a drawing starts with a convolution, pooling or linear layer")
    boxes = _boxes(layers)
    figure = Figure(dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    left, bottom, flow = _GUTTER / 2, 0.0, None
    for _, column in groupby(boxes, key=lambda box: box.stage):
        left, flow = _draw_column(axes, list(column), left, flow)
        bottom = max(bottom, flow[1])
    width, height = left - _GUTTER / 2, bottom + 2 * _GAP + _LEGEND
    _write(axes, (width / 2, 16), f"{title}: {count_params(list(layers)):,} parameters", 13)
    _write(axes, (width / 2, height - 12), _NOTE, color=_FAINT)
    _draw_legend(axes, {box.kind for box in boxes}, 22 / height)
    axes.set(xlim=(0, width), ylim=(height, 0))
    figure.set_size_inches(width / 72, height / 72)
    figure.savefig(path)


def _boxes(layers: Sequence[Layer]) -> list[_Box]:
    """The boxes from the input image to the logits, in the order of the rows."""
    blocks = {layer.path: layer for layer in layers if layer.kind == "ResBlock"}
    image = layers[0].input_shape
    boxes = [_Box("Data", ("input image", _channels_first(image)), image, image[:-1])]
    for unit in _units(layers):
        before, after = boxes[-1].output, unit[0].input_shape
        if unit[0].kind == "Linear" and before != after:
            how = "flatten" if math.prod(before) == after[0] else "global average pool"
            boxes.append(_Box("MaxPool2d", (how, _change(before, after)), after, ()))
        boxes.append(_box(unit, blocks.get(unit[0].path[:-1])))
    logits = boxes[-1].output
    return [*boxes, _Box("Data", ("logits", _channels_first(logits)), logits, logits[:-1])]


def _units(layers: Iterable[Layer]) -> list[list[Layer]]:
    """Rows that share a box: a layer with a style and the BN, ReLU and dropout that follow it."""
    units: list[list[Layer]] = []
    for layer in layers:
        if layer.kind in _STYLES:
            units.append([layer])
        elif layer.kind != "ResBlock":
            units[-1].append(layer)
    return units


def _box(unit: list[Layer], block: Layer | None) -> _Box:
    """The box of a unit that lies in the residual block whose row is `block`, if in any."""
    head, *rest = unit
    entering, leaving = head.input_shape, head.output_shape
    shortcut = block is not None and head.path[-1] == "shortcut"
    name = {"MaxPool2d": "max pool", "Linear": f"linear, {leaving[-1]}"}.get(head.kind)
    if head.kind == "Conv2d":
        # FLOPs are positions * size² * channels in * channels out.
        size = math.isqrt(head.flops // (math.prod(leaving) * entering[-1]))
        name = f"{size}×{size} conv, {leaving[-1]}"
    notes = [f"stride {head.stride}"] if head.stride > 1 else []
    notes += [_SHORT.get(layer.kind, layer.kind) for layer in rest]
    facts = [_channels_first(leaving) if head.kind == "Conv2d" else _change(entering, leaving)]
    if shortcut:
        facts = []  # narrow, and its shape is the block's
    if count_params(unit):
        facts.append(f"{count_params(unit):,} params")
    return _Box(
        kind="shortcut" if shortcut else head.kind,
        lines=tuple(filter(None, (name, " · ".join(notes), " · ".join(facts)))),
        output=leaving,
        stage=(block or head).output_shape[:-1],
        block=".".join(block.path) if block else "",
        shrinks=entering[:-1] != leaving[:-1],
    )


def _channels_first(shape: Shape) -> str:
    return "×".join(map(str, (shape[-1], *shape[:-1])))


def _change(before: Shape, after: Shape) -> str:
    return f"{_channels_first(before)} → {_channels_first(after)}"


def _draw_column(
    axes: Axes, boxes: list[_Box], left: float, flow: Point | None
) -> tuple[float, Point]:
    """Draw a stage that data enter from `flow`; returns the next one's `left` and `flow`."""
    x, y = left + _PAD + _BOX[0] / 2, float(_FIRST)
    _draw_header(axes, boxes[-1].output, x)
    for block, members in groupby(boxes, key=lambda box: box.block):
        group = list(members)
        start = y + 2 * _GAP if block else y
        if flow and flow[0] == x:
            _draw_arrow(axes, [flow, (x, start)])
        elif flow:  # from the previous column, up through the gutter
            low, gutter, high = flow[1] + 1.5 * _GAP, left - _GUTTER / 2, _FIRST - 0.9 * _GAP
            turns = [(flow[0], low), (gutter, low), (gutter, high), (x, high)]
            _draw_arrow(axes, [flow, *turns, (x, start)])
        end = _draw_chain(axes, [box for box in group if box.kind != "shortcut"], x, start)
        if block:
            shortcut = next((box for box in group if box.kind == "shortcut"), None)
            _write(axes, (left + 6, y + 9), block, color=_FAINT, ha="left")
            end = _draw_skip(axes, shortcut, x, y, end)
        flow = (x, end)
        y = end + (_PAD + _GAP if block else _GAP)
    lane = _LANE if any(box.block for box in boxes) else 0
    return left + _BOX[0] + 2 * _PAD + lane + _GUTTER, flow


def _draw_header(axes: Axes, shape: Shape, x: float) -> None:
    """A stage's resolution and, as a cuboid, the tensor that leaves it."""
    if len(shape) == 1:
        _write(axes, (x, _HEADER + 62), "vectors", 11)
        return
    side, depth = 1.3 * shape[0], 1.3 * math.sqrt(shape[-1])
    right, up, back = np.array([(side, 0), (0, -side), (0.85 * depth, -0.5 * depth)])
    corner = np.array((x, _HEADER + 26)) - (right + up + back) / 2
    faces = [(0, right, up, "#e4e4e4"), (right, back, up, "#b4b4b4"), (up, right, back, "#cccccc")]
    for offset, u, v, grey in faces:
        face = corner + offset + np.array([0 * u, u, u + v, v])
        axes.add_patch(patches.Polygon(face, facecolor=grey, **_PLAIN))
    _write(axes, (x, _HEADER + 62), "×".join(map(str, shape[:-1])), 11)
    _write(axes, (x, _HEADER + 74), f"{shape[-1]} channels", color=_FAINT)


def _draw_chain(axes: Axes, boxes: list[_Box], x: float, y: float) -> float:
    """Draw boxes below each other, joined by arrows; returns where the last one ends."""
    for number, box in enumerate(boxes):
        if number:
            _draw_arrow(axes, [(x, y), (x, y + _GAP)])
            y += _GAP
        _draw_box(axes, box, (x, y + _BOX[1] / 2), _BOX)
        y += _BOX[1]
    return y


def _draw_skip(axes: Axes, shortcut: _Box | None, x: float, top: float, end: float) -> float:
    """Draw a block's panel, skip and addition; returns where the addition ends."""
    radius, fork = 6.5, top + _GAP
    add, lane = end + _GAP + radius, x + (_BOX[0] + _SKIP_BOX[0]) / 2 + _PAD
    width, height = _BOX[0] + 2 * _PAD + _LANE, add + radius + _PAD - top
    centre = (x + _LANE / 2, top + height / 2)
    _draw_rounded(axes, centre, (width, height), facecolor=_PANEL, linewidth=0, zorder=0)
    _draw_arrow(axes, [(x, end), (x, add - radius)])
    _draw_arrow(axes, [(x, fork), (lane, fork), (lane, add), (x + radius, add)], bend=28)
    axes.add_patch(patches.Circle((x, fork), 2, color=_INK))
    axes.add_patch(patches.Circle((x, add), radius, facecolor="white", **_PLAIN, zorder=3))
    _write(axes, (x, add), "+", 11, va="center_baseline")
    if shortcut:
        _draw_box(axes, shortcut, (lane, (fork + add) / 2), _SKIP_BOX)
    else:
        _write(axes, (lane, (fork + add) / 2), "identity", backgroundcolor=_PANEL)
    return add + radius


def _draw_box(axes: Axes, box: _Box, centre: Point, size: Point) -> None:
    edge = _SHRINKING if box.shrinks else _PLAIN
    _draw_rounded(axes, centre, size, facecolor=_STYLES[box.kind][1], **edge, zorder=3)
    for number, line in enumerate(box.lines):
        y = centre[1] + 12 * (number - (len(box.lines) - 1) / 2)
        _write(axes, (centre[0], y), line, 7.5 if number else 8.5)


def _draw_rounded(axes: Axes, centre: Point, size: Point, **style: Any) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    shape = "round,pad=0,rounding_size=5"
    axes.add_patch(patches.FancyBboxPatch(corner, *size, boxstyle=shape, **style))


def _draw_arrow(axes: Axes, points: Sequence[Point], bend: float = 7) -> None:
    """An arrow along the points; `bend` is how far from a corner it starts to turn."""
    ends = np.array(points)
    ways = np.diff(ends, axis=0)
    ways = bend * ways / np.linalg.norm(ways, axis=1, keepdims=True)
    inner = ends[1:-1]
    turns = np.stack([inner - ways[:-1], inner, inner + ways[1:]], axis=1).reshape(-1, 2)
    turn = [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
    codes = [Curve.MOVETO, *turn * len(inner), Curve.LINETO]
    curve = Curve([ends[0], *turns, ends[-1]], codes)
    look = {"arrowstyle": "-|>", "mutation_scale": 8, "color": _INK, "linewidth": 1.1}
    axes.add_patch(patches.FancyArrowPatch(path=curve, **look, zorder=2))


def _write(axes: Axes, centre: Point, text: str, size: float = 7.5, **style: Any) -> None:
    """Text around a point, bold if it is larger than notes are."""
    weight = "bold" if size > 7.5 else "normal"
    style = {"ha": "center", "va": "center", "color": _INK, "weight": weight, **style}
    axes.text(*centre, text, size=size, zorder=4, **style)


def _draw_legend(axes: Axes, kinds: set[str], height: float) -> None:
    """The kinds that occur, centred, `height` (of 1) above the lower edge."""
    styles = [style for kind, style in _STYLES.items() if kind in kinds]
    handles = [patches.Patch(facecolor=fill, label=name, **_PLAIN) for name, fill in styles]
    handles.append(patches.Patch(facecolor="white", label="lowers the resolution", **_SHRINKING))
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, height), "borderaxespad": 0}
    axes.legend(handles=handles, ncols=len(handles), fontsize=8.5, frameon=False, **place)
