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
    order_of_jax,
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
      summed_axes: axes over which products are summed.
      batch_axes: axes that both arrays have, and of which the result has one for both.
      kept_axes: all other axes, which are axes of the result.
    """

    value: Value
    summed_axes: tuple[int, ...]
    batch_axes: tuple[int, ...]
    kept_axes: tuple[int, ...]

    def sizes(self, axes: Sequence[int]) -> list[Size]:
        return [self.value.shape[axis] for axis in axes]


def convert_dot_general(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes of a product of two matrices, or of two arrays of matrices."""
    summed_axes, batch_axes = step.params["dimension_numbers"]
    left_value, right_value = step.inputs
    left_summed_axes, right_summed_axes = summed_axes
    left_batch_axes, right_batch_axes = batch_axes
    left = _operand(left_value, left_summed_axes, left_batch_axes)
    right = _operand(right_value, right_summed_axes, right_batch_axes)
    if step.dtype != np.float32:
        raise UnconvertibleError("a matrix product of integers can't be converted; multiply floats")
    has_batch_axes = len(left.batch_axes) > 0
    if not has_batch_axes and isinstance(right.value, Constant):
        return _add_dense_layer(graph, step, inputs=left, weights=right, are_weights_left=False)
    if not has_batch_axes and isinstance(left.value, Constant):
        return _add_dense_layer(graph, step, inputs=right, weights=left, are_weights_left=True)
    return _add_product_of_batches(graph, step, left, right)


def _operand(value: Value, summed_axes: Sequence[int], batch_axes: Sequence[int]) -> _Operand:
    """Return an array of a product, with its axes divided into summed, batch and kept axes."""
    other_axes = [axis for axis in range(rank(value)) if axis not in (*summed_axes, *batch_axes)]
    return _Operand(value, tuple(summed_axes), tuple(batch_axes), tuple(other_axes))


def _add_dense_layer(
    graph: OnnxBuilder, step: Step, *, inputs: _Operand, weights: _Operand, are_weights_left: bool
) -> Tensor:
    """Add the nodes that multiply inputs by constant weights, as in a dense layer.

    The graph keeps the order of the inputs' kept axes (see `_Operand`). If `are_weights_left` is
    True, the weights are the left array in JAX.
    """
    x = inputs.value
    assert isinstance(x, Tensor)
    axes_in_result = _axes_in_jax_result(inputs, weights, are_weights_left)
    has_one_output_axis = len(weights.kept_axes) == 1
    if has_one_output_axis and _sums_over_channels(x, inputs):
        return _add_convolution_1x1(graph, step, inputs, weights, axes_in_result)
    row_axes = tuple(axis for axis in x.order if axis in inputs.kept_axes)
    row_sizes = inputs.sizes(row_axes)
    row_length = product(inputs.sizes(inputs.summed_axes))
    inputs_name = graph.reorder_and_expand(x, row_axes + inputs.summed_axes).name
    is_single_row = len(row_axes) == 0
    has_one_summed_axis = len(inputs.summed_axes) == 1
    if is_single_row:
        inputs_name = graph.add_reshape(inputs_name, [ONE, row_length])
    elif not has_one_summed_axis:
        inputs_name = graph.add_reshape(inputs_name, [*row_sizes, row_length])
    operation = "MatMul" if len(row_axes) > 1 else "Gemm"
    weights_name = graph.add_constant(_weight_matrix(weights))
    name = graph.add_node(operation, inputs_name, weights_name)
    if is_single_row or not has_one_output_axis:
        output_sizes = weights.sizes(weights.kept_axes)
        name = graph.add_reshape(name, [*row_sizes, *output_sizes])
    order = [axes_in_result.of_inputs[axis] for axis in row_axes]
    order += axes_in_result.of_weights.values()
    return Tensor.without_broadcast_axes(name, step.shape, tuple(order), step.dtype)


def _weight_matrix(weights: _Operand) -> np.ndarray:
    """Return constant weights as a matrix, `[inputs, outputs]`: products are summed over inputs."""
    summed_axes_first = weights.summed_axes + weights.kept_axes
    array = _constant_array(weights).transpose(summed_axes_first)
    input_count = product(weights.sizes(weights.summed_axes)).fixed_value
    return array.reshape(input_count, -1)


class _AxesInResult(NamedTuple):
    """Two dicts, for the inputs and for the weights: a kept axis -> its axis in JAX's result."""

    of_inputs: dict[int, int]
    of_weights: dict[int, int]


def _axes_in_jax_result(
    inputs: _Operand, weights: _Operand, are_weights_left: bool
) -> _AxesInResult:
    left, right = (weights, inputs) if are_weights_left else (inputs, weights)
    axes_of_left = {axis: number for number, axis in enumerate(left.kept_axes)}
    axes_of_right = {
        axis: number for number, axis in enumerate(right.kept_axes, start=len(left.kept_axes))
    }
    if are_weights_left:
        return _AxesInResult(of_inputs=axes_of_right, of_weights=axes_of_left)
    return _AxesInResult(of_inputs=axes_of_left, of_weights=axes_of_right)


