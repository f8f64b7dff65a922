"""A trained network as an ONNX file, written with the package `onnx` alone.

In evaluation a batch normalisation is an affine map of each channel, and so is folded into the
convolution or dense layer before it (as Jacob et al. describe, "Quantization and training of neural
networks for efficient integer-arithmetic-only inference", 2018, section 3.2).
"""

import json
import math
from collections.abc import Callable, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.exchange.pytorch_names import require_known
from jaxcifar.exchange.to_pytorch import state_dict
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write
from jaxcifar.networks.fastnet import LOGIT_SCALE
from jaxcifar.networks.layers import BatchNorm
from jaxcifar.trained.classifier import Classifier

# Old enough for any runtime of these years; newer ones have nothing that these networks need.
_OPSET, _IR_VERSION = 17, 8
_INPUT, _OUTPUT, _BATCH = "images", "logits", "batch"


class Graph:
    """The nodes and weights of a network, which grow as its layers are added.

    Args:
      helper: `onnx.helper`.
      state: the weights in PyTorch's names and layouts, which are ONNX's layouts too.
      form: of the network, its own fields by their names.
    """

    def __init__(
        self, helper: Any, state: Mapping[str, np.ndarray], form: Mapping[str, Any]
    ) -> None:
        self._helper, self._state, self._form = helper, state, form
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}

    def has(self, layer: str) -> bool:
        """Whether there is a layer of that name."""
        return f"{layer}.weight" in self._state

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
        weights = self._folded(layer, norm)
        pad = int(self._state[f"{layer}.weight"].shape[-1] == 3)
        return self.add("Conv", x, *weights, strides=[stride] * 2, pads=[pad] * 4)

    def dense(self, x: str, layer: str, norm: str = "", scale: float = 1.0, name: str = "") -> str:
        """A dense layer, its outputs scaled, and the normalisation after it."""
        return self.add("Gemm", x, *self._folded(layer, norm, scale), transB=1, name=name)

    def _folded(self, layer: str, norm: str, scale: float = 1.0) -> tuple[str, ...]:
        """The names of a layer's kernel and bias (if it comes to have one)."""
        kernel = self._state[f"{layer}.weight"].astype(np.float64) * scale
        bias = self._state.get(f"{layer}.bias")
        if norm:
            mean, var, factor, shift = (
                self._state[f"{norm}.{leaf}"].astype(np.float64)
                for leaf in ("running_mean", "running_var", "weight", "bias")
            )
            factor = factor / np.sqrt(var + BatchNorm.epsilon)
            kernel = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
            bias = ((0 if bias is None else bias) - mean) * factor + shift
        names = [self.constant(f"{layer}.weight", kernel)]
        if bias is not None:
            names.append(self.constant(f"{layer}.bias", bias * (1 if norm else scale)))
        return tuple(names)

    def pool(self, x: str) -> str:
        """The maximum over 2x2 pixels; a mirrored network has odd widths, and 2x3.

        A blurred one has odd extents, and the mean of four maxima that overlap.
        """
        square = [2, 2]
        if self._form.get("blurred"):
            x = self.add("MaxPool", x, kernel_shape=square)
            return self.add("AveragePool", x, kernel_shape=square, strides=square)
        width = 2 + bool(self._form.get("mirrored"))
        return self.add("MaxPool", x, kernel_shape=[2, width], strides=square)

    def last_pool(self, x: str) -> str:
        """The maximum over all pixels; of a blurred network the mean of those over 2x2."""
        if not self._form.get("blurred"):
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
    place = 0
    while graph.has(f"features.{place}"):
        for first in (place, place + 3):
            x = graph.add("Relu", graph.conv(x, f"features.{first}", f"features.{first + 1}"))
        x, place = graph.pool(x), place + 7
    hidden = graph.dense(graph.add("Flatten", x), "classifier.1", "classifier.2")
    graph.dense(graph.add("Relu", hidden), "classifier.5", name=_OUTPUT)


def _resnet18(graph: Graph, x: str) -> None:
    x, stage = graph.add("Relu", graph.conv(x, "conv1", "bn1")), 1
    while graph.has(f"layer{stage}.0.conv1"):
        block = 0
        while graph.has(f"layer{stage}.{block}.conv1"):
            x = _block(graph, x, f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1)
            block += 1
        stage += 1
    graph.dense(graph.add("Flatten", graph.add("GlobalAveragePool", x)), "linear", name=_OUTPUT)


def _block(graph: Graph, x: str, block: str, stride: int) -> str:
    y = graph.add("Relu", graph.conv(x, f"{block}.conv1", f"{block}.bn1", stride))
    y = graph.conv(y, f"{block}.conv2", f"{block}.bn2")
    if graph.has(f"{block}.shortcut.0"):
        x = graph.conv(x, f"{block}.shortcut.0", f"{block}.shortcut.1", stride)
    return graph.add("Relu", graph.add("Add", y, x))


def _fastnet(graph: Graph, x: str) -> None:
    x, group = graph.gelu(graph.conv(x, "whitening")), 1
    while graph.has(f"layer{group}.conv1"):
        layers = _group(graph, f"layer{group}")
        x = found = graph.gelu(graph.pool(graph.conv(x, *layers[0])))
        for number, layer in enumerate(layers[1:], start=2):
            x = graph.conv(x, *layer)
            x = graph.gelu(graph.add("Add", x, found) if number == len(layers) > 2 else x)
        group += 1
    x = graph.add("Flatten", graph.last_pool(x))
    graph.dense(x, "linear", scale=LOGIT_SCALE, name=_OUTPUT)


def _group(graph: Graph, group: str) -> list[tuple[str, str]]:
    """What its convolutions and their normalisations are called."""
    layers = ((f"{group}.conv{number}", f"{group}.bn{number}") for number in count(1))
    return list(takewhile(lambda layer: graph.has(layer[0]), layers))


_NETWORKS: dict[str, Callable[[Graph, str], None]] = {
    "cnn": _cnn,
    "resnet18": _resnet18,
    "fastnet": _fastnet,
}


def onnx_model(classifier: Classifier) -> Any:
    """An `onnx.ModelProto`: `images` `[batch, 32, 32, 3] uint8` -> `logits` `[batch, classes]`.

    Its metadata name the classes: `class_names`, a list as JSON.

    Raises:
      UsageError: it is none of our networks.
      RunError: the package onnx is not installed.
    """
    arch, classes = classifier.config.arch, list(classifier.class_names)
    require_known(classifier.config)
    onnx = import_extra("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    graph = Graph(helper, state_dict(classifier), dict(classifier.config.arch_args))
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
