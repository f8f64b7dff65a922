"""A network's summary as text, and back: with every value checked."""

import json
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from jaxcifar.diagram.graph import Kind
from jaxcifar.machine.reading import MEGABYTE, checked, parse_json

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


class Stored(TypedDict):
    """The values of a `Summary`, as JSON has them."""

    layers: Annotated[tuple[_Layer, ...], Meta(max_length=_MOST_LAYERS)]
    params: _Number
    macs: _Number
    flops: _Number
    graph: Annotated[tuple[_Node, ...], Meta(max_length=_MOST_NODES)]


def to_text(values: dict[str, Any]) -> str:
    """JSON with a row a line."""
    parts = []
    for name, value in values.items():
        rows = ",\n".join(json.dumps(row) for row in value) if isinstance(value, tuple) else None
        parts.append(f'"{name}": ' + (json.dumps(value) if rows is None else f"[\n{rows}\n]"))
    return "{" + ",\n".join(parts) + "}\n"


def from_text(text: str) -> Stored:
    """The values that `to_text` had, with tuples for lists.

    Raises:
      ValueError: it isn't such text.
    """
    values = checked(parse_json(text), Stored)
    layers: list[tuple[str, ...]] = [(row["kind"], *row["path"]) for row in values["layers"]]
    nodes: list[tuple[str, ...]] = [
        (node["kind"], node["name"], node["note"], *node["path"]) for node in values["graph"]
    ]
    for part, rows in (("layers", layers), ("graph", nodes)):
        for place, texts in enumerate(rows):
            if not all(text.isprintable() for text in texts):
                raise ValueError(f"{part}[{place}]: has a text that is not printable")
    _check_graph(values["graph"])
    return values


def _check_graph(graph: tuple[_Node, ...]) -> None:
    """It starts with an image, and its nodes read earlier ones."""
    if len(graph) < 2 or (graph[0]["kind"], graph[-1]["kind"]) != ("data", "data"):
        raise ValueError("graph: does not lead from an image to logits")
    for place, node in enumerate(graph):
        if any(source >= place for source in node["sources"]):
            raise ValueError(f"graph[{place}].sources: not all before it")
        if node["kind"] == "data" and 0 < place < len(graph) - 1:
            raise ValueError(f"graph[{place}].kind: data in the midst")
