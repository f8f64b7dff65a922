"""Export a trained network as an ONNX file, with the package `onnx`."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxcifar.build.model import create_model
from jaxcifar.exchange.onnx.function_graph import FunctionGraph, function_graph
from jaxcifar.exchange.onnx.onnx_builder import ONNX_TYPES
from jaxcifar.exchange.onnx.onnx_values import Tensor
from jaxcifar.image_size import image_shape
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training import augment, network

# Old enough for any current runtime; newer versions have nothing that networks need.
_OPSET, _IR_VERSION = 17, 8
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
    classes = list(classifier.class_names)
    model = create_model(classifier.config, len(classes))

    def logits(variables: network.Variables, images: jax.Array) -> jax.Array:
        normalized = augment.normalize(augment.pixels(images), classifier.mean, classifier.std)
        return network.predict(model, variables, normalized)

    variables = jax.device_get(classifier.variables)
    shape = image_shape(classifier.config.image_size)
    # By default, GPUs and TPUs round the operands of matrix products.
    with jax.default_matmul_precision("float32"):
        graph = function_graph(logits, variables, shape, jnp.uint8)
    *_, title = classifier.config.arch.rpartition(":")  # without the path of a user's file
    onnx_network = assemble(graph, title)
    onnx.helper.set_model_props(onnx_network, {"class_names": json.dumps(classes)})
    return onnx_network


def assemble(graph: FunctionGraph, title: str) -> Any:
    """Return a graph as a checked `onnx.ModelProto`.

    Args:
      graph: the graph.
      title: its name in the file.

    Raises:
      RunError: the package onnx is not installed.
    """
    onnx = import_extra("onnx")
    helper = onnx.helper
    nodes = []
    for node in graph.nodes:
        name = node.outputs[0]
        made = helper.make_node(node.operation, node.inputs, node.outputs, name, **node.attributes)
        nodes.append(made)
    constants = []
    for name, array in graph.constants.items():
        constants.append(onnx.numpy_helper.from_array(array, name))
    onnx_network = helper.make_model(
        helper.make_graph(
            nodes, title, [_info(helper, graph.images)], [_info(helper, graph.logits)], constants
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="jaxcifar",
    )
    onnx.checker.check_model(onnx_network, full_check=True)
    return onnx_network


def _info(helper: Any, tensor: Tensor) -> Any:
    """Return the name, type and shape of a graph's input or output."""
    sizes = [size.for_two if size.is_fixed else _BATCH for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, ONNX_TYPES[tensor.dtype.name], sizes)


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
