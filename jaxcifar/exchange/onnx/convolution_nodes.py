"""Convert convolutions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Order,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_constant,
    fixed_shape,
    rank,
)
from jaxcifar.exchange.onnx.padding_nodes import add_padding
from jaxcifar.exchange.onnx.slicing_nodes import add_slice
from jaxcifar.exchange.onnx.traced_step import Step

_ZERO = fixed_constant(np.float32(0))


class _AxisOrders(NamedTuple):
    """The orders of axes in the graph: for each axis of the graph's tensor, its number in JAX.

    Attributes:
      images: batch, channels, then height and width.
      kernel: output channels, input channels of a group, then height and width.
      result: batch, channels, then height and width.
    """

    images: Order
    kernel: Order
    result: Order


def _axis_orders(step: Step) -> _AxisOrders:
    numbers = step.params["dimension_numbers"]
    return _AxisOrders(tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec))


def _spatial_axes(order: Order) -> list[int]:
    """Return the axes of height and width from one of the `_AxisOrders`."""
    _, _, *spatial_axes = order
    return spatial_axes


def convert_convolution(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a convolution; return its result."""
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
        return _add_transposed_convolution(graph, step, padding)
    return _add_convolution(graph, step, padding)


def _add_convolution(graph: OnnxBuilder, step: Step, padding: Sequence[tuple[int, int]]) -> Tensor:
    """Add the nodes of a convolution that puts no zeros between the pixels of its images."""
    params, orders = step.params, _axis_orders(step)
    images, kernel = step.inputs
    images = _crop_at_negative_padding(graph, images, padding, _spatial_axes(orders.images))
    kernel_size = [kernel.shape[axis] for axis in _spatial_axes(orders.kernel)]
    if not all(size.is_fixed for size in kernel_size):
        raise UnconvertibleError(
            "a kernel whose size depends on the number of images can't be converted; use a kernel "
            "of a fixed size"
        )
    images_in_graph = graph.reorder_and_expand(images, orders.images)
    kernel_in_graph = graph.reorder_and_expand(kernel, orders.kernel)
    zeros_before = [max(0, before) for before, _ in padding]
    zeros_after = [max(0, after) for _, after in padding]
    name = graph.add_node(
        "Conv",
        images_in_graph.name,
        kernel_in_graph.name,
        kernel_shape=[size.fixed_value for size in kernel_size],
        strides=list(params["window_strides"]),
        pads=zeros_before + zeros_after,
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Tensor.without_broadcast_axes(name, step.shape, orders.result, step.dtype)


def _crop_at_negative_padding(
    graph: OnnxBuilder, x: Value, padding: Sequence[tuple[int, int]], axes: Sequence[int]
) -> Value:
    """Crop rows and columns of images where the padding is negative; return the images.

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


def _add_transposed_convolution(
    graph: OnnxBuilder, step: Step, padding: Sequence[tuple[int, int]]
) -> Tensor:
    """Add the nodes of a convolution that puts zeros between the pixels of its images first.

    ONNX has the node ConvTranspose for this. Without an attribute `pads`, the node computes one
    output for each position where the kernel covers at least one pixel. JAX's padding may ask for
    fewer outputs or for more. Then rows and columns are cropped, or zeros are added.
    """
    params, orders = step.params, _axis_orders(step)
    group_count = params["feature_group_count"]
    images, kernel = step.inputs
    if not isinstance(kernel, Constant):
        raise UnconvertibleError(
            "a transposed convolution with a computed kernel can't be converted; use a constant "
            "kernel"
        )
    weights = kernel.array_for_any_batch().transpose(orders.kernel)
    _, _, *kernel_size = weights.shape
    missing_padding = []  # rows and columns that the node's output lacks; negative if it has extra
    for (before, after), size, dilation in zip(
        padding, kernel_size, params["rhs_dilation"], strict=True
    ):
        padding_by_node = (size - 1) * dilation
        missing_padding.append((before - padding_by_node, after - padding_by_node))
    cropped_before = [max(0, -before) for before, _ in missing_padding]
    cropped_after = [max(0, -after) for _, after in missing_padding]
    images_in_graph = graph.reorder_and_expand(images, orders.images)
    name = graph.add_node(
        "ConvTranspose",
        images_in_graph.name,
        graph.add_constant(_mirrored_and_swapped_kernel(weights, group_count)),
        kernel_shape=kernel_size,
        strides=list(params["lhs_dilation"]),
        pads=cropped_before + cropped_after,
        dilations=list(params["rhs_dilation"]),
        group=group_count,
    )
    cropped_rows_and_columns = [
        before + after for before, after in zip(cropped_before, cropped_after, strict=True)
    ]
    output = _output_of_conv_transpose(step, name, cropped_rows_and_columns)
    added_zeros = [(max(0, before), max(0, after)) for before, after in missing_padding]
    return _add_zeros_and_take_strides(graph, step, output, added_zeros)


def _add_zeros_and_take_strides(
    graph: OnnxBuilder, step: Step, output: Tensor, added_zeros: Sequence[tuple[int, int]]
) -> Tensor:
    """Pad the output of a ConvTranspose node with zeros, then apply the strides of JAX.

    A stride of 2 takes every second row. `added_zeros` has the numbers of zeros to add before and
    after, along height and width.
    """
    axis_count = len(step.shape)
    spatial_axes = _spatial_axes(_axis_orders(step).result)
    padding = _padding_of_all_axes(axis_count, spatial_axes, added_zeros)
    padded_output = add_padding(graph, output, _ZERO, padding)
    strides = [1] * axis_count
    for axis, stride in zip(spatial_axes, step.params["window_strides"], strict=True):
        strides[axis] = stride
    starts = fixed_shape([0] * axis_count)
    return add_slice(graph, padded_output, starts, padded_output.shape, strides)


def _mirrored_and_swapped_kernel(weights: np.ndarray, group_count: int) -> np.ndarray:
    """Return the kernel of a ConvTranspose node: mirrored, with inputs and outputs swapped.

    Args:
      weights: the kernel of the convolution, `[outputs, inputs of a group, height, width]`.
      group_count: number of groups of channels.
    """
    output_count, inputs_of_group, *kernel_size = weights.shape
    outputs_of_group = output_count // group_count
    groups_outputs_inputs = weights.reshape(
        group_count, outputs_of_group, inputs_of_group, *kernel_size
    )
    groups_inputs_outputs = groups_outputs_inputs.swapaxes(1, 2)
    spatial_axes = tuple(range(3, groups_inputs_outputs.ndim))
    mirrored = np.flip(groups_inputs_outputs, spatial_axes)
    input_count = group_count * inputs_of_group
    return mirrored.reshape(input_count, outputs_of_group, *kernel_size)


def _output_of_conv_transpose(
    step: Step, name: str, cropped_rows_and_columns: Sequence[int]
) -> Tensor:
    """Return the output of a ConvTranspose node as a tensor with its name and shape.

    Args:
      step: the convolution in JAX.
      name: name of the node's output.
      cropped_rows_and_columns: the number of rows and the number of columns that the node crops.
    """
    orders = _axis_orders(step)
    images, kernel = step.inputs
    image_sizes = [images.shape[axis] for axis in _spatial_axes(orders.images)]
    kernel_sizes = [kernel.shape[axis] for axis in _spatial_axes(orders.kernel)]
    if not all(size.is_fixed for size in image_sizes):
        raise UnconvertibleError(
            "a transposed convolution along the batch can't be converted; convolve each image by "
            "itself"
        )
    shape = list(step.shape)
    for number, output_axis in enumerate(_spatial_axes(orders.result)):
        distance_of_pixels = step.params["lhs_dilation"][number]
        distance_of_weights = step.params["rhs_dilation"][number]
        image_size_with_zeros = (image_sizes[number].fixed_value - 1) * distance_of_pixels + 1
        kernel_margin = (kernel_sizes[number].fixed_value - 1) * distance_of_weights
        output_size = image_size_with_zeros + kernel_margin - cropped_rows_and_columns[number]
        shape[output_axis] = Size(output_size, output_size)
    return Tensor.without_broadcast_axes(name, tuple(shape), orders.result, step.dtype)
