"""Export a trained network as an ONNX file, with the package `onnx`.

In evaluation, batch normalisation scales and shifts each channel. It is folded into the convolution
or dense layer before it (Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018, section 3.2).
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.errors import UsageError
from jaxcifar.exchange.mirrored_weights import expand, is_mirrored
from jaxcifar.image_size import image_shape
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write
from jaxcifar.networks.fastnet import LOGIT_SCALE
from jaxcifar.networks.layers import BatchNorm
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.trained.classifier import Classifier

# Old enough for any current runtime; newer versions have nothing that these networks need.
_OPSET, _IR_VERSION = 17, 8
_INPUT, _OUTPUT, _BATCH = "images", "logits", "batch"


class Graph:
    """The nodes and weights of an ONNX graph. A node and its output have the same name.

    Attributes:
      model: the Flax module, which has the network's arguments.
      image_size: height and width of the images.
      nodes: the nodes added so far.
      weights: float32 arrays by name.
    """

    def __init__(self, helper: Any, arrays: Mapping[str, Any], model: Any, image_size: int) -> None:
        """Make an empty graph.

        Args:
          helper: `onnx.helper`.
          arrays: the trained network's arrays by name, such as `params/Conv_0/kernel`.
          model: the Flax module.
          image_size: height and width of the images.
        """
        # Names stay unique without the collection, `params` or `batch_stats`.
        self._arrays = {
            name.partition("/")[2]: np.asarray(array, np.float64) for name, array in arrays.items()
        }
        self._helper, self.model, self.image_size = helper, model, image_size
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}

    def has_layer(self, layer: str) -> bool:
        return f"{layer}/kernel" in self._arrays

    def add(self, operation: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node to the graph; return its name, by default such as "Relu_3" for "Relu"."""
        output = name or f"{operation}_{len(self.nodes)}"
        node = self._helper.make_node(operation, inputs, [output], output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, values: Any) -> str:
        """Add a constant array, converted to float32, and return its name."""
        self.weights[name] = np.asarray(values, np.float32)
        return name

    def conv(self, x: str, layer: str, norm: str = "", stride: int = 1) -> str:
        """Add the convolution `layer` of the node `x`, and return the name of the new node.

        3x3 kernels get a padding of 1. The batch normalisation `norm`, "" for none, is folded into
        the convolution. In the network, a max pool may come between the two.
        """
        kernel = self._arrays[f"{layer}/kernel"].transpose(3, 2, 0, 1)
        padding = 1 if kernel.shape[-1] == 3 else 0
        weights = self._add_folded_weights(kernel, layer, norm)
        return self.add("Conv", x, *weights, strides=[stride] * 2, pads=[padding] * 4)

    def dense(self, x: str, layer: str, norm: str = "", scale: float = 1.0, name: str = "") -> str:
        """Add the dense layer `layer` of node `x`, as in `conv`; scale its outputs by `scale`."""
        kernel = self._arrays[f"{layer}/kernel"].T
        weights = self._add_folded_weights(kernel, layer, norm, scale)
        return self.add("Gemm", x, *weights, transB=1, name=name)

    def _add_folded_weights(
        self, kernel: np.ndarray, layer: str, norm: str, scale: float = 1.0
    ) -> tuple[str, ...]:
        """Add a layer's kernel and any bias, with `norm` and `scale` applied; return the names."""
        bias = self._arrays.get(f"{layer}/bias")
        kernel = kernel * scale
        bias = None if bias is None else bias * scale
        if norm:
            mean, variance = self._arrays[f"{norm}/mean"], self._arrays[f"{norm}/var"]
            norm_scale = self._arrays.get(f"{norm}/scale", 1.0)
            factor = norm_scale / np.sqrt(variance + BatchNorm.epsilon)
            factor_shape = (len(factor),) + (1,) * (kernel.ndim - 1)
            kernel = kernel * factor.reshape(factor_shape)
            offset = self._arrays[f"{norm}/bias"] - mean * factor
            bias = offset if bias is None else bias * factor + offset
        names = [self.constant(f"{layer}.weight", kernel)]
        if bias is not None:
            names.append(self.constant(f"{layer}.bias", bias))
        return tuple(names)

    def gelu(self, x: str) -> str:
        """Add the exact GELU, `x (1 + erf(x / sqrt(2))) / 2`; a `Gelu` node needs a newer opset."""
        scaled = self.add("Div", x, self.constant("sqrt_2", math.sqrt(2)))
        one_plus_erf = self.add("Add", self.add("Erf", scaled), self.constant("one", 1))
        normal_cdf = self.add("Mul", one_plus_erf, self.constant("half", 0.5))
        return self.add("Mul", x, normal_cdf)


def _add_normalization(graph: Graph, classifier: Classifier) -> str:
    """Add nodes that normalise uint8 images, channels first; return the name of the last node."""
    x = graph.add("Transpose", _INPUT, perm=[0, 3, 1, 2])
    x = graph.add("Cast", x, to=1)  # TensorProto.FLOAT
    x = graph.add("Div", x, graph.constant("pixel_maximum", 255))
    mean = graph.constant("mean", np.reshape(classifier.mean, (1, 3, 1, 1)))
    std = graph.constant("std", np.reshape(classifier.std, (1, 3, 1, 1)))
    return graph.add("Div", graph.add("Sub", x, mean), std)


