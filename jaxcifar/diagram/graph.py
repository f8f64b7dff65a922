"""What a network computes, as a graph of boxes that a person can read.

A layer is a node; so is a function that the network applies between its layers, an addition of two
branches, a product, a concatenation, and a loop or a choice between branches behind what lies in
it. What only moves data is left out, and so is arithmetic among parameters.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal

from jaxcifar.diagram import functions
from jaxcifar.diagram.calls import Calls
from jaxcifar.diagram.drafts import Draft, drop_unused, merge_groups
from jaxcifar.diagram.operation import Operation
from jaxcifar.diagram.trace import Call, Shape, Trace


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer or function; shapes are of one image, channels last.

    Attributes:
      kind: a `Kind`, which tells how it is drawn.
      name: such as "3×3 conv, 64"; of an "operator" its sign.
      note: what else there is to say of it, or "".
      input_shape: of the first array that enters.
      output_shape: of what leaves.
      params: parameters used here first.
      path: the modules that it lies in, outermost first, if they hold other nodes as well.
      sources: indices in the graph of the nodes that it reads, all before its own.
    """

    kind: str
    name: str
    note: str
    input_shape: Shape
    output_shape: Shape
    params: int
    path: tuple[str, ...]
    sources: tuple[int, ...]


Kind = Literal[
    "data", "conv", "linear", "norm", "activation", "dropout", "pool", "attention", "product",
    "operator", "join", "function", "module",
]  # fmt: skip


def build_graph(trace: Trace) -> tuple[Node, ...]:
    """The nodes from the image to the logits, in the order in which they are computed."""
    builder = _Builder(trace)
    for operation in trace.operations:
        builder.add(operation)
    drafts = builder.finished()
    drop_unused(drafts)
    merge_groups(drafts)
    indices = {key: index for index, key in enumerate(drafts)}
    return tuple(
        Node(**_fields(draft), sources=tuple(indices[key] for key in draft.sources))
        for draft in drafts.values()
    )


def _fields(draft: Draft) -> dict[str, Any]:
    fields = vars(draft).copy()
    del fields["names"], fields["factor"], fields["sources"], fields["several"]
    return fields


