"""What a network computes, as a graph of boxes that a person can read.

A layer is a node; so is a function that the network applies between its layers, an addition of two
branches, a product, a concatenation. What only moves data or scales them by constants is left out,
and so is arithmetic among parameters.
"""

import dataclasses
from collections.abc import Callable, Sequence

from jaxcifar.models import functions
from jaxcifar.models.calls import Calls
from jaxcifar.models.trace import Call, Operation, Shape, Trace


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
      sources: places in the graph of the nodes that it reads, all before its own.
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


@dataclasses.dataclass
class Draft:
    """A node to be; `sources` are keys of others, `names` the operations that it stands for."""

    kind: str
    name: str
    note: str
    input_shape: Shape
    output_shape: Shape
    path: tuple[str, ...] = ()
    params: int = 0
    sources: list[int] = dataclasses.field(default_factory=list)
    names: set[str] = dataclasses.field(default_factory=set)


def build_graph(trace: Trace) -> tuple[Node, ...]:
    """The nodes from the image to the logits, in the order in which they are computed."""
    builder = _Builder(trace)
    for operation in trace.operations:
        builder.add(operation)
    drafts = builder.finished()
    drop_unused(drafts)
    merge_groups(drafts)
    places = {key: place for place, key in enumerate(drafts)}
    return tuple(
        Node(**_fields(draft), sources=tuple(places[key] for key in draft.sources))
        for draft in drafts.values()
    )


def _fields(draft: Draft) -> dict[str, object]:
    fields = vars(draft).copy()
    del fields["names"], fields["sources"]
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
        elif named is not None:
            name = functions.NAMED[named[0]]
            self._add_to(named, operation, lambda: self._draft(operation, "activation", name))
        else:
            self._add_alone(operation, parameters)

    def finished(self) -> dict[int, Draft]:
        """The drafts, with the logits last."""
        source = self._source[self._trace.logits]
        shape = self._drafts[source].output_shape
        self._drafts[len(self._drafts)] = Draft(
            "data", "logits", "", shape, shape, sources=[source]
        )
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
        return Draft(kind, name, note, *shapes, path, names={operation.name})

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
                return "linear", functions.linear_name(operation, inputs.index(False)), ""
            return ("conv", *functions.conv_name(operation))
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
        if name == "concatenate":
            return "join", "concatenate", " ".join(sorted(p[-1] for p in parameters))
        if name in ("dot_general", "conv_general_dilated"):
            return "product", "matrix product" if name == "dot_general" else "convolution", ""
        reduction = functions.reduction_name(operation)
        return ("pool", *reduction) if reduction else functions.plain_look(operation)


def _shape(var: object) -> Shape:
    return tuple(var.aval.shape[1:])


def drop_unused(drafts: dict[int, Draft]) -> None:
    """Drop what does not lead to the logits."""
    last = max(drafts)
    used = {0, last}
    for key in sorted(drafts, reverse=True):
        if key in used:
            used.update(drafts[key].sources)
    for key in set(drafts) - used:
        del drafts[key]


def merge_groups(drafts: dict[int, Draft]) -> None:
    """Draw operations as one that compute a known function together, such as a softmax."""
    users: dict[int, set[int]] = {key: set() for key in drafts}
    for key, draft in drafts.items():
        for source in draft.sources:
            users[source].add(key)
    for key in sorted(drafts, reverse=True):
        if key in drafts and _simple(drafts[key]):
            _merge_into(key, drafts, users)


def _simple(draft: Draft) -> bool:
    return bool(draft.names) and draft.names <= functions.SIMPLE and not draft.params


def _merge_into(key: int, drafts: dict[int, Draft], users: dict[int, set[int]]) -> None:
    """Merge the smallest known group that ends here and has one source."""
    group, names = {key}, set(drafts[key].names)
    while True:
        outside = {source for member in group for source in drafts[member].sources} - group
        name = functions.group_name(names) if len(outside) == 1 and len(group) > 1 else None
        if name is not None:
            break
        inner = [s for s in outside if s in drafts and _simple(drafts[s]) and users[s] <= group]
        if not inner:
            return
        group.add(max(inner))
        names |= drafts[max(inner)].names
    (source,) = outside
    for member in group - {key}:
        del drafts[member]
    users[source] = (users[source] - group) | {key}
    if name:
        first = drafts[key]
        shape = drafts[source].output_shape
        first.kind, first.name, first.note = "activation", name, ""
        first.input_shape, first.sources, first.names = shape, [source], set()
        return
    del drafts[key]
    for user in users.pop(key):
        reads = drafts[user].sources
        drafts[user].sources = list(dict.fromkeys(source if s == key else s for s in reads))
        users[source].add(user)
    users[source].discard(key)
