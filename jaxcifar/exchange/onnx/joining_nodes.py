"""Convert operations that join, repeat or cut arrays along an axis."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder, common_order
from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Constant,
    Shape,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_shape,
    rank,
)
from jaxcifar.exchange.onnx.rearranging_nodes import sliced, with_axes
from jaxcifar.exchange.onnx.traced_step import Step, only_input


def concatenate(graph: OnnxBuilder, step: Step) -> Tensor:
    return concatenated(graph, step.inputs, step.params["dimension"], step.shape, step.dtype)


def concatenated(
    graph: OnnxBuilder, values: Sequence[Value], axis: int, shape: Shape, dtype: np.dtype
) -> Tensor:
    """Return arrays joined along an axis.

    Raises:
      UnconvertibleError: the axis is the axis of the images.
    """
    if not shape[axis].is_fixed:
        raise UnconvertibleError("arrays that are joined along the batch")
    order = common_order(values, len(shape))
    names = [graph.whole(value, order).name for value in values]
    name = graph.add("Concat", *names, axis=order.index(axis))
    return Tensor(name, shape, shape, order, dtype)


def tile(graph: OnnxBuilder, step: Step) -> Tensor:
    """Repeat an array along each axis."""
    x = graph.expanded(only_input(step))
    repeats = step.params["reps"]
    if any(count > 1 and not size.is_fixed for count, size in zip(repeats, x.shape, strict=True)):
        raise UnconvertibleError("images that are repeated")
    name = graph.add("Tile", x.name, graph.integers([repeats[axis] for axis in x.order]))
    return Tensor(name, step.shape, step.shape, x.order, step.dtype)


def split(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Cut an array into parts along an axis."""
    x = only_input(step)
    axis, sizes = step.params["axis"], [int(size) for size in step.params["sizes"]]
    ends = np.cumsum(sizes)
    parts = []
    for size, end in zip(sizes, ends, strict=True):
        parts.append(_part(graph, x, axis, int(end) - size, int(end)))
    return parts


def take_one(graph: OnnxBuilder, x: Tensor, position: int, axis: int = 0) -> Tensor:
    """Return the element of a tensor at a position along an axis, which disappears."""
    kept = [other for other in range(len(x.shape)) if other != axis]
    shape = tuple(x.shape[other] for other in kept)
    element = _part(graph, x, axis, position, position + 1)
    return with_axes(graph, element, kept, shape)


def _part(graph: OnnxBuilder, x: Tensor, axis: int, start: int, end: int) -> Tensor:
    """Return the elements of a tensor from `start` to `end` (exclusive) along an axis."""
    starts, limits = list(fixed_shape([0] * len(x.shape))), list(x.shape)
    starts[axis], limits[axis] = fixed_shape([start, end])
    return sliced(graph, x, starts, limits, [1] * len(starts))


def unstack(graph: OnnxBuilder, step: Step) -> list[Tensor]:
    """Return the elements of an array along an axis, which disappears."""
    x = only_input(step)
    axis = step.params["axis"]
    count = x.shape[axis].for_two
    return [take_one(graph, x, position, axis) for position in range(count)]


def stack(graph: OnnxBuilder, step: Step) -> Tensor:
    return stacked(graph, step.inputs, step.params["axis"], step.shape, step.dtype)


def stacked(
    graph: OnnxBuilder, values: Sequence[Value], axis: int, shape: Shape, dtype: np.dtype
) -> Tensor:
    """Return arrays joined along a new axis."""
    parts: list[Value] = []
    for value in values:
        if isinstance(value, Constant):
            two = jnp.expand_dims(value.for_two, axis)
            three = two if value.is_shared else jnp.expand_dims(value.for_three, axis)
            parts.append(Constant(two, three))
        else:
            sources: list[int | None] = list(range(rank(value)))
            sources.insert(axis, None)
            part_shape = (*shape[:axis], ONE, *shape[axis + 1 :])
            parts.append(with_axes(graph, value, sources, part_shape))
    return concatenated(graph, parts, axis, shape, dtype)
