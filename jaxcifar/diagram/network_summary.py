"""The summary of a network: layer table, parameters, sizes, FLOPs and graph.

The table has the form of torchsummary's: one row for each call of a module, in the order in which
the calls finish, with channels-first shapes and -1 for the batch.

FLOPs follow thop's convention: the multiply-accumulates of all convolutions and matrix products
without biases, plus four operations for each output element of a batch, instance or layer
normalisation.
"""

import dataclasses
import json
import math
from collections import Counter, defaultdict
from typing import Annotated

from flax import linen as nn
from msgspec import Meta

from jaxcifar.diagram.call_recorder import ModuleCall
from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.graph import Node, build_graph
from jaxcifar.diagram.kinds import NORMS_COUNTED_IN_FLOPS, layer_kind_of
from jaxcifar.diagram.stored import (
    MAX_LAYERS,
    MAX_NODES,
    ModulePath,
    StoredCount,
    StoredShape,
    StoredText,
)
from jaxcifar.diagram.trace import Shape, Trace, trace
from jaxcifar.image_size import IMAGE_SIZE, image_shape
from jaxcifar.machine.reading import convert_checked, parse_json

_OPERATIONS_PER_MAC = 2  # a multiplication and an addition
_PASSES_PER_IMAGE = 3  # in training: one forward, two backward
_LEAST_NAME_WIDTH, _OTHER_COLUMNS_WIDTH = 20, 44  # of the table, in characters
_OPERATIONS_PER_NORMALIZED_ELEMENT = 4  # as thop counts them
_FLOAT_BYTES = 4
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of a module: a row of the layer table. Shapes are for one image, with channels last.

    Attributes:
      kind: torchsummary's name for the module, such as "Conv2d", or else its class name.
      path: names of the modules around the called module, outermost first, then its own name.
      input_shape: the shape of the first input array.
      output_shape: the shape of the first output array.
      params: the number of the module's own parameters, without those of modules that it calls; 0
        for the second and later calls of the same module.
    """

    kind: StoredText
    path: ModulePath
    input_shape: StoredShape
    output_shape: StoredShape
    params: StoredCount


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers, parameters, operations and graph of a network.

    Attributes:
      layers: module calls in the order in which they finish. The network itself is among them only
        if it has parameters that belong to no layer.
      params: the number of trainable parameters.
      macs: multiply-accumulates of all convolutions and matrix products for one image.
      flops: operations for one image, counted as thop does.
      graph: the nodes of the network's drawing, from the image to the logits.
    """

    layers: Annotated[tuple[Layer, ...], Meta(max_length=MAX_LAYERS)]
    params: StoredCount
    macs: StoredCount
    flops: StoredCount
    graph: Annotated[tuple[Node, ...], Meta(max_length=MAX_NODES)]

    def table(self) -> str:
        """Return the layers as a text table in torchsummary's form, with totals and FLOPs below."""
        names = [f"{layer.kind}-{number}" for number, layer in enumerate(self.layers, start=1)]
        name_width = max([_LEAST_NAME_WIDTH, *(len(name) for name in names)])
        table_width = name_width + _OTHER_COLUMNS_WIDTH
        rule, double_rule = "-" * table_width, "=" * table_width
        titles = f"{'Layer (type)':>{name_width}}  {'Output Shape':>25} {'Param #':>15}"
        lines = [rule, titles, double_rule]
        for name, layer in zip(names, self.layers, strict=True):
            shape = _channels_first_text(layer.output_shape)
            lines.append(f"{name:>{name_width}}  {shape:>25} {layer.params:>15,}")
        lines += [double_rule, f"Total params: {self.params:,}"]
        lines += [f"Trainable params: {self.params:,}", "Non-trainable params: 0", rule]
        lines += [*self._memory_lines(), rule, f"FLOPs: {self.flops:,}", rule]
        return "\n".join(lines) + "\n"

    def _memory_lines(self) -> list[str]:
        """Return the table's lines about the memory that training on one image needs."""
        output_elements = sum(math.prod(layer.output_shape) for layer in self.layers)
        element_counts = {
            "Input": math.prod(self.graph[0].output_shape),
            "Forward/backward pass": 2 * output_elements,  # each output and its gradient
            "Params": self.params,
        }
        sizes = {name: count * _FLOAT_BYTES / _MIB for name, count in element_counts.items()}
        lines = [f"{name} size (MB): {size:.2f}" for name, size in sizes.items()]
        return [*lines, f"Estimated Total Size (MB): {sum(sizes.values()):.2f}"]

    def to_json(self) -> str:
        """Return the summary as JSON text, with one line for each layer and each node."""
        fields = []
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, tuple):
                rows = ",\n".join(json.dumps(row) for row in value)
                fields.append(f'"{name}": [\n{rows}\n]')
            else:
                fields.append(f'"{name}": {json.dumps(value)}')
        return "{" + ",\n".join(fields) + "}\n"

    @classmethod
    def from_json(cls, text: str) -> "Summary":
        """Return the summary in text written by `to_json`, after checking all its values.

        Raises:
          ValueError: the text is not JSON, or a value in it is missing, invalid or too large.
        """
        summary = convert_checked(parse_json(text), cls)
        for index, layer in enumerate(summary.layers):
            _check_printable(f"layers[{index}]", layer.kind, *layer.path)
        for index, node in enumerate(summary.graph):
            _check_printable(f"graph[{index}]", node.name, node.note, *node.path)
        _check_graph(summary.graph)
        return summary


