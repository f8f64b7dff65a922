"""Convert convolutions and matrix products."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.exchange.onnx.indexing_nodes import padded
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Constant,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    product,
    rank,
)
from jaxcifar.exchange.onnx.rearranging_nodes import sliced
from jaxcifar.exchange.onnx.traced_step import Step


def conv_general_dilated(graph: OnnxBuilder, step: Step) -> Tensor:
    """Convolve. The graph's order of axes is batch, channels, then height and width."""
    params = step.params
    if params["batch_group_count"] != 1:
        raise UnconvertibleError("a convolution with batch groups")
    numbers = params["dimension_numbers"]
    x, kernel = step.inputs
    padding = [(int(before), int(after)) for before, after in params["padding"]]
    if max(params["lhs_dilation"], default=1) > 1:
        return _transposed_convolution(graph, step, padding)
    cropped = [(min(0, before), min(0, after)) for before, after in padding]
    if any(pair != (0, 0) for pair in cropped):
        amounts = [(0, 0)] * rank(x)
        for axis, pair in zip(numbers.lhs_spec[2:], cropped, strict=True):
            amounts[axis] = pair
        x = padded(graph, x, _zero(), amounts)
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
        result = padded(graph, result, _zero(), amounts)
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
    for number, axis in enumerate(numbers.out_spec[2:]):
        pixels = x.shape[numbers.lhs_spec[2 + number]].for_two
        kernel = step.inputs[1].shape[numbers.rhs_spec[2 + number]].for_two
        extent = (pixels - 1) * params["lhs_dilation"][number] + 1
        extent += (kernel - 1) * params["rhs_dilation"][number] - sum(cut[number])
        shape[axis] = Size(extent, extent)
    order = tuple(numbers.out_spec)
    return Tensor(name, tuple(shape), tuple(shape), order, step.dtype)


def _zero() -> Constant:
    return Constant(np.float32(0), np.float32(0))


class _Operand(NamedTuple):
    """One of the two arrays of a product, with the numbers of its axes.

    Attributes:
      value: the array.
      summed: axes over which products are summed.
      batch: axes that both arrays share in the result.
      free: all other axes.
    """

    value: Value
    summed: tuple[int, ...]
    batch: tuple[int, ...]
    free: tuple[int, ...]

    def sizes(self, axes: Sequence[int]) -> list[Size]:
        return [self.value.shape[axis] for axis in axes]


def dot_general(graph: OnnxBuilder, step: Step) -> Tensor:
    """Multiply matrices, or arrays of them."""
    (left_summed, right_summed), (left_batch, right_batch) = step.params["dimension_numbers"]
    left = _operand(step.inputs[0], left_summed, left_batch)
    right = _operand(step.inputs[1], right_summed, right_batch)
    if step.dtype != np.float32:
        raise UnconvertibleError("a matrix product of integers")
    if not left.batch and isinstance(right.value, Constant):
        return _dense(graph, step, left, right, weights_first=False)
    if not left.batch and isinstance(left.value, Constant):
        return _dense(graph, step, right, left, weights_first=True)
    return _batched(graph, step, left, right)


def _operand(value: Value, summed: Sequence[int], batch: Sequence[int]) -> _Operand:
    free = [axis for axis in range(rank(value)) if axis not in (*summed, *batch)]
    return _Operand(value, tuple(summed), tuple(batch), tuple(free))


def _dense(
    graph: OnnxBuilder, step: Step, inputs: _Operand, weights: _Operand, *, weights_first: bool
) -> Tensor:
    """Multiply by constant weights; the free axes of the inputs stay in the graph's order.

    `weights_first` says that the free axes of the weights come first in the result.
    """
    x = inputs.value
    assert isinstance(x, Tensor)
    free = tuple(axis for axis in x.order if axis in inputs.free)
    tensor = graph.whole(x, free + inputs.summed)
    name = tensor.name
    if len(inputs.summed) != 1:
        name = graph.reshape(name, [*inputs.sizes(free), product(inputs.sizes(inputs.summed))])
    array = _array(weights)
    matrix = array.transpose(weights.summed + weights.free)
    input_count = product(inputs.sizes(inputs.summed)).for_two
    matrix_name = graph.constant(matrix.reshape(input_count, -1))
    if not free:  # a product of vectors
        name = graph.reshape(name, [Size(1, 1), product(inputs.sizes(inputs.summed))])
    name = graph.add("Gemm" if len(free) < 2 else "MatMul", name, matrix_name)
    if len(weights.free) != 1 or not free:
        name = graph.reshape(name, [*inputs.sizes(free), *weights.sizes(weights.free)])
    first_weight_axis = 0 if weights_first else len(free)
    first_input_axis = len(weights.free) if weights_first else 0
    order = [first_input_axis + inputs.free.index(axis) for axis in free]
    order += [first_weight_axis + number for number in range(len(weights.free))]
    return Tensor(name, step.shape, step.shape, tuple(order), step.dtype)


def _array(weights: _Operand) -> np.ndarray:
    assert isinstance(weights.value, Constant)
    if not all(size.is_fixed for size in weights.value.shape):
        raise UnconvertibleError("weights whose shape depends on the number of images")
    return weights.value.array()


def _batched(graph: OnnxBuilder, step: Step, left: _Operand, right: _Operand) -> Tensor:
    """Multiply matrices of two arrays that share batch axes, such as the heads of attention."""
    is_swapped = _transposition_count(right, left) < _transposition_count(left, right)
    first, second = (right, left) if is_swapped else (left, right)
    first_name = graph.whole(first.value, first.batch + first.free + first.summed).name
    second_name = graph.whole(second.value, second.batch + second.summed + second.free).name
    batch, summed = first.sizes(first.batch), product(first.sizes(first.summed))
    rows, columns = first.sizes(first.free), second.sizes(second.free)
    is_one_summed = len(first.summed) == 1
    if len(rows) != 1 or not is_one_summed:
        first_name = graph.reshape(first_name, [*batch, product(rows), summed])
    if len(columns) != 1 or not is_one_summed:
        second_name = graph.reshape(second_name, [*batch, summed, product(columns)])
    name = graph.add("MatMul", first_name, second_name)
    if len(rows) != 1 or len(columns) != 1:
        name = graph.reshape(name, [*batch, *rows, *columns])
    axes = list(range(len(step.shape)))
    if is_swapped:  # in JAX the free axes of the left array come first
        first_of_left, first_of_right = len(batch), len(batch) + len(left.free)
        axes = axes[:first_of_left] + axes[first_of_right:] + axes[first_of_left:first_of_right]
    return Tensor(name, step.shape, step.shape, tuple(axes), step.dtype)


def _transposition_count(first: _Operand, second: _Operand) -> int:
    """Return how many arrays are transposed for a product of matrices of `first` and `second`."""
    orders = (
        (first.value, first.batch + first.free + first.summed),
        (second.value, second.batch + second.summed + second.free),
    )
    return sum(isinstance(value, Tensor) and value.order != order for value, order in orders)
