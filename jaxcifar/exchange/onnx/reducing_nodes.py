"""Convert reductions over axes, cumulative sums and sorting."""

import dataclasses

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import Conversion, elementwise
from jaxcifar.exchange.onnx.onnx_builder import ONNX_TYPES, OnnxBuilder, common_order
from jaxcifar.exchange.onnx.onnx_values import Size, Tensor, UnconvertibleError
from jaxcifar.exchange.onnx.pooling_nodes import pooled_blocks
from jaxcifar.exchange.onnx.traced_step import Step


def reduction(operation: str) -> Conversion:
    """Return the conversion of a reduction over axes, such as "ReduceSum"."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        [x] = step.inputs
        assert isinstance(x, Tensor)
        axes = list(step.params["axes"])
        if not axes:
            return x
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


def truth_reduction(operation: str) -> Conversion:
    """Return the conversion of a reduction of truth values, by "ReduceMin" or "ReduceMax"."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        [x] = step.inputs
        if not isinstance(x, Tensor) or x.dtype != np.bool_:
            raise UnconvertibleError(f"{step.name} of integers")
        numbers = _cast(graph, x, np.dtype(np.int32))
        result = reduced(graph, numbers, list(step.params["axes"]), operation)
        return _cast(graph, result, np.dtype(np.bool_))

    return convert


def position_of(operation: str) -> Conversion:
    """Return the conversion of "ArgMax" or "ArgMin"."""

    def convert(graph: OnnxBuilder, step: Step) -> Tensor:
        [x] = step.inputs
        assert isinstance(x, Tensor)
        [axis] = step.params["axes"]
        x = graph.expanded(x)
        name = graph.add(operation, x.name, axis=x.order.index(axis), keepdims=0)
        order = tuple(other - (other > axis) for other in x.order if other != axis)
        positions = Tensor(name, step.shape, step.shape, order, np.dtype(np.int64))
        return _cast(graph, positions, step.dtype)

    return convert


def cumsum(graph: OnnxBuilder, step: Step) -> Tensor:
    [x] = step.inputs
    assert isinstance(x, Tensor)
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
    [x] = step.inputs
    assert isinstance(x, Tensor)
    axis = step.params.get("axis", -1) % len(x.shape)
    count = step.params["k"]
    values, positions = _top_k(graph, graph.expanded(x), axis, Size(count, count), largest=True)
    return [values, _cast(graph, positions, np.dtype(np.int32))]


def _top_k(
    graph: OnnxBuilder, x: Tensor, axis: int, count: Size, largest: bool
) -> tuple[Tensor, Tensor]:
    if not x.shape[axis].is_fixed:
        raise UnconvertibleError("sorting along the batch")
    values, positions = graph.add_node(
        "TopK",
        x.name,
        graph.integers([count.for_two]),
        output_count=2,
        axis=x.order.index(axis),
        largest=int(largest),
    )
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    result = dataclasses.replace(x, name=values, shape=shape, stored=shape)
    return result, dataclasses.replace(result, name=positions, dtype=np.dtype(np.int64))


def _cast(graph: OnnxBuilder, x: Tensor, dtype: np.dtype) -> Tensor:
    to = ONNX_TYPES[dtype.name]
    return elementwise(graph, "Cast", (x,), x.shape, dtype, to=to)
