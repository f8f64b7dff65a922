"""The module calls of a trace: which are drawn as boxes, which as panels around others."""

import re
from collections import Counter, defaultdict

from jaxcifar.diagram import functions
from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.kinds import is_layer, kind_of
from jaxcifar.diagram.operation import Operation
from jaxcifar.diagram.trace import Call, Trace

# By kind of layer, or the beginning of it: how it is drawn, and as what.
_LOOKS = (
    ("Conv1d", "conv", ""), ("Conv2d", "conv", ""), ("Conv3d", "conv", ""),
    ("ConvTranspose", "conv", ""), ("Linear", "linear", ""), ("BatchNorm", "norm", "BN"),
    ("Dropout", "dropout", "Dropout"), ("MaxPool", "pool", "max pool"),
    ("MaxBlurPool", "pool", "max blur pool"),
    ("ReLU", "activation", "ReLU"), ("PReLU", "activation", "PReLU"),
    ("GELU", "activation", "GELU"), ("Whitening", "conv", "whitening"),
    ("MultiheadAttention", "attention", "attention"), ("Embedding", "linear", "embedding"),
)  # fmt: skip


class Calls:
    """Questions about a trace's calls."""

    def __init__(self, trace: Trace) -> None:
        self._calls = {call.number: call for call in trace.calls}
        self._operations: dict[int, list[Operation]] = defaultdict(list)
        for operation in trace.operations:
            for call in self._around(operation.call):
                self._operations[call.number].append(operation)
        self._parents = {call.parent for call in trace.calls}
        self._drawn = {n: self._is_box(call) for n, call in self._calls.items()}
        self._labels = self._find_labels()

    def box(self, number: int | None) -> Call | None:
        """The outermost call around and including this one that is drawn as a box."""
        around = self._around(number)
        return next((call for call in reversed(around) if self._drawn[call.number]), None)

    def panels(self, number: int | None) -> tuple[str, ...]:
        """Labels of this call and those around it, outermost first, without the network's."""
        return tuple(self._labels[c.number] for c in reversed(self._around(number)) if c.path)

    def describe(self, call: Call) -> tuple[str, str, str]:
        """A box's kind, name and note."""
        kind = kind_of(call.module, call.output_shape)
        found = next((look for look in _LOOKS if kind.startswith(look[0])), None)
        style, name = found[1:] if found else ("module", kind)
        if not found and "Norm" in kind:
            style = "norm"
        if style == "attention":
            return style, f"attention, {call.module.num_heads} heads", ""
        weighted = self._weighted(call)
        if len(weighted) != 1:
            return style, name or kind, ""
        (operation,) = weighted
        if operation.name == "dot_general":
            content = functions.linear_name(operation, _weights(operation)), ""
        else:
            content = functions.conv_name(operation)
        if is_layer(call.module) and not name:
            own = call.path[-1]
            if operation.name == "dot_general" and not re.search(r"_\d+$", own):
                return style, content[0], own  # as a query is told from a key
            return (style, *content)
        return style, name or kind, " · ".join(filter(None, content))

    def _around(self, number: int | None) -> list[Call]:
        """A call and those that it lies in, innermost first."""
        calls = []
        while number in self._calls:
            calls.append(self._calls[number])
            number = self._calls[number].parent
        return calls

    def _is_box(self, call: Call) -> bool:
        if not call.path:
            return False
        if is_layer(call.module):
            return True
        products = [op for op in self._operations[call.number] if _is_product(op)]
        return call.number not in self._parents and len(products) < 2

    def _weighted(self, call: Call) -> list[Operation]:
        return [op for op in self._operations[call.number] if _is_product(op)]

    def _find_labels(self) -> dict[int, str]:
        """Names of modules; of a later call with its number, of one in a loop with how often."""
        labels: dict[int, str] = {}
        seen: Counter[tuple[str, ...]] = Counter()
        for number, call in sorted(self._calls.items()):
            if not call.path:
                continue
            seen[call.path] += 1
            labels[number] = call.path[-1]
            if seen[call.path] > 1:
                labels[number] += f", call {seen[call.path]}"
            times = self._times(number) // self._times(call.parent)
            if times > 1:
                labels[number] += f" ×{times}"
        return labels

    def _times(self, number: int | None) -> int:
        """How often a call runs; operations of branches that are not counted don't tell it."""
        operations = () if number is None else self._operations.get(number, ())
        return min((op.times for op in operations if op.times), default=1)


def _is_product(operation: Operation) -> bool:
    return operation.depends and operation.macs > 0


def _weights(operation: Operation) -> int:
    """Which input is smaller in rank or, failing that, the second: the kernel of a dense layer."""
    first, second = (len(shape_of(var)) for var in operation.equation.invars)
    return 0 if first < second else 1
