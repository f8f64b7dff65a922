"""The colours and edges of the boxes in a network's drawing, and their legend."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import patches

from jaxcifar.diagram.boxes import Box

TEXT_COLOR, NOTE_COLOR = "#222222", "#5a5a5a"
FRAME_FILLS = ("#f0f0f0", "#e6e6e6", "#dcdcdc")  # by depth
PLAIN_EDGE: dict[str, Any] = {"edgecolor": TEXT_COLOR, "linewidth": 0.8}
LOWER_RESOLUTION_EDGE: dict[str, Any] = {"edgecolor": "#d55e00", "linewidth": 2.2}


class BoxStyle(NamedTuple):
    """A style's name in the legend, and the colour that fills its boxes."""

    legend_name: str
    fill: str


# Styles by kind of box: tints of Okabe and Ito's colour-blind-safe palette.
_STYLE_OF_KIND = {
    "data": BoxStyle("input and output", "#ffffff"),
    "conv": BoxStyle("convolution", "#bfe0f5"),
    "shortcut": BoxStyle("on a side branch", "#f0cfe1"),
    "linear": BoxStyle("linear", "#b5e0d0"),
    "pool": BoxStyle("pooling or flattening", "#fbe3a6"),
    "attention": BoxStyle("attention or product", "#f7d0b0"),
    "function": BoxStyle("function or normalisation", "#fbf7c4"),
    "join": BoxStyle("joining", "#d9d9d9"),
    "module": BoxStyle("module of another kind", "#c9d6ea"),
}
# Kinds of boxes that share the style of another kind.
_KINDS_WITH_SHARED_STYLE = {
    "norm": "function",
    "activation": "function",
    "dropout": "function",
    "product": "attention",
}


def style_of_box(box: Box) -> BoxStyle:
    """Return the style of a box that is not a circle for an operator."""
    return _STYLE_OF_KIND[_kind_with_style(box)]


def legend_entries(boxes: Sequence[Box]) -> list[patches.Patch]:
    """Return a legend entry for each style of box, and one for boxes that lower the resolution."""
    used_kinds = {_kind_with_style(box) for box in boxes}
    entries = [
        patches.Patch(facecolor=style.fill, label=style.legend_name, **PLAIN_EDGE)
        for kind, style in _STYLE_OF_KIND.items()
        if kind in used_kinds
    ]
    if any(box.lowers_resolution for box in boxes):
        label = "lowers the resolution"
        entries.append(patches.Patch(facecolor="white", label=label, **LOWER_RESOLUTION_EDGE))
    return entries


def _kind_with_style(box: Box) -> str:
    """Return the kind whose style a box has."""
    return _KINDS_WITH_SHARED_STYLE.get(box.kind, box.kind)
