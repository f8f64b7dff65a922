"""The label of a box in a network's drawing."""

from typing import Literal, NamedTuple

BoxKind = Literal[
    "data", "conv", "linear", "norm", "activation", "dropout", "pool", "attention", "product",
    "operator", "join", "function", "module",
]  # fmt: skip


class Label(NamedTuple):
    """The label of a box in a network's drawing.

    Attributes:
      kind: the kind of operation in the box, which decides the box's colour.
      name: a name such as "3×3 conv, 64".
      note: a detail such as "stride 2", or "".
    """

    kind: BoxKind
    name: str
    note: str = ""