def _check_printable(field: str, *texts: str) -> None:
    for text in texts:
        if not text.isprintable():
            raise ValueError(f"{field}: the text {text!r} must have printable characters only")


def _check_graph(graph: tuple[Node, ...]) -> None:
    """Raise a ValueError unless a graph leads from an image to logits without cycles.

    A graph has no cycles if each node reads only the outputs of earlier nodes.
    """
    if len(graph) < 2 or graph[0].kind != "data" or graph[-1].kind != "data":
        raise ValueError('graph: the first and the last node must be of kind "data"')
    for index, node in enumerate(graph):
        if any(source >= index for source in node.sources):
            raise ValueError(f"graph[{index}].sources: a node must read earlier nodes only")
        if node.kind == "data" and 0 < index < len(graph) - 1:
            raise ValueError(
                f'graph[{index}].kind: only the first and the last node may be of kind "data"'
            )


def summarize(model: nn.Module, image_size: int = IMAGE_SIZE) -> Summary:
    """Return the summary of a network. The network is traced; nothing is computed.

    Args:
      model: the network; it is called as `model(images, train=False)`.
      image_size: height and width of the images.
    """
    traced = trace(model, image_shape(image_size))
    macs = sum(op.repeat_count * op.macs for op in traced.operations)
    norm_operations = _OPERATIONS_PER_NORMALIZED_ELEMENT * _count_normalized_elements(traced)
    return Summary(
        layers=_make_table_rows(traced),
        params=sum(parameter.element_count for parameter in traced.params.values()),
        macs=macs,
        flops=macs + norm_operations,
        graph=build_graph(traced),
    )


def _make_table_rows(traced: Trace) -> tuple[Layer, ...]:
    """Return the rows of the layer table: the module calls in the order in which they finish."""
    params_of_module = _count_params_of_modules(traced)
    first_call_of_module: dict[tuple[str, ...], int] = {}
    for call in sorted(traced.calls, key=lambda call: call.number):
        first_call_of_module.setdefault(call.path, call.number)
    rows = []
    for call in traced.calls:
        is_first_call = call.number == first_call_of_module[call.path]
        params = params_of_module[call.path] if is_first_call else 0
        is_network = not call.path
        is_network_without_own_params = is_network and params == 0
        if not is_network_without_own_params:
            kind = layer_kind_of(call.module, call.output_shape)
            rows.append(Layer(kind, call.path, call.input_shape, call.output_shape, params))
    return tuple(rows)


def _count_params_of_modules(traced: Trace) -> Counter[tuple[str, ...]]:
    """Return the number of parameters of each called module, by the path of the module.

    A path has the names of the modules around a module, then its own name. Parameters of a module
    that is not called count for the nearest called module around it.
    """
    called_paths = {call.path for call in traced.calls}
    params_of_module: Counter[tuple[str, ...]] = Counter()
    for path, parameter in traced.params.items():
        module_path = path[:-1]
        while module_path and module_path not in called_paths:
            module_path = module_path[:-1]
        params_of_module[module_path] += parameter.element_count
    return params_of_module


def _count_normalized_elements(traced: Trace) -> int:
    """Return the number of output elements of all normalisations that count in the FLOPs.

    A normalisation's output is as large as its largest array. Axes added by `jax.vmap` count too.
    """
    norm_calls = {call.number for call in traced.calls if _is_counted_norm(call)}
    array_sizes_of_norm: dict[int, list[int]] = defaultdict(list)
    for operation in traced.operations:
        call_number = operation.call_number
        if call_number in norm_calls and operation.depends_on_image:
            for array in operation.equation.outvars:
                size = operation.repeat_count * math.prod(shape_of(array))
                array_sizes_of_norm[call_number].append(size)
    return sum(max(array_sizes) for array_sizes in array_sizes_of_norm.values())


def _is_counted_norm(call: ModuleCall) -> bool:
    return layer_kind_of(call.module, call.output_shape).startswith(NORMS_COUNTED_IN_FLOPS)


def _channels_first_text(shape: Shape) -> str:
    """Return a channels-last shape as torchsummary prints it, such as "[-1, 64, 32, 32]"."""
    if not shape:
        return "[-1]"
    *spatial, channels = shape
    return str([-1, channels, *spatial])


def training_flops(macs: int, images: float) -> float:
    """Return how many multiplications and additions the training on images takes.

    Each image takes three passes: one forward, and two backward, to the inputs and to the weights.

    Args:
      macs: multiply-accumulates of the forward pass of one image; each is two operations.
      images: number of images, over all steps.
    """
    return _OPERATIONS_PER_MAC * _PASSES_PER_IMAGE * macs * images
