"""Convert reductions over axes, cumulative sums and sorting."""

import dataclasses

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import Conversion, cast
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder, common_order
from jaxcifar.exchange.onnx.onnx_values import Size, Tensor, UnconvertibleError
from jaxcifar.exchange.onnx.pooling_nodes import pooled_blocks
from jaxcifar.exchange.onnx.traced_step import Step, only_input

_INT32 = np.dtype(np.int32)


def reduction(operation: str) -> Conversion:
    """Return the conversion of a reduction over axes, such as "ReduceSum"."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        x = only_input(step)
        axes = list(step.params["axes"])
        if not axes:
            return x
        if x.dtype == np.bool_:
            result = reduced(graph, cast(graph, x, _INT32), axes, operation)
            return cast(graph, result, x.dtype)
        blocks = pooled_blocks(graph, x, axes, operation, step.shape)
        if blocks is not None:
            return blocks
        return reduced(graph, x, axes, operation)

    return convert


def reduced(graph: OnnxBuilder, x: Tensor, axes: list[int], operation: str) -> Tensor:
    """Return a tensor reduced over axes, which disappear."""
    x = graph.expanded(x)
    stored_axes = sorted(x.order.index(axis) for axis in axes)
    if operation == "ReduceSum":  # whose axes are an input in this version of ONNX
        name = graph.add(operation, x.name, graph.integers(stored_axes), keepdims=0)
    else:
        name = graph.add(operation, x.name, axes=stored_axes, keepdims=0)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    order = tuple(kept.index(axis) for axis in x.order if axis in kept)
    shape = tuple(x.shape[axis] for axis in kept)
    return Tensor(name, shape, shape, order, x.dtype)


def bool_reduction(operation: str) -> Conversion:
    """Return the conversion of a reduction of bools alone, by "ReduceMin" or "ReduceMax"."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        if only_input(step).dtype != np.bool_:
            raise UnconvertibleError(f"{step.name} of integers")
        result: Tensor = reduction(operation)(graph, step)
        return result

    return convert


def position_of(operation: str) -> Conversion:
    """Return the conversion of "ArgMax" or "ArgMin"."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        x = only_input(step)
        [axis] = step.params["axes"]
        x = _orderable(graph, graph.expanded(x))
        name = graph.add(operation, x.name, axis=x.order.index(axis), keepdims=0)
        order = tuple(other - (other > axis) for other in x.order if other != axis)
        positions = Tensor(name, step.shape, step.shape, order, np.dtype(np.int64))
        return cast(graph, positions, step.dtype)

    return convert


def cumsum(graph: OnnxBuilder, step: Step) -> Tensor:
    x = only_input(step)
    x = graph.expanded(x)
    axis = graph.constant(np.int64(x.order.index(step.params["axis"])))
    name = graph.add("CumSum", x.name, axis, reverse=int(step.params["reverse"]))
    return dataclasses.replace(x, name=name)


def sort(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Sort by the first array, and rearrange the other arrays in the same way."""
    if step.params["num_keys"] != 1:
        raise UnconvertibleError("sorting by more than one array")
    axis = step.params["dimension"]
    order = common_order(step.inputs, len(step.shape))
    keys, *others = [graph.whole(value, order) for value in step.inputs]
    size = step.shape[axis]
    sorted_keys, positions = _top_k(graph, keys, axis, size, largest=False)
    results = [sorted_keys]
    for tensor in others:
        stored_axis = order.index(axis)
        name = graph.add("GatherElements", tensor.name, positions.name, axis=stored_axis)
        results.append(dataclasses.replace(tensor, name=name))
    return results


def top_k(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Return the largest elements along an axis, and their positions."""
    x = only_input(step)
    axis = step.params.get("axis", -1) % len(x.shape)
    count = step.params["k"]
    values, positions = _top_k(graph, graph.expanded(x), axis, Size(count, count), largest=True)
    return [values, cast(graph, positions, np.dtype(np.int32))]


def _orderable(graph: OnnxBuilder, x: Tensor) -> Tensor:
    """Return bools as integers, which ONNX Runtime can compare; return other arrays unchanged."""
    return cast(graph, x, _INT32) if x.dtype == np.bool_ else x


def _top_k(
    graph: OnnxBuilder, x: Tensor, axis: int, count: Size, largest: bool
) -> tuple[Tensor, Tensor]:
    if not x.shape[axis].is_fixed:
        raise UnconvertibleError("sorting along the batch")
    numbers = _orderable(graph, x)
    values, positions = graph.add_node(
        "TopK",
        numbers.name,
        graph.integers([count.for_two]),
        output_count=2,
        axis=x.order.index(axis),
        largest=int(largest),
    )
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    result = dataclasses.replace(numbers, name=values, shape=shape, stored=shape)
    position = dataclasses.replace(result, name=positions, dtype=np.dtype(np.int64))
    return cast(graph, result, x.dtype) if x.dtype == np.bool_ else result, position
