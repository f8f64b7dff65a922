"""Convert products of matrices and of arrays of matrices."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
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
    """One of the two arrays of a product, with the kinds of its axes.

    The result of JAX's `dot_general` has the batch axes, then the kept axes of the left array, then
    those of the right array. In `x @ w` of two matrices, axis 1 of `x` and axis 0 of `w` are
    summed, and the other axes are kept.

    Attributes:
      value: the array.
      summed: axes over which products are summed.
      batch: axes that both arrays have, and of which the result has one for both.
      kept: all other axes, which are axes of the result.
    """

    value: Value
    summed: tuple[int, ...]
    batch: tuple[int, ...]
    kept: tuple[int, ...]

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
    """Return an array of a product, with its axes divided into summed, batch and kept axes."""
    kept = [axis for axis in range(rank(value)) if axis not in (*summed, *batch)]
    return _Operand(value, tuple(summed), tuple(batch), tuple(kept))


def _dense(
    graph: OnnxBuilder, step: Step, inputs: _Operand, weights: _Operand, *, weights_first: bool
) -> Tensor:
    """Add the nodes that multiply inputs by constant weights, as in a dense layer.

    The kept axes of the inputs stay in the graph's order. If `weights_first` is True, the weights
    are the left array in JAX.
    """
    x = inputs.value
    assert isinstance(x, Tensor)
    if len(weights.kept) == 1 and _sums_over_channels(x, inputs):
        return _pointwise(graph, step, inputs, weights, weights_first)
    kept_in_graph_order = tuple(axis for axis in x.order if axis in inputs.kept)
    kept_sizes = inputs.sizes(kept_in_graph_order)
    summed_size = product(inputs.sizes(inputs.summed))
    name = graph.expanded_in_order(x, kept_in_graph_order + inputs.summed).name
    if not kept_sizes:  # the inputs are one vector: a matrix with one row
        name = graph.reshape(name, [ONE, summed_size])
    elif len(inputs.summed) != 1:
        name = graph.reshape(name, [*kept_sizes, summed_size])
    summed_first = _constant_array(weights).transpose(weights.summed + weights.kept)
    weight_matrix = summed_first.reshape(summed_size.for_two, -1)
    operation = "MatMul" if len(kept_sizes) > 1 else "Gemm"
    name = graph.add(operation, name, graph.constant(weight_matrix))
    if len(weights.kept) != 1 or not kept_sizes:
        name = graph.reshape(name, [*kept_sizes, *weights.sizes(weights.kept)])
    axes_of_inputs, axes_of_weights = _result_axes(inputs, weights, weights_first)
    order = [axes_of_inputs[axis] for axis in kept_in_graph_order]
    order += axes_of_weights.values()
    return Tensor(name, step.shape, step.shape, tuple(order), step.dtype)


def _result_axes(
    inputs: _Operand, weights: _Operand, weights_first: bool
) -> tuple[dict[int, int], dict[int, int]]:
    """Return two dicts, for the inputs and the weights: kept axis -> its axis in JAX's result."""
    first_input_axis = len(weights.kept) if weights_first else 0
    first_weight_axis = 0 if weights_first else len(inputs.kept)
    axes_of_inputs = {axis: first_input_axis + number for number, axis in enumerate(inputs.kept)}
    axes_of_weights = {axis: first_weight_axis + number for number, axis in enumerate(weights.kept)}
    return axes_of_inputs, axes_of_weights


def _sums_over_channels(x: Tensor, inputs: _Operand) -> bool:
    """Return True if a product sums over the channels of images: the second axis in the graph."""
    return len(x.order) > 2 and inputs.summed == (x.order[1],) and x.sizes_in_graph == x.shape


