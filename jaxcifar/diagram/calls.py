"""Decide which module calls of a trace are drawn as boxes, and which as frames around boxes."""

import re
from collections import Counter, defaultdict
from typing import NamedTuple

from jaxcifar.diagram import functions
from jaxcifar.diagram.box_label import BoxKind, Label
from jaxcifar.diagram.call_recorder import ModuleCall
from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.kinds import is_layer, layer_kind_of
from jaxcifar.diagram.operation import Operation
from jaxcifar.diagram.trace import Trace


class _LayerStyle(NamedTuple):
    """The style of the boxes of one kind of layer.

    Attributes:
      prefix: the beginning of the layer's name in torchsummary, such as "Conv".
      kind: the kind of box.
      name: the box's name; "" for a name such as "3×3 conv, 64", made from the layer's kernel.
    """

    prefix: str
    kind: BoxKind
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
    """Decides which module calls of a traced network are drawn as boxes, and which as frames.

    A frame is drawn around several boxes. Each call has a number.
    """

    def __init__(self, trace: Trace) -> None:
        self._calls = {call.number: call for call in trace.calls}
        self._numbers_with_inner_calls = {call.parent_number for call in trace.calls}
        self._operations_in_call: dict[int, list[Operation]] = defaultdict(list)
        for operation in trace.operations:
            for call in self._calls_from_outermost(operation.call_number):
                self._operations_in_call[call.number].append(operation)
        self._box_call_numbers = {call.number for call in trace.calls if self._may_be_box(call)}
        self._frame_name_of_call = self._find_frame_names()

    def box_call(self, call_number: int | None) -> ModuleCall | None:
        """Return the module call in whose box an operation is drawn; None if there is no such call.

        If the operation is inside several calls, the outermost one that may be a box is drawn.

        Args:
          call_number: number of the innermost module call around the operation; None outside of
            modules.
        """
        for call in self._calls_from_outermost(call_number):
            if call.number in self._box_call_numbers:
                return call
        return None

    def frame_names(self, call_number: int | None) -> tuple[str, ...]:
        """Return the names of the frames that are drawn around an operation, outermost first.

        Each module call around the operation has a frame, except the call of the network itself.

        Args:
          call_number: number of the innermost module call around the operation; None outside of
            modules.
        """
        calls = self._calls_from_outermost(call_number)
        calls_inside_network = [call for call in calls if call.path]
        return tuple(self._frame_name_of_call[call.number] for call in calls_inside_network)

    def label(self, call: ModuleCall) -> Label:
        """Return the label of a module call's box, such as "3×3 conv, 64" or "Dropout"."""
        layer_kind = layer_kind_of(call.module, call.output_shape)
        style = _style_of_layer(layer_kind)
        if style.kind == "attention":
            return Label(style.kind, f"attention, {call.module.num_heads} heads")
        name = style.name or layer_kind
        products = self._products_of_image(call)
        if len(products) != 1:
            return Label(style.kind, name)
        [product] = products
        product_label = _product_label(product)
        is_conv_or_linear_layer = is_layer(call.module) and not style.name
        if is_conv_or_linear_layer:
            note = product_label.note
            module_name = call.path[-1]
            if product.name == "dot_general" and _is_users_name(module_name):
                # The user's name shows what a layer is for: "query" and "key" look alike otherwise.
                note = module_name
            return Label(style.kind, product_label.name, note)
        notes = [text for text in (product_label.name, product_label.note) if text]
        return Label(style.kind, name, " · ".join(notes))

    def _calls_from_outermost(self, call_number: int | None) -> list[ModuleCall]:
        """Return the calls around a module call, outermost first, and the call itself.

        Args:
          call_number: number of the module call; with None, the list is empty.
        """
        calls: list[ModuleCall] = []
        while call_number in self._calls:
            calls.insert(0, self._calls[call_number])
            call_number = calls[0].parent_number
        return calls

    def _may_be_box(self, call: ModuleCall) -> bool:
        """Return whether a module call may be drawn as one box.

        A call of a layer may. A call of another module may if the module calls no modules, and
        computes at most one matrix product or convolution.
        """
        if not call.path:  # the network itself
            return False
        if is_layer(call.module):
            return True
        has_inner_calls = call.number in self._numbers_with_inner_calls
        return not has_inner_calls and len(self._products_of_image(call)) <= 1

    def _products_of_image(self, call: ModuleCall) -> list[Operation]:
        """Return a call's matrix products and convolutions that depend on the input image."""
        operations = self._operations_in_call[call.number]
        return [op for op in operations if op.depends_on_image and op.macs > 0]

    def _find_frame_names(self) -> dict[int, str]:
        """Return the name of the frame that is drawn around each module call, by call number.

        A name such as "block, call 2 ×3" has up to three parts: the module's name; the number of
        the call, if the module was called before; and how often a loop repeats the call.
        """
        frame_names: dict[int, str] = {}
        call_count_of_path: Counter[tuple[str, ...]] = Counter()
        for call_number, call in sorted(self._calls.items()):
            is_network = not call.path
            if is_network:  # its boxes need no frame around all of them
                continue
            call_count_of_path[call.path] += 1
            call_count = call_count_of_path[call.path]
            frame_name = _readable_module_name(call.path)
            if call_count > 1:
                frame_name += f", call {call_count}"
            repeats_of_parent = self._repeat_count(call.parent_number)
            repeats_in_parent = self._repeat_count(call_number) // repeats_of_parent
            if repeats_in_parent > 1:
                frame_name += f" ×{repeats_in_parent}"
            frame_names[call_number] = frame_name
        return frame_names

    def _repeat_count(self, call_number: int | None) -> int:
        """Return how often loops repeat a module call.

        The result is 1 if no loop is around the call. It is also 1 in the cheaper branches of a
        conditional, whose operations are not counted.

        Args:
          call_number: number of the module call; None outside of modules, where the result is 1.
        """
        if call_number is None:
            return 1
        operations = self._operations_in_call.get(call_number, [])
        return min((op.repeat_count for op in operations if op.repeat_count), default=1)


def _readable_module_name(path: tuple[str, ...]) -> str:
    """Return a module's own name, or a name such as "blocks 0" for a module in a list."""
    own_name = path[-1]
    is_in_nnx_list = own_name.isdecimal()
    return " ".join(path[-2:]) if is_in_nnx_list else own_name


def _is_users_name(module_name: str) -> bool:
    """Return whether a module's name is unlike the names that Flax chooses, such as "Dense_0"."""
    is_numbered_by_flax = re.search(r"(^|_)\d+$", module_name) is not None
    return not is_numbered_by_flax


def _style_of_layer(layer_kind: str) -> _LayerStyle:
    """Return the style of a layer's boxes, given torchsummary's name for it, such as "Conv2d"."""
    for style in _LAYER_STYLES:
        if layer_kind.startswith(style.prefix):
            return style
    box_kind: BoxKind = "norm" if "Norm" in layer_kind else "module"
    return _LayerStyle(layer_kind, box_kind, layer_kind)


def _product_label(product: Operation) -> Label:
    """Return the label of a convolution ("3×3 conv, 64") or of a matrix product ("linear, 10")."""
    if product.name != "dot_general":
        return functions.conv_label(product)
    first_operand, second_operand = product.equation.invars
    # A kernel has fewer axes than activations. With as many axes, Flax has it second.
    kernel_is_first = len(shape_of(first_operand)) < len(shape_of(second_operand))
    return functions.linear_label(product, kernel_index=0 if kernel_is_first else 1)
