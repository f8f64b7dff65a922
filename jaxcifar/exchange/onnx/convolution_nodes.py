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
from jaxcifar.exchange.onnx.rearranging_nodes import sliced
from jaxcifar.exchange.onnx.traced_step import Step

_ZERO = shared(np.float32(0))


def conv_general_dilated(graph: OnnxBuilder, step: Step) -> Tensor:
    """Convolve. The graph's order of axes is batch, channels, then height and width."""
    params = step.params
    if params["batch_group_count"] != 1:
        raise UnconvertibleError("a convolution with batch groups")
    numbers = params["dimension_numbers"]
    x, kernel = step.inputs
    if step.dtype != np.float32:
        raise UnconvertibleError("a convolution of integers")
    padding = [(int(before), int(after)) for before, after in params["padding"]]
    if max(params["lhs_dilation"], default=1) > 1:
        return _transposed_convolution(graph, step, padding)
    cropped = [(min(0, before), min(0, after)) for before, after in padding]
    if any(pair != (0, 0) for pair in cropped):
        amounts = [(0, 0)] * rank(x)
        for axis, pair in zip(numbers.lhs_spec[2:], cropped, strict=True):
            amounts[axis] = pair
        x = padded(graph, x, _ZERO, amounts)
    if not all(kernel.shape[axis].is_fixed for axis in numbers.rhs_spec[2:]):
        raise UnconvertibleError("a kernel whose size depends on the number of images")
    images = graph.whole(x, tuple(numbers.lhs_spec))
    weights = graph.whole(kernel, tuple(numbers.rhs_spec))
    befores = [max(0, before) for before, _ in padding]
    afters = [max(0, after) for _, after in padding]
    name = graph.add(
        "Conv",
        images.name,
        weights.name,
        kernel_shape=[size.for_two for size in weights.stored_shape[2:]],
        strides=list(params["window_strides"]),
        pads=befores + afters,
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Tensor(name, step.shape, step.shape, tuple(numbers.out_spec), step.dtype)


def _transposed_convolution(
    graph: OnnxBuilder, step: Step, padding: Sequence[tuple[int, int]]
) -> Tensor:
    """Convolve images with zeros between their pixels.

    ONNX's ConvTranspose takes the mirrored kernel with inputs and outputs swapped, and counts
    padding from the largest possible output.
    """
    params = step.params
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    x, kernel = step.inputs
    if not isinstance(kernel, Constant):
        raise UnconvertibleError("a transposed convolution with a computed kernel")
    weights = kernel.array().transpose(numbers.rhs_spec)
    outputs, group_inputs, *size = weights.shape
    by_group = weights.reshape(groups, outputs // groups, group_inputs, *size).swapaxes(1, 2)
    mirrored = np.flip(by_group, tuple(range(3, by_group.ndim)))
    swapped = mirrored.reshape(groups * group_inputs, outputs // groups, *size)
    cut, added = [], []
    for (before, after), extent, dilation in zip(
        padding, size, params["rhs_dilation"], strict=True
    ):
        largest = (extent - 1) * dilation
        cut.append((max(0, largest - before), max(0, largest - after)))
        added.append((max(0, before - largest), max(0, after - largest)))
    name = graph.add(
        "ConvTranspose",
        graph.whole(x, tuple(numbers.lhs_spec)).name,
        graph.constant(swapped),
        kernel_shape=size,
        strides=list(params["lhs_dilation"]),
        pads=[before for before, _ in cut] + [after for _, after in cut],
        dilations=list(params["rhs_dilation"]),
        group=groups,
    )
    result = _largest_output(step, name, x, cut)
    amounts = [(0, 0)] * len(step.shape)
    for axis, pair in zip(numbers.out_spec[2:], added, strict=True):
        amounts[axis] = pair
    if any(pair != (0, 0) for pair in amounts):  # outputs whose kernel covers no pixel
        result = padded(graph, result, _ZERO, amounts)
    strides = [1] * len(step.shape)
    for axis, stride in zip(numbers.out_spec[2:], params["window_strides"], strict=True):
        strides[axis] = stride
    starts = [Size(0, 0)] * len(step.shape)
    return sliced(graph, result, starts, result.shape, strides)


def _largest_output(step: Step, name: str, x: Value, cut: Sequence[tuple[int, int]]) -> Tensor:
    """Return the tensor that a ConvTranspose node of this name computes."""
    params = step.params
    numbers = params["dimension_numbers"]
    shape = list(step.shape)
    for position, axis in enumerate(numbers.out_spec[2:]):
        if not x.shape[numbers.lhs_spec[2 + position]].is_fixed:
            raise UnconvertibleError("a transposed convolution along the batch")
        pixels = x.shape[numbers.lhs_spec[2 + position]].for_two
        kernel = step.inputs[1].shape[numbers.rhs_spec[2 + position]].for_two
        extent = (pixels - 1) * params["lhs_dilation"][position] + 1
        extent += (kernel - 1) * params["rhs_dilation"][position] - sum(cut[position])
        shape[axis] = Size(extent, extent)
    order = tuple(numbers.out_spec)
    return Tensor(name, tuple(shape), tuple(shape), order, step.dtype)