def _pointwise(
    graph: OnnxBuilder, step: Step, inputs: _Operand, weights: _Operand, weights_first: bool
) -> Tensor:
    """Add a 1x1 convolution, which multiplies the channels of each pixel by a matrix of weights."""
    x = inputs.value
    assert isinstance(x, Tensor)
    kernel_size = [1] * (len(x.order) - 2)
    weight_matrix = _constant_array(weights).transpose(weights.kept + weights.summed)
    kernel = weight_matrix.reshape(*weight_matrix.shape, *kernel_size)
    name = graph.add("Conv", x.name, graph.constant(kernel), kernel_shape=kernel_size)
    axes_of_inputs, axes_of_weights = _result_axes(inputs, weights, weights_first)
    batch_axis, _, *spatial_axes = x.order
    [channel_axis_of_result] = axes_of_weights.values()
    order = [axes_of_inputs[batch_axis], channel_axis_of_result]
    order += [axes_of_inputs[axis] for axis in spatial_axes]
    return Tensor(name, step.shape, step.shape, tuple(order), step.dtype)


def _constant_array(weights: _Operand) -> np.ndarray:
    """Return the array of constant weights.

    Raises:
      UnconvertibleError: the shape of the array depends on the number of images.
    """
    assert isinstance(weights.value, Constant)
    if not all(size.is_fixed for size in weights.value.shape):
        raise UnconvertibleError(
            "weights whose shape depends on the number of images can't be converted; use weights "
            "of a fixed shape"
        )
    return weights.value.array()


def _batched(graph: OnnxBuilder, step: Step, left: _Operand, right: _Operand) -> Tensor:
    """Add the nodes that multiply matrices in batches, such as the heads of attention.

    The two arrays have the same batch axes. They are multiplied in the order that needs fewer
    transpositions: A B, or B A with all matrices transposed.
    """
    is_swapped = _transposition_count(right, left) < _transposition_count(left, right)
    first, second = (right, left) if is_swapped else (left, right)
    batch_sizes = first.sizes(first.batch)
    row_sizes, column_sizes = first.sizes(first.kept), second.sizes(second.kept)
    first_name = _matrices(graph, first, first.kept, first.summed)
    second_name = _matrices(graph, second, second.summed, second.kept)
    name = graph.add("MatMul", first_name, second_name)
    if len(row_sizes) != 1 or len(column_sizes) != 1:
        name = graph.reshape(name, [*batch_sizes, *row_sizes, *column_sizes])
    # JAX's result has the batch axes, then the kept axes of the left array, then of the right one.
    first_left_axis = len(batch_sizes)
    first_right_axis = first_left_axis + len(left.kept)
    axes_of_batch = tuple(range(first_left_axis))
    axes_of_left = tuple(range(first_left_axis, first_right_axis))
    axes_of_right = tuple(range(first_right_axis, len(step.shape)))
    if is_swapped:
        order = axes_of_batch + axes_of_right + axes_of_left
    else:
        order = axes_of_batch + axes_of_left + axes_of_right
    return Tensor(name, step.shape, step.shape, order, step.dtype)


def _matrices(
    graph: OnnxBuilder, operand: _Operand, row_axes: tuple[int, ...], column_axes: tuple[int, ...]
) -> str:
    """Reshape an array of a product to matrices, `[*batch, rows, columns]`; return its new name."""
    order = operand.batch + row_axes + column_axes
    name = graph.expanded_in_order(operand.value, order).name
    if len(row_axes) == 1 and len(column_axes) == 1:
        return name
    rows, columns = product(operand.sizes(row_axes)), product(operand.sizes(column_axes))
    return graph.reshape(name, [*operand.sizes(operand.batch), rows, columns])


def _order_as_first(first: _Operand) -> tuple[int, ...]:
    return first.batch + first.kept + first.summed


def _order_as_second(second: _Operand) -> tuple[int, ...]:
    return second.batch + second.summed + second.kept


def _transposition_count(first: _Operand, second: _Operand) -> int:
    """Return how many of two arrays must be transposed before `first` is multiplied by `second`."""
    count = 0
    if isinstance(first.value, Tensor) and first.value.order != _order_as_first(first):
        count += 1
    if isinstance(second.value, Tensor) and second.value.order != _order_as_second(second):
        count += 1
    return count