def _add_cnn(graph: Graph, x: str) -> None:
    conv_count = 2 * len(graph.model.widths)
    for number in range(conv_count):
        x = graph.add("Relu", graph.conv(x, f"Conv_{number}", f"BatchNorm_{number}"))
        is_second_of_stage = number % 2 == 1
        if is_second_of_stage:
            x = graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.add("Transpose", x, perm=[0, 2, 3, 1])  # channels last, in the order of Dense_0
    hidden = graph.dense(graph.add("Flatten", x), "Dense_0", f"BatchNorm_{conv_count}")
    graph.dense(graph.add("Relu", hidden), "Dense_1", name=_OUTPUT)


def _add_resnet18(graph: Graph, x: str) -> None:
    x = graph.add("Relu", graph.conv(x, "Conv_0", "BatchNorm_0"))
    number = 0
    for stage, blocks in enumerate(graph.model.blocks):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _add_residual_block(graph, x, f"ResBlock_{number}", stride)
            number += 1
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    graph.dense(x, "Dense_0", name=_OUTPUT)


def _add_residual_block(graph: Graph, x: str, block: str, stride: int) -> str:
    y = graph.add("Relu", graph.conv(x, f"{block}/Conv_0", f"{block}/BatchNorm_0", stride))
    y = graph.conv(y, f"{block}/Conv_1", f"{block}/BatchNorm_1")
    if graph.has_layer(f"{block}/shortcut"):
        x = graph.conv(x, f"{block}/shortcut", f"{block}/shortcut_norm", stride)
    return graph.add("Relu", graph.add("Add", y, x))


def _add_fastnet(graph: Graph, x: str) -> None:
    x = graph.gelu(graph.conv(x, "Whitening_0"))
    extent = graph.image_size - 1  # after a 2x2 kernel without padding
    for group, depth in enumerate(graph.model.group_depths):
        prefix = f"ConvGroup_{group}"
        x = graph.conv(x, f"{prefix}/Conv_0", f"{prefix}/BatchNorm_0")
        x = graph.gelu(_add_fastnet_pool(graph, x, extent))
        extent //= 2
        skip = x
        for number in range(1, depth):
            x = graph.conv(x, f"{prefix}/Conv_{number}", f"{prefix}/BatchNorm_{number}")
            if depth > 2 and number == depth - 1:
                x = graph.add("Add", x, skip)
            x = graph.gelu(x)
    if graph.model.blurred:
        x = graph.add("GlobalAveragePool", graph.add("MaxPool", x, kernel_shape=[2, 2]))
    else:
        x = graph.add("GlobalMaxPool", x)
    graph.dense(graph.add("Flatten", x), "Dense_0", scale=LOGIT_SCALE, name=_OUTPUT)


def _add_fastnet_pool(graph: Graph, x: str, extent: int) -> str:
    """Add a max pool that halves maps of `extent` x `extent` pixels; return its node's name."""
    is_odd = extent % 2 == 1
    if graph.model.blurred and is_odd:  # the mean of overlapping maxima
        x = graph.add("MaxPool", x, kernel_shape=[2, 2])
        return graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    # A wider window keeps the pool of a mirrored network symmetric.
    width = 3 if graph.model.mirrored and is_odd else 2
    return graph.add("MaxPool", x, kernel_shape=[2, width], strides=[2, 2])


_ADD_NETWORK: dict[str, Callable[[Graph, str], None]] = {
    "cnn": _add_cnn,
    "resnet18": _add_resnet18,
    "fastnet": _add_fastnet,
}


def onnx_model(classifier: Classifier) -> Any:
    """Convert a trained network to an `onnx.ModelProto`.

    The input is `images`, `[batch, H, W, 3] uint8`, with H and W as in training. The output is
    `logits`, `[batch, classes]`. The metadata entry `class_names` is a JSON list.

    Raises:
      UsageError: the network can't be exported to ONNX.
      RunError: the package onnx is not installed.
    """
    arch, classes = classifier.config.arch, list(classifier.class_names)
    if arch not in _ADD_NETWORK:
        raise UsageError(
            f"--arch {arch}: only {', '.join(_ADD_NETWORK)} can be exported to ONNX; use --to "
            "stablehlo or --to safetensors, which take any network"
        )
    onnx = import_extra("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    arrays = named_arrays(classifier.variables)
    if is_mirrored(classifier.config):
        arrays = expand(arrays)
    image_size = classifier.config.image_size
    model = create_model(classifier.config, len(classes))
    graph = Graph(helper, arrays, model, image_size)
    _ADD_NETWORK[arch](graph, _add_normalization(graph, classifier))
    images = helper.make_tensor_value_info(_INPUT, types.UINT8, [_BATCH, *image_shape(image_size)])
    logits = helper.make_tensor_value_info(_OUTPUT, types.FLOAT, [_BATCH, len(classes)])
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    onnx_network = helper.make_model(
        helper.make_graph(graph.nodes, arch, [images], [logits], weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="jaxcifar",
    )
    helper.set_model_props(onnx_network, {"class_names": json.dumps(classes)})
    onnx.checker.check_model(onnx_network, full_check=True)
    return onnx_network


def write_onnx(classifier: Classifier, path: Path) -> None:
    """Write a trained network to an ONNX file.

    Raises:
      UsageError: the network can't be exported to ONNX.
      RunError: the package onnx is not installed.
      OSError: the file can't be written.
    """
    content = onnx_model(classifier).SerializeToString()
    with atomic_write(path) as file:
        file.write(content)
