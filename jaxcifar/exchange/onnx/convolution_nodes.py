"""Convert convolutions."""

from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.indexing_nodes import add_padding
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_constant,
    fixed_shape,
    rank,
)
from jaxcifar.exchange.onnx.slicing_nodes import add_slice
from jaxcifar.exchange.onnx.traced_step import Step

_ZERO = fixed_constant(np.float32(0))


def convert_convolution(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a convolution; return its result.

    The order of axes in the graph is batch, channels, then height and width.
    """
    params = step.params
    if params["batch_group_count"] != 1:
        raise UnconvertibleError(
            "a convolution with batch groups can't be converted; use one without them"
        )
    if step.dtype != np.float32:
        raise UnconvertibleError("a convolution of integers can't be converted; convolve floats")
    padding = [(int(before), int(after)) for before, after in params["padding"]]
    has_zeros_between_pixels = max(params["lhs_dilation"], default=1) > 1
    if has_zeros_between_pixels:
        return _transposed_convolution(graph, step, padding)
    return _convolution(graph, step, padding)


def _convolution(graph: OnnxBuilder, step: Step, padding: Sequence[tuple[int, int]]) -> Tensor:
    """Add the nodes of a convolution that puts no zeros between the pixels of its images."""
    params = step.params
    axis_orders = params["dimension_numbers"]  # of the images, the kernel and the result
    images, kernel = step.inputs
    images = _cut_at_negative_padding(graph, images, padding, _spatial_axes(axis_orders.lhs_spec))
    kernel_size = [kernel.shape[axis] for axis in _spatial_axes(axis_orders.rhs_spec)]
    if not all(size.is_fixed for size in kernel_size):
        raise UnconvertibleError(
            "a kernel whose size depends on the number of images can't be converted; use a kernel "
            "of a fixed size"
        )
    images_in_graph = graph.reorder_and_expand(images, tuple(axis_orders.lhs_spec))
    kernel_in_graph = graph.reorder_and_expand(kernel, tuple(axis_orders.rhs_spec))
    added_before = [max(0, before) for before, _ in padding]
    added_after = [max(0, after) for _, after in padding]
    name = graph.add_node(
        "Conv",
        images_in_graph.name,
        kernel_in_graph.name,
        kernel_shape=[size.fixed_value for size in kernel_size],
        strides=list(params["window_strides"]),
        pads=added_before + added_after,
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Tensor(name, step.shape, step.shape, tuple(axis_orders.out_spec), step.dtype)


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
    return add_padding(graph, x, _ZERO, _padding_of_all_axes(rank(x), axes, negative_padding))


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

    ONNX has the node ConvTranspose for this. Without padding, the node computes one output for each
    position where the kernel covers at least one pixel. JAX's padding may ask for fewer outputs or
    for more, so rows and columns are cut off or zeros are added.
    """
    params = step.params
    axis_orders, groups = params["dimension_numbers"], params["feature_group_count"]
    images, kernel = step.inputs
    if not isinstance(kernel, Constant):
        raise UnconvertibleError(
            "a transposed convolution with a computed kernel can't be converted; use a constant "
            "kernel"
        )
    weights = kernel.array().transpose(axis_orders.rhs_spec)
    _, _, *kernel_size = weights.shape
    added_counts = []  # rows and columns to add before and after; negative if cut off
    for (before, after), size, dilation in zip(
        padding, kernel_size, params["rhs_dilation"], strict=True
    ):
        padding_of_node = (size - 1) * dilation
        added_counts.append((before - padding_of_node, after - padding_of_node))
    cut_before = [max(0, -before) for before, _ in added_counts]
    cut_after = [max(0, -after) for _, after in added_counts]
    images_in_graph = graph.reorder_and_expand(images, tuple(axis_orders.lhs_spec))
    name = graph.add_node(
        "ConvTranspose",
        images_in_graph.name,
        graph.add_constant(_mirrored_and_swapped_kernel(weights, groups)),
        kernel_shape=kernel_size,
        strides=list(params["lhs_dilation"]),
        pads=cut_before + cut_after,
        dilations=list(params["rhs_dilation"]),
        group=groups,
    )
    cut_counts = [before + after for before, after in zip(cut_before, cut_after, strict=True)]
    result = _output_of_conv_transpose(step, name, cut_counts)
    positive_counts = [(max(0, before), max(0, after)) for before, after in added_counts]
    return _add_zeros_and_take_strides(graph, step, result, positive_counts)


def _add_zeros_and_take_strides(
    graph: OnnxBuilder, step: Step, result: Tensor, added_counts: Sequence[tuple[int, int]]
) -> Tensor:
    """Pad the output of a ConvTranspose node, and take only each n-th row if JAX's stride is n.

    `added_counts` has the numbers of zeros to add before and after, along height and width.
    """
    axis_count = len(step.shape)
    spatial_axes = _spatial_axes(step.params["dimension_numbers"].out_spec)
    padding = _padding_of_all_axes(axis_count, spatial_axes, added_counts)
    result = add_padding(graph, result, _ZERO, padding)
    strides = [1] * axis_count
    for axis, stride in zip(spatial_axes, step.params["window_strides"], strict=True):
        strides[axis] = stride
    starts = fixed_shape([0] * axis_count)
    return add_slice(graph, result, starts, result.shape, strides)


def _mirrored_and_swapped_kernel(weights: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernel of a ConvTranspose node: mirrored, with inputs and outputs swapped.

    Args:
      weights: the kernel of the convolution, `[outputs, inputs of a group, height, width]`.
      groups: number of groups of channels.
    """
    outputs, group_inputs, *size = weights.shape
    group_outputs = outputs // groups
    groups_outputs_inputs = weights.reshape(groups, group_outputs, group_inputs, *size)
    groups_inputs_outputs = groups_outputs_inputs.swapaxes(1, 2)
    _, _, _, *spatial_axes = range(groups_inputs_outputs.ndim)
    mirrored = np.flip(groups_inputs_outputs, tuple(spatial_axes))
    return mirrored.reshape(groups * group_inputs, group_outputs, *size)


def _output_of_conv_transpose(step: Step, name: str, cut_counts: Sequence[int]) -> Tensor:
    """Return the output of a ConvTranspose node as a tensor with its name and shape.

    Args:
      step: the convolution in JAX.
      name: name of the node's output.
      cut_counts: the number of rows and the number of columns that the node cuts off.
    """
    params = step.params
    axis_orders = params["dimension_numbers"]
    images, kernel = step.inputs
    shape = list(step.shape)
    for image_axis, kernel_axis, output_axis, zeros_distance, kernel_dilation, cut_count in zip(
        _spatial_axes(axis_orders.lhs_spec),
        _spatial_axes(axis_orders.rhs_spec),
        _spatial_axes(axis_orders.out_spec),
        params["lhs_dilation"],
        params["rhs_dilation"],
        cut_counts,
        strict=True,
    ):
        image_size, kernel_size = images.shape[image_axis], kernel.shape[kernel_axis]
        if not image_size.is_fixed:
            raise UnconvertibleError(
                "a transposed convolution along the batch can't be converted; convolve each image "
                "by itself"
            )
        size_with_zeros = (image_size.fixed_value - 1) * zeros_distance + 1
        kernel_margin = (kernel_size.fixed_value - 1) * kernel_dilation
        output_size = size_with_zeros + kernel_margin - cut_count
        shape[output_axis] = Size(output_size, output_size)
    return Tensor(name, tuple(shape), tuple(shape), tuple(axis_orders.out_spec), step.dtype)
