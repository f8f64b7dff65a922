"""Export a trained network as an ONNX file, with the package `onnx`."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxcifar.errors import first_line
from jaxcifar.exchange.logits_function import logits_function
from jaxcifar.exchange.onnx.function_graph import FunctionGraph, export_error, function_graph
from jaxcifar.exchange.onnx.logits_comparison import compare_logits_if_possible
from jaxcifar.exchange.onnx.onnx_builder import ONNX_TYPES, Node
from jaxcifar.exchange.onnx.onnx_values import Tensor
from jaxcifar.image_size import image_shape
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write
from jaxcifar.trained.classifier import Classifier

# Old enough for any current runtime; newer versions have nothing that networks need.
_OPSET, _IR_VERSION = 17, 8
_LARGEST_SIZE = 2**31 - 2**24  # bytes of arrays: a protobuf message has less than 2 GiB in all
_BATCH = "batch"  # name of the first axis of images and logits


def onnx_model(classifier: Classifier) -> Any:
    """Convert a trained network to an `onnx.ModelProto`.

    The input is `images`, `[batch, H, W, 3] uint8`, with H and W as in training. The output is
    `logits`, `[batch, classes]`. The metadata entry `class_names` is a JSON list.

    Raises:
      UsageError: the network can't be exported to ONNX.
      RunError: the package onnx is not installed.
    """
    onnx = import_extra("onnx")
    variables = jax.device_get(classifier.variables)
    shape = image_shape(classifier.config.image_size)
    # By default, GPUs and TPUs round the operands of matrix products.
    with jax.default_matmul_precision("float32"):
        graph = function_graph(logits_function(classifier), variables, shape, jnp.uint8)
    _path_of_users_file, _colon, network_name = classifier.config.arch.rpartition(":")
    onnx_network = checked_onnx_model(graph, network_name)
    class_names = json.dumps(list(classifier.class_names))
    onnx.helper.set_model_props(onnx_network, {"class_names": class_names})
    return onnx_network


def checked_onnx_model(graph: FunctionGraph, title: str) -> Any:
    """Convert a graph to an `onnx.ModelProto`, check it with ONNX's own checker, and return it.

    Args:
      graph: the graph.
      title: the graph's name in the file.

    Raises:
      UsageError: the graph is too large for a file, or not valid.
      RunError: the package onnx is not installed.
    """
    onnx = import_extra("onnx")
    helper = onnx.helper
    array_bytes = sum(array.nbytes for array in graph.constants.values())
    if array_bytes > _LARGEST_SIZE:
        reason = f"its arrays take {array_bytes / 1e9:.1f} GB, and an ONNX file at most 2 GB"
        raise export_error(reason)
    onnx_graph = helper.make_graph(
        [_onnx_node(helper, node) for node in graph.nodes],
        title,
        inputs=[_tensor_info(helper, graph.images)],
        outputs=[_tensor_info(helper, graph.logits)],
        initializer=[
            onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()
        ],
    )
    onnx_network = helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="jaxcifar",
    )
    try:
        onnx.checker.check_model(onnx_network, full_check=True)
    except Exception as error:  # a graph with a dtype that an operation does not take, for example
        reason = f"its graph is not valid ONNX ({first_line(error)})"
        raise export_error(reason) from error
    return onnx_network


def _onnx_node(helper: Any, node: Node) -> Any:
    """Convert a node to an `onnx.NodeProto`, named after its first output."""
    name = node.outputs[0]
    return helper.make_node(node.operation, node.inputs, node.outputs, name, **node.attributes)


def _tensor_info(helper: Any, tensor: Tensor) -> Any:
    """Describe a graph's input or output (name, dtype and shape) as an `onnx.ValueInfoProto`."""
    sizes = [size.fixed_value if size.is_fixed else _BATCH for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, ONNX_TYPES[tensor.dtype.name], sizes)


def write_onnx(classifier: Classifier, path: Path) -> bool:
    """Write a trained network to an ONNX file.

    Before the file is written, the logits of the ONNX graph are compared with the network's.

    Returns:
      True if the logits were compared; False if the package onnxruntime is not installed.

    Raises:
      UsageError: the network can't be exported to ONNX.
      RunError: the package onnx is not installed, or the logits differ.
      OSError: the file can't be written.
    """
    content = onnx_model(classifier).SerializeToString()
    shape = image_shape(classifier.config.image_size)
    function = logits_function(classifier)
    was_compared = compare_logits_if_possible(content, function, classifier.variables, shape)
    with atomic_write(path) as file:
        file.write(content)
    return was_compared
