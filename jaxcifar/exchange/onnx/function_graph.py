"""Convert a function of a batch of images to the nodes and constants of an ONNX graph."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxcifar.errors import UsageError, first_line
from jaxcifar.exchange.onnx.node_folding import simplify
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    BATCH_SIZES,
    Tensor,
    UnconvertibleError,
    Value,
    exported_dtype,
    fixed_constant,
    order_of_jax,
    paired_shape,
)
from jaxcifar.exchange.onnx.paired_trace import convert_program

IMAGES, LOGITS = "images", "logits"  # names of the graph's input and output


@dataclasses.dataclass(frozen=True)
class FunctionGraph:
    """The ONNX graph of a function.

    Attributes:
      images: the input, a tensor named "images".
      logits: the output, a tensor named "logits".
      nodes: the operations, in the order in which they are computed.
      constants: arrays by name.
    """

    images: Tensor
    logits: Tensor
    nodes: list[Node]
    constants: Mapping[str, np.ndarray]


def function_graph(
    function: Callable[[Any, jax.Array], jax.Array],
    arrays: Any,
    image_shape: tuple[int, ...],
    dtype: Any,
) -> FunctionGraph:
    """Convert a function to an ONNX graph that takes any number of images.

    The function is traced for two batch sizes. An axis depends on the number of images if its size
    differs between the two traces.

    Args:
      function: maps `arrays` and images, `[N, *image_shape]`, to one array.
      arrays: a tree of arrays, which become constants of the graph.
      image_shape: the shape of one image.
      dtype: dtype of the images.

    Raises:
      UsageError: the function fails, or can't be converted.
    """
    traces = []
    for count in BATCH_SIZES:
        example = jax.ShapeDtypeStruct((count, *image_shape), dtype)
        try:
            traces.append(jax.make_jaxpr(function)(arrays, example))
        except Exception as error:  # user code raises any
            reason = f"it fails for {count} images: {first_line(error)}"
            raise export_error(reason) from error
    trace_for_two, trace_for_three = traces
    shape = paired_shape(*[(count, *image_shape) for count in BATCH_SIZES])
    order = order_of_jax(len(shape))
    images = Tensor.without_broadcast_axes(IMAGES, shape, order, exported_dtype(dtype))
    graph = OnnxBuilder(IMAGES)
    inputs: list[Value] = [fixed_constant(array) for array in jax.tree.leaves(arrays)]
    inputs.append(images)
    try:
        [result] = convert_program(graph, trace_for_two, trace_for_three, inputs)
        result = graph.reorder_and_expand(result)
    except UnconvertibleError as error:
        place = f"in {error.layer} " if error.layer else ""
        raise UsageError(
            f"the network can't be exported to ONNX, because {place}{error}, or use --to "
            "stablehlo, which takes nearly any network"
        ) from error
    graph.nodes.append(Node("Identity", [result.name], [LOGITS], {}))
    try:
        simplify(graph, LOGITS)
    except Exception as error:  # a graph that no folding expects
        reason = f"its graph can't be simplified ({first_line(error)})"
        raise export_error(reason) from error
    logits = dataclasses.replace(result, name=LOGITS)
    return FunctionGraph(images, logits, graph.nodes, graph.constants)


def export_error(reason: str) -> UsageError:
    """Return the error for a network that can't be exported, with the reason."""
    return UsageError(
        f"the network can't be exported to ONNX, because {reason}; use --to stablehlo, which "
        "takes nearly any network"
    )
