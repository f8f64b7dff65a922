"""A network's summary as JSON text, and a reader that checks every value of such a text."""

import json
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from jaxcifar.diagram.box_label import Kind
from jaxcifar.machine.reading import MEGABYTE, convert_checked, parse_json

MOST_BYTES = 8 * MEGABYTE
_Number = Annotated[int, Meta(ge=0)]
_Text = Annotated[str, Meta(max_length=200)]
_Shape = Annotated[tuple[_Number, ...], Meta(max_length=12)]
_Path = Annotated[tuple[_Text, ...], Meta(max_length=64)]
_MOST_LAYERS, _MOST_NODES = 5_000, 3_000


class _Layer(TypedDict):
    kind: _Text
    path: _Path
    input_shape: _Shape
    output_shape: _Shape
    params: _Number


class _Node(TypedDict):
    kind: Kind
    name: _Text
    note: _Text
    input_shape: _Shape
    output_shape: _Shape
    params: _Number
    path: _Path
    sources: Annotated[tuple[_Number, ...], Meta(max_length=_MOST_NODES)]


class StoredSummary(TypedDict):
    """The values of a `Summary`, in the form in which JSON holds them."""

    layers: Annotated[tuple[_Layer, ...], Meta(max_length=_MOST_LAYERS)]
    params: _Number
    macs: _Number
    flops: _Number
    graph: Annotated[tuple[_Node, ...], Meta(max_length=_MOST_NODES)]


def to_text(values: dict[str, Any]) -> str:
    """Return the values of a summary as JSON, with one line for each layer and each node."""
    parts = []
    for name, value in values.items():
        if isinstance(value, tuple):
            rows = ",\n".join(json.dumps(row) for row in value)
            parts.append(f'"{name}": [\n{rows}\n]')
        else:
            parts.append(f'"{name}": {json.dumps(value)}')
    return "{" + ",\n".join(parts) + "}\n"


def from_text(text: str) -> StoredSummary:
    """Return the values that `to_text` wrote, with tuples instead of lists.

    Raises:
      ValueError: the text is not JSON, or a value in it is missing, invalid or too large.
    """
    values = convert_checked(parse_json(text), StoredSummary)
    for index, layer in enumerate(values["layers"]):
        _check_printable(f"layers[{index}]", layer["kind"], *layer["path"])
    for index, node in enumerate(values["graph"]):
        _check_printable(f"graph[{index}]", node["kind"], node["name"], node["note"], *node["path"])
    _check_graph(values["graph"])
    return values


def _check_printable(where: str, *texts: str) -> None:
    for text in texts:
        if not text.isprintable():
            raise ValueError(f"{where}: the text {text!r} has characters that are not printable")


def _check_graph(graph: tuple[_Node, ...]) -> None:
    """Check that a graph leads from an image to logits and that nodes read only earlier nodes."""
    if len(graph) < 2 or graph[0]["kind"] != "data" or graph[-1]["kind"] != "data":
        raise ValueError('graph: the first and the last node must be of kind "data"')
    for index, node in enumerate(graph):
        if any(source >= index for source in node["sources"]):
            raise ValueError(f"graph[{index}].sources: a node must read earlier nodes only")
        if node["kind"] == "data" and 0 < index < len(graph) - 1:
            raise ValueError(
                f'graph[{index}].kind: only the first and the last node may be of kind "data"'
            )
