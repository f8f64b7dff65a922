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
    has_zeros_between_pixels = max(params["lhs_dilation"], default=1) > 1
    if has_zeros_between_pixels:
        return _transposed_convolution(graph, step, padding)
    x = _cut_at_negative_padding(graph, x, padding, _spatial_axes(axes.lhs_spec))
    if not all(kernel.shape[axis].is_fixed for axis in _spatial_axes(axes.rhs_spec)):
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


def _spatial_axes(axes: Sequence[int]) -> Sequence[int]:
    """Return the axes of height and width; JAX lists them after those of batch and channels."""
    return axes[2:]


def _cut_at_negative_padding(
    graph: OnnxBuilder, x: Value, padding: Sequence[tuple[int, int]], axes: Sequence[int]
) -> Value:
    """Cut rows and columns off images where the padding is negative; return the images.

    `axes` are the axes of height and width. `padding` has two numbers for each of them.
    """
    negative_padding = [(min(0, before), min(0, after)) for before, after in padding]
    if all(pair == (0, 0) for pair in negative_padding):
        return x
    return padded(graph, x, _ZERO, _padding_of_all_axes(rank(x), axes, negative_padding))


def _padding_of_all_axes(
    axis_count: int, axes: Sequence[int], padding: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the padding of each axis of an array, from the padding of some axes.

    Args:
      axis_count: number of axes of the array.
      axes: the axes that are padded; the others get the padding (0, 0).
      padding: for each axis in `axes` the numbers of elements to add before and after.
    """
    padding_of_all_axes = [(0, 0)] * axis_count
    for axis, padding_of_axis in zip(axes, padding, strict=True):
        padding_of_all_axes[axis] = padding_of_axis
    return padding_of_all_axes


def _transposed_convolution(
    graph: OnnxBuilder, step: Step, padding: Sequence[tuple[int, int]]
) -> Tensor:
    """Add the nodes of a convolution that puts zeros between the pixels of its images first.

    ONNX has the node ConvTranspose for this. It takes the mirrored kernel with input and output
    channels swapped. Without padding, its output is the largest: all positions where the kernel
    covers a pixel. So JAX's padding becomes rows and columns that are cut off or added there.
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
    added_to_largest = []  # numbers of rows and columns before and after, negative if cut off
    for (before, after), size, dilation in zip(
        padding, kernel_size, params["rhs_dilation"], strict=True
    ):
        largest_padding = (size - 1) * dilation
        added_to_largest.append((before - largest_padding, after - largest_padding))
    cut_before = [max(0, -before) for before, _ in added_to_largest]
    cut_after = [max(0, -after) for _, after in added_to_largest]
    images = graph.expanded_in_order(x, tuple(axes.lhs_spec))
    name = graph.add(
        "ConvTranspose",
        images.name,
        graph.constant(_kernel_of_transposed(weights, groups)),
        kernel_shape=kernel_size,
        strides=list(params["lhs_dilation"]),
        pads=cut_before + cut_after,
        dilations=list(params["rhs_dilation"]),
        group=groups,
    )
    cut_counts = [before + after for before, after in zip(cut_before, cut_after, strict=True)]
    result = _result_of_transposed(step, name, x, cut_counts)
    return _pad_and_stride(graph, step, result, added_to_largest)


def _pad_and_stride(
    graph: OnnxBuilder, step: Step, result: Tensor, padding: Sequence[tuple[int, int]]
) -> Tensor:
    """Pad the output of a ConvTranspose node with zeros, and take each row that JAX's strides hit.

    Negative padding is ignored, because the node itself has cut these rows and columns off.
    """
    axis_count = len(step.shape)
    axes = _spatial_axes(step.params["dimension_numbers"].out_spec)
    positive_padding = [(max(0, before), max(0, after)) for before, after in padding]
    result = padded(graph, result, _ZERO, _padding_of_all_axes(axis_count, axes, positive_padding))
    strides = [1] * axis_count
    for axis, stride in zip(axes, step.params["window_strides"], strict=True):
        strides[axis] = stride
    starts = [Size(0, 0)] * axis_count
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


def _result_of_transposed(step: Step, name: str, x: Value, cut_counts: Sequence[int]) -> Tensor:
    """Return the output of a ConvTranspose node as a tensor with its name and shape.

    Args:
      step: the convolution in JAX.
      name: name of the node's output.
      x: the images.
      cut_counts: the number of rows and the number of columns that the node cuts off.
    """
    params = step.params
    axes = params["dimension_numbers"]
    image_axes, kernel_axes = _spatial_axes(axes.lhs_spec), _spatial_axes(axes.rhs_spec)
    kernel = step.inputs[1]
    shape = list(step.shape)
    for position, axis in enumerate(_spatial_axes(axes.out_spec)):
        input_size = x.shape[image_axes[position]]
        if not input_size.is_fixed:
            raise UnconvertibleError(
                "a transposed convolution along the batch can't be converted; convolve each image "
                "by itself"
            )
        kernel_size = kernel.shape[kernel_axes[position]].for_two
        size_with_zeros = (input_size.for_two - 1) * params["lhs_dilation"][position] + 1
        kernel_margin = (kernel_size - 1) * params["rhs_dilation"][position]
        output_size = size_with_zeros + kernel_margin - cut_counts[position]
        shape[axis] = Size(output_size, output_size)
    order = tuple(axes.out_spec)
    return Tensor(name, tuple(shape), tuple(shape), order, step.dtype)
