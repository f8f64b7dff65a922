"""The label of a box in a network's drawing."""

from typing import Literal, NamedTuple

Kind = Literal[
    "data", "conv", "linear", "norm", "activation", "dropout", "pool", "attention", "product",
    "operator", "join", "function", "module",
]  # fmt: skip


class Label(NamedTuple):
    """A box's label: a kind (it decides the colour), a name such as "3×3 conv, 64", and a note."""

    kind: Kind
    name: str
    note: str = ""
