"""Decide which module calls of a trace are drawn as boxes, and which as panels around boxes."""

import re
from collections import Counter, defaultdict
from typing import NamedTuple

from jaxcifar.diagram import functions
from jaxcifar.diagram.box_label import Kind, Label
from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.kinds import is_layer, kind_of
from jaxcifar.diagram.operation import Operation
from jaxcifar.diagram.trace import Call, Trace


class _LayerStyle(NamedTuple):
    """The style of the boxes of one kind of layer.

    Attributes:
      prefix: the beginning of the layer's name in torchsummary, such as "Conv".
      kind: the kind of box.
      name: the box's name; "" for a name such as "3×3 conv, 64", made from the layer's kernel.
    """

    prefix: str
    kind: Kind
    name: str


_LAYER_STYLES = tuple(_LayerStyle(*style) for style in (
    ("Conv1d", "conv", ""), ("Conv2d", "conv", ""), ("Conv3d", "conv", ""),
    ("ConvTranspose", "conv", ""), ("Linear", "linear", ""), ("BatchNorm", "norm", "BN"),
    ("Dropout", "dropout", "Dropout"), ("MaxPool", "pool", "max pool"),
    ("MaxBlurPool", "pool", "max blur pool"),
    ("ReLU", "activation", "ReLU"), ("PReLU", "activation", "PReLU"),
    ("GELU", "activation", "GELU"), ("Whitening", "conv", "whitening"),
    ("MultiheadAttention", "attention", "attention"), ("Embedding", "linear", "embedding"),
))  # fmt: skip


class ModuleCalls:
    """Decides which module calls of a traced network are drawn as boxes, and which as panels.

    A panel is a frame around boxes. Each call has a number.
    """

    def __init__(self, trace: Trace) -> None:
        self._calls = {call.number: call for call in trace.calls}
        self._parents = {call.parent for call in trace.calls}
        self._operations: dict[int, list[Operation]] = defaultdict(list)
        for operation in trace.operations:
            for call in self._enclosing(operation.call):
                self._operations[call.number].append(operation)
        self._box_calls = {call.number for call in trace.calls if self._is_box(call)}
        self._panel_names = self._find_panel_names()

    def box(self, number: int | None) -> Call | None:
        """Return the module call that is drawn as a box around an operation; None if there is none.

        If several calls around the operation may be boxes, only the outermost one becomes a box.

        Args:
          number: number of the innermost module call around the operation; None outside of modules.
        """
        boxes = [call for call in self._enclosing(number) if call.number in self._box_calls]
        return boxes[-1] if boxes else None

    def panels(self, number: int | None) -> tuple[str, ...]:
        """Return the names of the panels, i.e. drawn frames, around an operation, outermost first.

        Each module call around the operation has a panel, except the call of the network itself.

        Args:
          number: number of the innermost module call around the operation; None outside of modules.
        """
        outermost_first = reversed(self._enclosing(number))
        return tuple(self._panel_names[call.number] for call in outermost_first if call.path)

    def label(self, call: Call) -> Label:
        """Return the label of a module call's box, such as "3×3 conv, 64" or "Dropout"."""
        layer_kind = kind_of(call.module, call.output_shape)
        style = _style_of(layer_kind)
        if style.kind == "attention":
            return Label(style.kind, f"attention, {call.module.num_heads} heads")
        products = self._products(call)
        if len(products) != 1:
            return Label(style.kind, style.name or layer_kind)
        [product] = products
        product_label = _product_label(product)
        if style.name or not is_layer(call.module):
            notes = [text for text in (product_label.name, product_label.note) if text]
            return Label(style.kind, style.name or layer_kind, " · ".join(notes))
        module_name = call.path[-1]
        is_named_by_user = not re.search(r"(^|_)\d+$", module_name)  # Flax's names end in a number
        if product.name == "dot_general" and is_named_by_user:
            # The name shows what a layer is for: "query" and "key" look alike otherwise.
            return Label(style.kind, product_label.name, module_name)
        return Label(style.kind, product_label.name, product_label.note)

    def _enclosing(self, number: int | None) -> list[Call]:
        """Return a module call and the calls around it, innermost first.

        Args:
          number: number of the module call; with None, the list is empty.
        """
        calls = []
        while number in self._calls:
            calls.append(self._calls[number])
            number = self._calls[number].parent
        return calls

    def _is_box(self, call: Call) -> bool:
        """Return whether a module call may be drawn as one box.

        A call of a layer may. A call of another module may if the module calls no modules, and
        computes at most one matrix product or convolution.
        """
        if not call.path:  # the network itself
            return False
        if is_layer(call.module):
            return True
        return call.number not in self._parents and len(self._products(call)) < 2

    def _products(self, call: Call) -> list[Operation]:
        """Return a call's matrix products and convolutions that depend on the input image."""
        operations = self._operations[call.number]
        return [op for op in operations if op.depends_on_image and op.macs > 0]

    def _find_panel_names(self) -> dict[int, str]:
        """Return the name of each module call's panel (a drawn frame), by the call's number.

        A name such as "block, call 2 ×3" has up to three parts. The module's name comes first. Then
        follow the number of the call, if the module was called before, and how often a loop repeats
        the call.
        """
        names: dict[int, str] = {}
        calls_of_path: Counter[tuple[str, ...]] = Counter()
        for number, call in sorted(self._calls.items()):
            if not call.path:
                continue
            calls_of_path[call.path] += 1
            names[number] = call.path[-1]
            if call.path[-1].isdecimal():  # in a list of Flax NNX, such as "blocks 0"
                names[number] = " ".join(call.path[-2:])
            if calls_of_path[call.path] > 1:
                names[number] += f", call {calls_of_path[call.path]}"
            repeats = self._repeats(number) // self._repeats(call.parent)
            if repeats > 1:
                names[number] += f" ×{repeats}"
        return names

    def _repeats(self, number: int | None) -> int:
        """Return how often loops repeat a module call.

        Return 1 outside of modules, and in a branch of a conditional that is not counted.

        Args:
          number: number of the module call; None outside of modules.
        """
        operations = () if number is None else self._operations.get(number, ())
        return min((op.repeats for op in operations if op.repeats), default=1)


def _style_of(layer_kind: str) -> _LayerStyle:
    """Return the style of a layer's boxes, given torchsummary's name for it, such as "Conv2d"."""
    for style in _LAYER_STYLES:
        if layer_kind.startswith(style.prefix):
            return style
    box_kind: Kind = "norm" if "Norm" in layer_kind else "module"
    return _LayerStyle(layer_kind, box_kind, layer_kind)


def _product_label(product: Operation) -> Label:
    """Return the label of a convolution, or of a matrix product, labelled like a dense layer."""
    if product.name != "dot_general":
        return functions.conv_label(product)
    first, second = product.equation.invars
    # A kernel has fewer axes than activations. With as many axes, Flax has it second.
    kernel = 0 if len(shape_of(first)) < len(shape_of(second)) else 1
    return functions.linear_label(product, kernel)
