"""Convert products of matrices and of arrays of matrices."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
from jaxcifar.exchange.onnx.traced_step import Step


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
    if len(weights.free) == 1 and _has_channels_second(x, inputs):
        return _pointwise(graph, step, inputs, weights, weights_first)
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


def _has_channels_second(x: Tensor, inputs: _Operand) -> bool:
    """Return True if a product sums over the second axis in the graph, the axis of channels."""
    return len(x.order) > 2 and inputs.summed == (x.order[1],) and x.stored == x.shape


def _pointwise(
    graph: OnnxBuilder, step: Step, inputs: _Operand, weights: _Operand, weights_first: bool
) -> Tensor:
    """Multiply the channels of images by weights, with a convolution of single pixels."""
    x = inputs.value
    assert isinstance(x, Tensor)
    ones = [1] * (len(x.order) - 2)
    kernel = _array(weights).transpose(weights.free + weights.summed)
    kernel_name = graph.constant(kernel.reshape(*kernel.shape, *ones))
    name = graph.add("Conv", x.name, kernel_name, kernel_shape=ones)
    first_input_axis = 1 if weights_first else 0
    order = [first_input_axis + inputs.free.index(axis) for axis in x.order if axis in inputs.free]
    order.insert(1, 0 if weights_first else len(inputs.free))
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
