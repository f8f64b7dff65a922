"""A network's summary as text, and back: with every value checked."""

import json
from collections.abc import Callable
from typing import Any

from jaxcifar.models.graph import KINDS

MOST_CHARACTERS = 2**23
_MOST_LAYERS, _MOST_NODES, _MOST_AXES, _MOST_NAMES, _LONGEST = 5_000, 3_000, 12, 64, 200
_MOST = 2**63


def to_text(values: dict[str, Any]) -> str:
    """JSON with a row a line."""
    parts = []
    for name, value in values.items():
        rows = ",\n".join(json.dumps(row) for row in value) if isinstance(value, tuple) else None
        parts.append(f'"{name}": ' + (json.dumps(value) if rows is None else f"[\n{rows}\n]"))
    return "{" + ",\n".join(parts) + "}\n"


def from_text(text: str) -> dict[str, Any]:
    """The values that `to_text` had, with tuples for lists.

    Raises:
      ValueError: it isn't such text.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"a network's summary has at most {MOST_CHARACTERS:,} characters")
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    values = _fields(values, "summary", _SUMMARY)
    _check_graph(values["graph"])
    return values


def _number(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError(f"{where}: not a whole number from 0 on")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"{where}: not a text of up to {_LONGEST} printable characters")
    return value


def _kind(value: Any, where: str) -> str:
    if value not in KINDS:
        raise ValueError(f"{where}: not one of {', '.join(KINDS)}")
    return value


def _list_of(check: Callable[[Any, str], Any], most: int) -> Callable[[Any, str], tuple]:
    def read(value: Any, where: str) -> tuple:
        if not isinstance(value, list) or len(value) > most:
            raise ValueError(f"{where}: not a list of up to {most:,}")
        return tuple(check(item, f"{where}[{place}]") for place, item in enumerate(value))

    return read


def _object_of(fields: dict[str, Callable]) -> Callable[[Any, str], dict[str, Any]]:
    return lambda value, where: _fields(value, where, fields)


def _fields(value: Any, where: str, fields: dict[str, Callable]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(fields):
        raise ValueError(f"{where}: not an object of {', '.join(fields)}")
    return {name: check(value[name], f"{where}.{name}") for name, check in fields.items()}


_shape, _path = _list_of(_number, _MOST_AXES), _list_of(_text, _MOST_NAMES)
_LAYER = {
    "kind": _text,
    "path": _path,
    "input_shape": _shape,
    "output_shape": _shape,
    "params": _number,
}
_NODE = {
    "kind": _kind,
    "name": _text,
    "note": _text,
    "input_shape": _shape,
    "output_shape": _shape,
    "params": _number,
    "path": _path,
    "sources": _list_of(_number, _MOST_NODES),
}
_SUMMARY = {
    "layers": _list_of(_object_of(_LAYER), _MOST_LAYERS),
    "params": _number,
    "macs": _number,
    "flops": _number,
    "graph": _list_of(_object_of(_NODE), _MOST_NODES),
}


def _check_graph(graph: tuple[dict[str, Any], ...]) -> None:
    """It starts with an image, and its nodes read earlier ones."""
    if len(graph) < 2 or (graph[0]["kind"], graph[-1]["kind"]) != ("data", "data"):
        raise ValueError("summary.graph: does not lead from an image to logits")
    for place, node in enumerate(graph):
        if any(source >= place for source in node["sources"]):
            raise ValueError(f"summary.graph[{place}].sources: not all before it")
        if node["kind"] == "data" and 0 < place < len(graph) - 1:
            raise ValueError(f"summary.graph[{place}].kind: data in the midst")
