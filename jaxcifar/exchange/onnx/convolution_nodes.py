"""Convert convolutions."""

from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.indexing_nodes import padded
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    rank,
    shared,
)
from jaxcifar.exchange.onnx.slicing_nodes import sliced
from jaxcifar.exchange.onnx.traced_step import Step

_ZERO = shared(np.float32(0))


def conv_general_dilated(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a convolution; return its result.

    The order of axes in the graph is batch, channels, then height and width.
    """
    params = step.params
    if params["batch_group_count"] != 1:
        raise UnconvertibleError(
            "a convolution with batch groups can't be converted; use one without them"
        )
    axes = params["dimension_numbers"]
    x, kernel = step.inputs
    if step.dtype != np.float32:
        raise UnconvertibleError("a convolution of integers can't be converted; convolve floats")
    padding = [(int(before), int(after)) for before, after in params["padding"]]
    if max(params["lhs_dilation"], default=1) > 1:
        return _transposed_convolution(graph, step, padding)
    removed = [(min(0, before), min(0, after)) for before, after in padding]
    if any(pair != (0, 0) for pair in removed):
        amounts = _amounts_along_axes(rank(x), axes.lhs_spec[2:], removed)
        x = padded(graph, x, _ZERO, amounts)
    if not all(kernel.shape[axis].is_fixed for axis in axes.rhs_spec[2:]):
        raise UnconvertibleError(
            "a kernel whose size depends on the number of images can't be converted; use a kernel "
            "of a fixed size"
        )
    images = graph.expanded_in_order(x, tuple(axes.lhs_spec))
    weights = graph.expanded_in_order(kernel, tuple(axes.rhs_spec))
    added_before = [max(0, before) for before, _ in padding]
    added_after = [max(0, after) for _, after in padding]
    name = graph.add(
        "Conv",
        images.name,
        weights.name,
        kernel_shape=[size.for_two for size in weights.shape_in_graph[2:]],
        strides=list(params["window_strides"]),
        pads=added_before + added_after,
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Tensor(name, step.shape, step.shape, tuple(axes.out_spec), step.dtype)


def _amounts_along_axes(
    axis_count: int, axes: Sequence[int], amounts: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the padding of an array along all axes: `amounts` along `axes`, 0 along the others."""
    amounts_along_axes = [(0, 0)] * axis_count
    for axis, amount in zip(axes, amounts, strict=True):
        amounts_along_axes[axis] = amount
    return amounts_along_axes


def _transposed_convolution(
    graph: OnnxBuilder, step: Step, padding: Sequence[tuple[int, int]]
) -> Tensor:
    """Add the nodes of a convolution of images with zeros between their pixels.

    ONNX's ConvTranspose takes the mirrored kernel with inputs and outputs swapped, and counts
    padding from the largest possible output.
    """
    params = step.params
    axes, groups = params["dimension_numbers"], params["feature_group_count"]
    x, kernel = step.inputs
    if not isinstance(kernel, Constant):
        raise UnconvertibleError(
            "a transposed convolution with a computed kernel can't be converted; use a constant "
            "kernel"
        )
    weights = kernel.array().transpose(axes.rhs_spec)
    kernel_size = list(weights.shape[2:])
    removed, added = [], []  # rows and columns of the largest output, before and after
    for (before, after), size, dilation in zip(
        padding, kernel_size, params["rhs_dilation"], strict=True
    ):
        largest_padding = (size - 1) * dilation
        removed.append((max(0, largest_padding - before), max(0, largest_padding - after)))
        added.append((max(0, before - largest_padding), max(0, after - largest_padding)))
    name = graph.add(
        "ConvTranspose",
        graph.expanded_in_order(x, tuple(axes.lhs_spec)).name,
        graph.constant(_kernel_of_transposed(weights, groups)),
        kernel_shape=kernel_size,
        strides=list(params["lhs_dilation"]),
        pads=[before for before, _ in removed] + [after for _, after in removed],
        dilations=list(params["rhs_dilation"]),
        group=groups,
    )
    result = _result_of_transposed(step, name, x, removed)
    amounts = _amounts_along_axes(len(step.shape), axes.out_spec[2:], added)
    if any(pair != (0, 0) for pair in amounts):  # outputs whose kernel covers no pixel
        result = padded(graph, result, _ZERO, amounts)
    strides = [1] * len(step.shape)
    for axis, stride in zip(axes.out_spec[2:], params["window_strides"], strict=True):
        strides[axis] = stride
    starts = [Size(0, 0)] * len(step.shape)
    return sliced(graph, result, starts, result.shape, strides)


def _kernel_of_transposed(weights: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernel of a ConvTranspose node: mirrored, with inputs and outputs swapped.

    Args:
      weights: the kernel of the convolution, `[outputs, inputs of a group, height, width]`.
      groups: number of groups of channels.
    """
    outputs, group_inputs, *size = weights.shape
    group_outputs = outputs // groups
    by_group = weights.reshape(groups, group_outputs, group_inputs, *size)
    inputs_first = by_group.swapaxes(1, 2)
    spatial_axes = tuple(range(3, inputs_first.ndim))
    mirrored = np.flip(inputs_first, spatial_axes)
    return mirrored.reshape(groups * group_inputs, group_outputs, *size)


def _result_of_transposed(
    step: Step, name: str, x: Value, removed: Sequence[tuple[int, int]]
) -> Tensor:
    """Return the tensor that a ConvTranspose node computes, with its shape.

    Args:
      step: the convolution in JAX.
      name: name of the node's output.
      x: the images.
      removed: numbers of rows, and of columns, that the node removes at both ends of its full
        output.
    """
    params = step.params
    axes = params["dimension_numbers"]
    shape = list(step.shape)
    for position, axis in enumerate(axes.out_spec[2:]):
        input_size = x.shape[axes.lhs_spec[2 + position]]
        if not input_size.is_fixed:
            raise UnconvertibleError(
                "a transposed convolution along the batch can't be converted; convolve each image "
                "by itself"
            )
        kernel_size = step.inputs[1].shape[axes.rhs_spec[2 + position]]
        size_with_zeros = (input_size.for_two - 1) * params["lhs_dilation"][position] + 1
        kernel_margin = (kernel_size.for_two - 1) * params["rhs_dilation"][position]
        output_size = size_with_zeros + kernel_margin - sum(removed[position])
        shape[axis] = Size(output_size, output_size)
    order = tuple(axes.out_spec)
    return Tensor(name, tuple(shape), tuple(shape), order, step.dtype)