def _sums_over_channels(x: Tensor, inputs: _Operand) -> bool:
    """Return True if a product sums over the channels of images: the second axis in the graph."""
    if len(x.order) <= 2:
        return False
    _, channel_axis, *_ = x.order
    has_broadcast_axes = x.sizes_in_graph != x.shape
    return inputs.summed_axes == (channel_axis,) and not has_broadcast_axes


def _add_convolution_1x1(
    graph: OnnxBuilder,
    step: Step,
    inputs: _Operand,
    weights: _Operand,
    axes_in_result: _AxesInResult,
) -> Tensor:
    """Add a 1x1 convolution, which multiplies the channels of each pixel by a matrix of weights."""
    x = inputs.value
    assert isinstance(x, Tensor)
    batch_axis, _channel_axis, *spatial_axes = x.order
    kernel_size = [1] * len(spatial_axes)
    outputs_by_inputs = _constant_array(weights).transpose(weights.kept_axes + weights.summed_axes)
    kernel = outputs_by_inputs.reshape(*outputs_by_inputs.shape, *kernel_size)
    name = graph.add_node("Conv", x.name, graph.add_constant(kernel), kernel_shape=kernel_size)
    [channel_axis_in_result] = axes_in_result.of_weights.values()
    order = [axes_in_result.of_inputs[batch_axis], channel_axis_in_result]
    order += [axes_in_result.of_inputs[axis] for axis in spatial_axes]
    return Tensor.without_broadcast_axes(name, step.shape, tuple(order), step.dtype)


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
    return weights.value.array_for_any_batch()


def _add_product_of_batches(
    graph: OnnxBuilder, step: Step, left: _Operand, right: _Operand
) -> Tensor:
    """Add the nodes that multiply matrices in batches, such as the heads of attention.

    The two arrays have the same batch axes. They are multiplied in the order that needs fewer
    transpositions: A B, or B A with all matrices transposed.
    """
    transpositions_if_swapped = _transposition_count(right, left)
    is_swapped = transpositions_if_swapped < _transposition_count(left, right)
    first, second = (right, left) if is_swapped else (left, right)
    first_name = _add_reshape_to_matrices(graph, first, first.kept_axes, first.summed_axes)
    second_name = _add_reshape_to_matrices(graph, second, second.summed_axes, second.kept_axes)
    name = graph.add_node("MatMul", first_name, second_name)
    batch_sizes = first.sizes(first.batch_axes)
    row_sizes, column_sizes = first.sizes(first.kept_axes), second.sizes(second.kept_axes)
    has_one_row_and_one_column_axis = len(row_sizes) == 1 and len(column_sizes) == 1
    if not has_one_row_and_one_column_axis:
        name = graph.add_reshape(name, [*batch_sizes, *row_sizes, *column_sizes])
    # JAX's result has the batch axes, then the kept axes of the left array, then of the right one.
    batch_count, left_count = len(left.batch_axes), len(left.kept_axes)
    axes_of_result = order_of_jax(len(step.shape))
    axes_of_batch = axes_of_result[:batch_count]
    axes_of_left = axes_of_result[batch_count : batch_count + left_count]
    axes_of_right = axes_of_result[batch_count + left_count :]
    if is_swapped:
        order = axes_of_batch + axes_of_right + axes_of_left
    else:
        order = axes_of_batch + axes_of_left + axes_of_right
    return Tensor.without_broadcast_axes(name, step.shape, order, step.dtype)


def _add_reshape_to_matrices(
    graph: OnnxBuilder, operand: _Operand, row_axes: tuple[int, ...], column_axes: tuple[int, ...]
) -> str:
    """Reshape an array of a product to matrices, `[*batch, rows, columns]`; return its new name."""
    order = operand.batch_axes + row_axes + column_axes
    name = graph.reorder_and_expand(operand.value, order).name
    is_already_matrix = len(row_axes) == 1 and len(column_axes) == 1
    if is_already_matrix:
        return name
    batch_sizes = operand.sizes(operand.batch_axes)
    row_count = product(operand.sizes(row_axes))
    column_count = product(operand.sizes(column_axes))
    return graph.add_reshape(name, [*batch_sizes, row_count, column_count])


def _transposition_count(first: _Operand, second: _Operand) -> int:
    """Return how many of two arrays must be transposed before `first` is multiplied by `second`."""
    needed_order_of_first = first.batch_axes + first.kept_axes + first.summed_axes
    needed_order_of_second = second.batch_axes + second.summed_axes + second.kept_axes
    count = 0
    if isinstance(first.value, Tensor) and first.value.order != needed_order_of_first:
        count += 1
    if isinstance(second.value, Tensor) and second.value.order != needed_order_of_second:
        count += 1
    return count
