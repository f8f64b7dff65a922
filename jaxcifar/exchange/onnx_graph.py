"""A trained network as an ONNX file, written with the package `onnx` alone.

In evaluation a batch normalisation is an affine map of each channel, and so is folded into the
convolution or dense layer before it (as Jacob et al. describe, "Quantization and training of neural
networks for efficient integer-arithmetic-only inference", 2018, section 3.2).
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.errors import UsageError
from jaxcifar.exchange.written_out import is_mirrored, written_out
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write
from jaxcifar.networks.fastnet import LOGIT_SCALE
from jaxcifar.networks.layers import BatchNorm
from jaxcifar.runs.weights import named
from jaxcifar.trained.classifier import Classifier

# Old enough for any runtime of these years; newer ones have nothing that these networks need.
_OPSET, _IR_VERSION = 17, 8
_INPUT, _OUTPUT, _BATCH = "images", "logits", "batch"


class Graph:
    """The nodes and weights of a network, which grow as its layers are added.

    Args:
      helper: `onnx.helper`.
      arrays: the network's arrays by their names, such as `params/Conv_0/kernel`.
      model: the Flax module, which has the network's fields.
    """

    def __init__(self, helper: Any, arrays: Mapping[str, Any], model: Any) -> None:
        # A layer's arrays have different names, whatever collection they are in.
        self._arrays = {
            name.partition("/")[2]: np.asarray(array, np.float64) for name, array in arrays.items()
        }
        self._helper, self.model = helper, model
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}

    def has(self, layer: str) -> bool:
        """Whether there is a layer of that name."""
        return f"{layer}/kernel" in self._arrays

    def add(self, operation: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """An operation; returns its output's name, which is its own number unless given."""
        output = name or f"{operation}_{len(self.nodes)}"
        node = self._helper.make_node(operation, inputs, [output], output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, values: Any) -> str:
        """An array that nodes can read by its name."""
        self.weights[name] = np.asarray(values, np.float32)
        return name

    def conv(self, x: str, layer: str, norm: str = "", stride: int = 1) -> str:
        """A convolution, a 3x3 one padded, and the normalisation after it.

        A pool may lie between the two: where the normalisation has no negative scale, the maximum
        is the same before and after.
        """
        kernel = self._arrays[f"{layer}/kernel"].transpose(3, 2, 0, 1)
        pad = int(kernel.shape[-1] == 3)
        weights = self._folded(kernel, layer, norm)
        return self.add("Conv", x, *weights, strides=[stride] * 2, pads=[pad] * 4)

    def dense(self, x: str, layer: str, norm: str = "", scale: float = 1.0, name: str = "") -> str:
        """A dense layer, its outputs scaled, and the normalisation after it."""
        kernel = self._arrays[f"{layer}/kernel"].T
        return self.add("Gemm", x, *self._folded(kernel, layer, norm, scale), transB=1, name=name)

    def _folded(
        self, kernel: np.ndarray, layer: str, norm: str, scale: float = 1.0
    ) -> tuple[str, ...]:
        """The names of a layer's kernel `[K, ...]` and bias `[K]` (if it comes to have one)."""
        bias = self._arrays.get(f"{layer}/bias")
        kernel = kernel * scale
        bias = None if bias is None else bias * scale
        if norm:
            factor, shift = self._affine(norm)
            kernel = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
            bias = shift if bias is None else bias * factor + shift
        names = [self.constant(f"{layer}.weight", kernel)]
        if bias is not None:
            names.append(self.constant(f"{layer}.bias", bias))
        return tuple(names)

    def _affine(self, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """The factor and the shift `[K]` of each channel by a batch normalisation."""
        mean, var, bias = (self._arrays[f"{norm}/{leaf}"] for leaf in ("mean", "var", "bias"))
        factor = self._arrays.get(f"{norm}/scale", 1.0) / np.sqrt(var + BatchNorm.epsilon)
        return factor, bias - mean * factor

    def pool(self, x: str) -> str:
        """The maximum over 2x2 pixels; a mirrored network has odd widths, and 2x3.

        A blurred one has odd extents, and the mean of four maxima that overlap.
        """
        square = [2, 2]
        if getattr(self.model, "blurred", False):
            x = self.add("MaxPool", x, kernel_shape=square)
            return self.add("AveragePool", x, kernel_shape=square, strides=square)
        width = 3 if getattr(self.model, "mirrored", False) else 2
        return self.add("MaxPool", x, kernel_shape=[2, width], strides=square)

    def last_pool(self, x: str) -> str:
        """The maximum over all pixels; of a blurred network the mean of those over 2x2."""
        if not getattr(self.model, "blurred", False):
            return self.add("GlobalMaxPool", x)
        return self.add("GlobalAveragePool", self.add("MaxPool", x, kernel_shape=[2, 2]))

    def gelu(self, x: str) -> str:
        """`x P(X <= x)` of a normal X, by the error function: `Gelu` is of a later opset."""
        scaled = self.add("Div", x, self.constant("sqrt_2", math.sqrt(2)))
        above = self.add("Add", self.add("Erf", scaled), self.constant("one", 1))
        return self.add("Mul", x, self.add("Mul", above, self.constant("half", 0.5)))


def _pixels(graph: Graph, classifier: Classifier) -> str:
    """Bytes, channels last -> normalised floats, channels first."""
    x = graph.add("Transpose", _INPUT, perm=[0, 3, 1, 2])
    x = graph.add("Cast", x, to=1)  # TensorProto.FLOAT
    x = graph.add("Div", x, graph.constant("most", 255))
    for operation, values in (("Sub", classifier.mean), ("Div", classifier.std)):
        name = "mean" if operation == "Sub" else "std"
        x = graph.add(operation, x, graph.constant(name, np.reshape(values, (1, 3, 1, 1))))
    return x


def _cnn(graph: Graph, x: str) -> None:
    convs = 2 * len(graph.model.widths)
    for number in range(convs):
        x = graph.add("Relu", graph.conv(x, f"Conv_{number}", f"BatchNorm_{number}"))
        if number % 2:
            x = graph.pool(x)
    x = graph.add("Transpose", x, perm=[0, 2, 3, 1])  # channels last, as our dense layer has them
    hidden = graph.dense(graph.add("Flatten", x), "Dense_0", f"BatchNorm_{convs}")
    graph.dense(graph.add("Relu", hidden), "Dense_1", name=_OUTPUT)


def _resnet18(graph: Graph, x: str) -> None:
    x = graph.add("Relu", graph.conv(x, "Conv_0", "BatchNorm_0"))
    number = 0
    for stage, blocks in enumerate(graph.model.blocks):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block(graph, x, f"ResBlock_{number}", stride)
            number += 1
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    graph.dense(x, "Dense_0", name=_OUTPUT)


def _block(graph: Graph, x: str, block: str, stride: int) -> str:
    y = graph.add("Relu", graph.conv(x, f"{block}/Conv_0", f"{block}/BatchNorm_0", stride))
    y = graph.conv(y, f"{block}/Conv_1", f"{block}/BatchNorm_1")
    if graph.has(f"{block}/shortcut"):
        x = graph.conv(x, f"{block}/shortcut", f"{block}/shortcut_norm", stride)
    return graph.add("Relu", graph.add("Add", y, x))


def _fastnet(graph: Graph, x: str) -> None:
    x = graph.gelu(graph.conv(x, "Whitening_0"))
    for group, depth in enumerate(graph.model.group_depths):
        layers = [
            (f"ConvGroup_{group}/Conv_{number}", f"ConvGroup_{group}/BatchNorm_{number}")
            for number in range(depth)
        ]
        x = found = graph.gelu(graph.pool(graph.conv(x, *layers[0])))
        for number, layer in enumerate(layers[1:], start=2):
            x = graph.conv(x, *layer)
            x = graph.gelu(graph.add("Add", x, found) if number == depth > 2 else x)
    x = graph.add("Flatten", graph.last_pool(x))
    graph.dense(x, "Dense_0", scale=LOGIT_SCALE, name=_OUTPUT)


_NETWORKS: dict[str, Callable[[Graph, str], None]] = {
    "cnn": _cnn,
    "resnet18": _resnet18,
    "fastnet": _fastnet,
}


def _require_known(arch: str) -> None:
    if arch not in _NETWORKS:
        raise UsageError(
            f"--arch {arch}: only {', '.join(_NETWORKS)} can go to ONNX; stablehlo and safetensors "
            "take any network"
        )


def onnx_model(classifier: Classifier) -> Any:
    """An `onnx.ModelProto`: `images` `[batch, 32, 32, 3] uint8` -> `logits` `[batch, classes]`.

    Its metadata name the classes: `class_names`, a list as JSON.

    Raises:
      UsageError: it is none of our networks.
      RunError: the package onnx is not installed.
    """
    arch, classes = classifier.config.arch, list(classifier.class_names)
    _require_known(arch)
    onnx = import_extra("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    arrays = named(classifier.variables)
    if is_mirrored(classifier.config):
        arrays = written_out(arrays)
    graph = Graph(helper, arrays, create_model(classifier.config, len(classes)))
    _NETWORKS[arch](graph, _pixels(graph, classifier))
    images = helper.make_tensor_value_info(_INPUT, types.UINT8, [_BATCH, 32, 32, 3])
    logits = helper.make_tensor_value_info(_OUTPUT, types.FLOAT, [_BATCH, len(classes)])
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    model = helper.make_model(
        helper.make_graph(graph.nodes, arch, [images], [logits], weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="jaxcifar",
    )
    helper.set_model_props(model, {"class_names": json.dumps(classes)})
    onnx.checker.check_model(model, full_check=True)
    return model


def write_onnx(classifier: Classifier, path: Path) -> None:
    """Write `onnx_model`.

    Raises:
      UsageError, RunError: see there.
      OSError: it can't be written.
    """
    content = onnx_model(classifier).SerializeToString()
    with atomic_write(path) as file:
        file.write(content)