class _Builder:
    """Reads operations one after another into drafts, by key in their order."""

    def __init__(self, trace: Trace) -> None:
        shape = trace.image_shape
        self._trace, self._calls = trace, Calls(trace)
        self._drafts = {0: Draft("data", "input image", "", shape, shape)}
        self._source = {trace.image: 0}  # of each value that depends on the image, its draft
        self._made_of = {number: {path} for path, (number, _) in trace.params.items()}
        self._counted: set[tuple[str, ...]] = set()
        self._boxes: dict[int | tuple[str, int], int] = {}  # drafts of layers and named functions
        self._reads = Counter(value for op in trace.operations for value in op.inputs)
        # Of each value that only moves have led to since, the last drawn operation and its draft.
        self._fresh: dict[int, tuple[Operation, int]] = {}
        self._counts: dict[int, Operation] = {}  # sums of ones, by value

    def add(self, operation: Operation) -> None:
        """Read the next one."""
        parameters = set().union(*(self._made_of.get(v, ()) for v in operation.inputs))
        if not operation.depends:
            self._made_of |= dict.fromkeys(operation.outputs, parameters)
            if operation.constants[:1] == (1,):
                self._counts |= dict.fromkeys(operation.outputs, operation)
            return
        box = self._calls.box(operation.call)
        named = next((f for f in operation.functions if f[0] in functions.NAMED), None)
        if box is not None:
            self._add_to(box.number, operation, lambda: self._layer(box))
            # A layer may compute with parameters of another one that it was given.
            self._drafts[self._boxes[box.number]].params += self._count(parameters)
        elif named is not None:
            name = functions.NAMED[named[0]]
            self._add_to(named, operation, lambda: self._whole(operation, name))
        else:
            self._add_alone(operation, parameters)

    def finished(self) -> dict[int, Draft]:
        """The drafts, with the logits last."""
        source = self._source.get(self._trace.logits)  # none if they don't depend on the image
        sources = [] if source is None else [source]
        shape = () if source is None else self._drafts[source].output_shape
        self._drafts[len(self._drafts)] = Draft("data", "logits", "", shape, shape, sources=sources)
        return self._drafts

    def _add_to(
        self, box: int | tuple[str, int], operation: Operation, make: Callable[[], Draft]
    ) -> None:
        """One of a layer's operations, by its call, or of a function's."""
        if box not in self._boxes:
            self._boxes[box] = self._append(make())
        key = self._boxes[box]
        self._connect(key, operation)
        if not isinstance(box, int):
            self._drafts[key].output_shape = operation.output_shape

    def _append(self, draft: Draft) -> int:
        key = len(self._drafts)
        self._drafts[key] = draft
        return key

    def _connect(self, key: int, operation: Operation) -> None:
        for source in self._sources(operation):
            if source != key and source not in self._drafts[key].sources:
                self._drafts[key].sources.append(source)
        self._source |= dict.fromkeys(operation.outputs, key)

    def _sources(self, operation: Operation) -> list[int]:
        return [self._source[value] for value in operation.inputs if value in self._source]

    def _layer(self, call: Call) -> Draft:
        kind, name, note = self._calls.describe(call)
        path = self._calls.panels(call.parent)
        below = [p for p in self._trace.params if p[: len(call.path)] == call.path]
        draft = Draft(kind, name, note, call.input_shape, call.output_shape, path)
        draft.params = self._count(below)
        return draft

    def _count(self, paths: Iterable[tuple[str, ...]]) -> int:
        """The size of those parameters that no draft has so far."""
        new = set(paths) - self._counted
        self._counted |= new
        return sum(self._trace.params[path][1] for path in new)

    def _draft(self, operation: Operation, kind: str, name: str, note: str = "") -> Draft:
        path = self._calls.panels(operation.call)
        shapes = operation.input_shape, operation.output_shape
        draft = Draft(kind, name, note, *shapes, path, names={operation.name})
        draft.several = len(operation.outputs) > 1
        draft.factor = functions.factor(operation, self._depend(operation))
        return draft

    def _depend(self, operation: Operation) -> list[bool]:
        """Of each input, whether it depends on the image."""
        return [value in self._source for value in operation.inputs]

    def _whole(self, operation: Operation, name: str) -> Draft:
        """A named function that begins with an operation."""
        draft = self._draft(operation, functions.named_kind(name), name)
        draft.names = set()  # it is no part of another one
        return draft

    def _add_alone(self, operation: Operation, parameters: set[tuple[str, ...]]) -> None:
        """An operation outside of all layers and named functions."""
        looks = None if self._averages(operation) else self._look(operation, parameters)
        if looks is None:
            self._move(operation)
            return
        draft = self._draft(operation, *looks)
        draft.params = self._count(parameters)
        key = self._append(draft)
        self._connect(key, operation)
        self._fresh |= dict.fromkeys(operation.outputs, (operation, key))

    def _move(self, operation: Operation) -> None:
        """What is not drawn."""
        value = next(value for value in operation.inputs if value in self._source)
        self._source |= dict.fromkeys(operation.outputs, self._source[value])
        if value not in self._fresh or self._reads[value] > 1:
            return
        made, key = self._fresh[value]
        if operation.name in functions.MOVES:
            self._fresh |= dict.fromkeys(operation.outputs, (made, key))
        # A product has its axes in an order of its own, and then in that which was asked for.
        asked = operation.name == "transpose" and operation.functions == made.functions
        if asked and value in made.outputs and made.name == "dot_general":
            self._drafts[key].output_shape = operation.output_shape

    def _averages(self, operation: Operation) -> bool:
        """Whether it makes a sum a mean, which is named so here."""
        if operation.name not in ("div", "mul") or all(self._depend(operation)):
            return False
        at = self._depend(operation).index(True)
        value, by = operation.inputs[at], operation.inputs[1 - at]
        made, key = self._fresh.get(value, (None, 0))
        if made is None or self._reads[value] > 1 or (at and operation.name == "div"):
            return False
        if not functions.is_average(made, operation, 1 - at, self._counts.get(by)):
            return False
        self._drafts[key].name = self._drafts[key].name.replace("sum", "average")
        return True

    def _look(
        self, operation: Operation, parameters: set[tuple[str, ...]]
    ) -> tuple[str, str, str] | None:
        """Kind, name and note; None if there is nothing to draw."""
        inputs, name = self._depend(operation), operation.name
        if functions.is_weighted(operation, inputs):
            if name == "dot_general":
                look = "linear", functions.linear_name(operation, inputs.index(False)), ""
            else:
                look = ("conv", *functions.conv_name(operation))
            return look if parameters else ("function", f"fixed {look[1]}", look[2])
        if name == "reshape" and functions.flattens(operation):
            return "pool", "flatten", ""
        if name in functions.MOVES or functions.keeps_all(operation):
            return None
        if name in functions.RESCALES and sum(inputs) < 2:
            names = " ".join(sorted(p[-1] for p in parameters))
            scale = functions.rescale_name(operation, inputs, names)
            return ("function", scale, "") if scale else None
        if name in functions.SYMBOLS:
            return "operator", functions.SYMBOLS[name], ""
        if name in ("concatenate", "stack"):
            return "join", name, " ".join(sorted(p[-1] for p in parameters))
        if name in ("dot_general", "conv_general_dilated"):
            return "product", "matrix product" if name == "dot_general" else "convolution", ""
        reduction = functions.reduction_name(operation)
        return ("pool", *reduction) if reduction else functions.plain_look(operation)
