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
    """Add the nodes of a product of two matrices, or of two arrays of matrices."""
    (left_summed, right_summed), (left_batch, right_batch) = step.params["dimension_numbers"]
    left = _operand(step.inputs[0], left_summed, left_batch)
    right = _operand(step.inputs[1], right_summed, right_batch)
    if step.dtype != np.float32:
        raise UnconvertibleError("a matrix product of integers can't be converted; multiply floats")
    if not left.batch and isinstance(right.value, Constant):
        return _dense(graph, step, left, right, weights_first=False)
    if not left.batch and isinstance(left.value, Constant):
        return _dense(graph, step, right, left, weights_first=True)
    return _batched(graph, step, left, right)


def _operand(value: Value, summed: Sequence[int], batch: Sequence[int]) -> _Operand:
    """Return an array of a product with the numbers of its summed, batch and free axes."""
    free = [axis for axis in range(rank(value)) if axis not in (*summed, *batch)]
    return _Operand(value, tuple(summed), tuple(batch), tuple(free))


def _dense(
    graph: OnnxBuilder, step: Step, inputs: _Operand, weights: _Operand, *, weights_first: bool
) -> Tensor:
    """Add the nodes that multiply inputs by constant weights, as in a dense layer.

    The free axes of the inputs stay in the graph's order. If `weights_first` is True, the free axes
    of the weights come first in JAX's result, before those of the inputs.
    """
    x = inputs.value
    assert isinstance(x, Tensor)
    if len(weights.free) == 1 and _has_channels_second(x, inputs):
        return _pointwise(graph, step, inputs, weights, weights_first)
    free = tuple(axis for axis in x.order if axis in inputs.free)
    name = graph.expanded_in_order(x, free + inputs.summed).name
    summed_size = product(inputs.sizes(inputs.summed))
    if len(inputs.summed) != 1:
        name = graph.reshape(name, [*inputs.sizes(free), summed_size])
    summed_first = _constant_array(weights).transpose(weights.summed + weights.free)
    matrix = summed_first.reshape(summed_size.for_two, -1)
    matrix_name = graph.constant(matrix)
    if not free:  # a product of vectors
        name = graph.reshape(name, [Size(1, 1), summed_size])
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
    return len(x.order) > 2 and inputs.summed == (x.order[1],) and x.sizes_in_graph == x.shape


def _pointwise(
    graph: OnnxBuilder, step: Step, inputs: _Operand, weights: _Operand, weights_first: bool
) -> Tensor:
    """Add a convolution of single pixels that multiplies the channels of images by weights."""
    x = inputs.value
    assert isinstance(x, Tensor)
    kernel_size = [1] * (len(x.order) - 2)
    kernel = _constant_array(weights).transpose(weights.free + weights.summed)
    kernel_name = graph.constant(kernel.reshape(*kernel.shape, *kernel_size))
    name = graph.add("Conv", x.name, kernel_name, kernel_shape=kernel_size)
    first_input_axis = 1 if weights_first else 0
    order = [first_input_axis + inputs.free.index(axis) for axis in x.order if axis in inputs.free]
    order.insert(1, 0 if weights_first else len(inputs.free))
    return Tensor(name, step.shape, step.shape, tuple(order), step.dtype)


def _constant_array(weights: _Operand) -> np.ndarray:
    """Return the array of constant weights, after a check that its shape is fixed."""
    assert isinstance(weights.value, Constant)
    if not all(size.is_fixed for size in weights.value.shape):
        raise UnconvertibleError(
            "weights whose shape depends on the number of images can't be converted; use weights "
            "of a fixed shape"
        )
    return weights.value.array()


def _batched(graph: OnnxBuilder, step: Step, left: _Operand, right: _Operand) -> Tensor:
    """Add the nodes that multiply the matrices of two arrays with the same batch axes.

    An example are the heads of attention.
    """
    is_swapped = _transposition_count(right, left) < _transposition_count(left, right)
    first, second = (right, left) if is_swapped else (left, right)
    first_order = first.batch + first.free + first.summed
    second_order = second.batch + second.summed + second.free
    first_name = graph.expanded_in_order(first.value, first_order).name
    second_name = graph.expanded_in_order(second.value, second_order).name
    batch_sizes, summed_size = first.sizes(first.batch), product(first.sizes(first.summed))
    row_sizes, column_sizes = first.sizes(first.free), second.sizes(second.free)
    has_one_summed_axis = len(first.summed) == 1
    if len(row_sizes) != 1 or not has_one_summed_axis:
        matrices = [*batch_sizes, product(row_sizes), summed_size]
        first_name = graph.reshape(first_name, matrices)
    if len(column_sizes) != 1 or not has_one_summed_axis:
        matrices = [*batch_sizes, summed_size, product(column_sizes)]
        second_name = graph.reshape(second_name, matrices)
    name = graph.add("MatMul", first_name, second_name)
    if len(row_sizes) != 1 or len(column_sizes) != 1:
        name = graph.reshape(name, [*batch_sizes, *row_sizes, *column_sizes])
    axes = list(range(len(step.shape)))
    if is_swapped:  # in JAX the free axes of the left array come first
        start_of_left = len(batch_sizes)
        start_of_right = start_of_left + len(left.free)
        axes_of_batch = axes[:start_of_left]
        axes_of_left, axes_of_right = axes[start_of_left:start_of_right], axes[start_of_right:]
        axes = axes_of_batch + axes_of_right + axes_of_left
    return Tensor(name, step.shape, step.shape, tuple(axes), step.dtype)


def _transposition_count(first: _Operand, second: _Operand) -> int:
    """Return how many arrays are transposed for a product of matrices of `first` and `second`."""
    values_and_orders = (
        (first.value, first.batch + first.free + first.summed),
        (second.value, second.batch + second.summed + second.free),
    )
    count = 0
    for value, needed_order in values_and_orders:
        if isinstance(value, Tensor) and value.order != needed_order:
            count += 1
    return count
