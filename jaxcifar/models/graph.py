"""What a network computes, as a graph of boxes that a person can read.

A layer is a node; so is a function that the network applies between its layers, an addition of two
branches, a product, a concatenation. What only moves data or scales them by constants is left out,
and so is arithmetic among parameters.
"""

import dataclasses
from collections.abc import Callable, Sequence

from jaxcifar.models import functions
from jaxcifar.models.calls import Calls
from jaxcifar.models.drafts import Draft, drop_unused, merge_groups
from jaxcifar.models.program import Operation
from jaxcifar.models.trace import Call, Shape, Trace


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer or function; shapes are of one image, channels last.

    Attributes:
      kind: one of `KINDS`, which tells how it is drawn.
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


KINDS = (
    "data", "conv", "linear", "norm", "activation", "dropout", "pool", "attention", "product",
    "operator", "join", "function", "module",
)  # fmt: skip


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


def _fields(draft: Draft) -> dict[str, object]:
    fields = vars(draft).copy()
    del fields["names"], fields["sources"], fields["several"]
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

    def add(self, operation: Operation) -> None:
        """Read the next one."""
        parameters = set().union(*(self._made_of.get(v, ()) for v in operation.inputs))
        if not operation.depends:
            self._made_of |= dict.fromkeys(operation.outputs, parameters)
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
        shape = self._drafts[source].output_shape if sources else ()
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
            self._drafts[key].output_shape = _shape(operation.equation.outvars[0])

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

    def _count(self, paths: Sequence[tuple[str, ...]]) -> int:
        """The size of those parameters that no draft has so far."""
        new = set(paths) - self._counted
        self._counted |= new
        return sum(self._trace.params[path][1] for path in new)

    def _draft(self, operation: Operation, kind: str, name: str, note: str = "") -> Draft:
        first = next(
            var
            for var, value in zip(operation.equation.invars, operation.inputs, strict=True)
            if value in self._source
        )
        shapes = _shape(first), _shape(operation.equation.outvars[0])
        path = self._calls.panels(operation.call)
        draft = Draft(kind, name, note, *shapes, path, names={operation.name})
        draft.several = len(operation.outputs) > 1
        return draft

    def _whole(self, operation: Operation, name: str) -> Draft:
        """A named function that begins with an operation."""
        draft = self._draft(operation, "activation", name)
        draft.names = set()  # it is no part of another one
        return draft

    def _add_alone(self, operation: Operation, parameters: set[tuple[str, ...]]) -> None:
        """An operation outside of all layers and named functions."""
        looks = self._look(operation, parameters)
        if looks is None:
            source = self._sources(operation)[0]
            self._source |= dict.fromkeys(operation.outputs, source)
            if operation.name in ("div", "mul"):
                self._average(source)
            return
        draft = self._draft(operation, *looks)
        draft.params = self._count(parameters)
        self._connect(self._append(draft), operation)

    def _average(self, source: int) -> None:
        """A sum that is divided by a constant is a mean."""
        draft = self._drafts[source]
        if draft.names in ({"reduce_sum"}, {"reduce_window_sum"}):
            draft.name = draft.name.replace("sum", "average")

    def _look(
        self, operation: Operation, parameters: set[tuple[str, ...]]
    ) -> tuple[str, str, str] | None:
        """Kind, name and note; None if there is nothing to draw."""
        inputs, name = [v in self._source for v in operation.inputs], operation.name
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
            if not parameters:
                return None
            sign, what = functions.SYMBOLS.get(name, name), " ".join(p[-1] for p in parameters)
            return "function", f"{sign} {what}", ""
        if name in functions.SYMBOLS:
            return "operator", functions.SYMBOLS[name], ""
        if name in ("concatenate", "stack"):
            return "join", name, " ".join(sorted(p[-1] for p in parameters))
        if name in ("dot_general", "conv_general_dilated"):
            return "product", "matrix product" if name == "dot_general" else "convolution", ""
        reduction = functions.reduction_name(operation)
        return ("pool", *reduction) if reduction else functions.plain_look(operation)


def _shape(var: object) -> Shape:
    return tuple(var.aval.shape[1:])
