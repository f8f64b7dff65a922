"""Convert operations that take, replace or add elements at constant positions."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import elementwise
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder, common_order
from jaxcifar.exchange.onnx.onnx_values import (
    BATCH_SIZES,
    Constant,
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_shape,
    rank,
    shared,
)
from jaxcifar.exchange.onnx.rearranging_nodes import clamped_starts, sliced
from jaxcifar.exchange.onnx.traced_step import Step

_LARGEST_EXACT = 2**24  # float32 has each integer up to this number


def pad(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add elements before and after those along each axis; negative numbers remove elements."""
    x, filling = step.inputs
    config = step.params["padding_config"]
    if any(between for _, _, between in config):
        raise UnconvertibleError("padding between elements")
    return padded(graph, x, filling, [(int(low), int(high)) for low, high, _ in config])


def padded(graph: OnnxBuilder, x: Value, filling: Value, amounts: list[tuple[int, int]]) -> Tensor:
    """Return a padded tensor.

    Args:
      graph: the graph.
      x: the array.
      filling: the scalar that fills the new elements.
      amounts: numbers of new elements before and after, along each axis; may be negative.
    """
    order = common_order([x], len(amounts))
    tensor = graph.in_order(x, order)
    if any(before > 0 or after > 0 for before, after in amounts):
        tensor = graph.expanded(tensor)
        befores = [max(0, amounts[axis][0]) for axis in order]
        afters = [max(0, amounts[axis][1]) for axis in order]
        value = graph.in_order(filling, ()).name
        name = graph.add("Pad", tensor.name, graph.integers(befores + afters), value)
        shape = _longer(tensor.shape, amounts)
        tensor = dataclasses.replace(tensor, name=name, shape=shape, stored=shape)
    starts = [Size(max(0, -before), max(0, -before)) for before, _ in amounts]
    limits = []
    for size, (_, after) in zip(tensor.shape, amounts, strict=True):
        removed = max(0, -after)
        limits.append(Size(size.for_two - removed, size.for_three - removed))
    return sliced(graph, tensor, starts, limits, [1] * len(amounts))


def _longer(shape: Shape, amounts: list[tuple[int, int]]) -> Shape:
    sizes = []
    for size, (before, after) in zip(shape, amounts, strict=True):
        added = max(0, before) + max(0, after)
        if added and not size.is_fixed:
            raise UnconvertibleError("images that are added to the batch")
        sizes.append(Size(size.for_two + added, size.for_three + added))
    return tuple(sizes)


def dynamic_update_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Replace a block of an array, at a constant position."""
    x, update = step.inputs[:2]
    starts = clamped_starts(step, first=2, shape=x.shape, sizes=update.shape)
    amounts, blocks = [], []
    for start, whole, part in zip(starts, x.shape, update.shape, strict=True):
        if whole != part and not (whole.is_fixed and part.is_fixed and start.is_fixed):
            raise UnconvertibleError("a block that replaces some images of the batch")
        before, after = start.for_two, whole.for_two - start.for_two - part.for_two
        amounts.append((before, after))
        is_in_block = np.ones(part.for_two if whole.is_fixed else 1, bool)
        blocks.append(np.pad(is_in_block, (before, after)) if whole.is_fixed else is_in_block)
    zero = shared(np.zeros((), step.dtype))
    moved = padded(graph, update, zero, amounts)
    is_replaced = np.ones((), bool)
    for block in blocks:
        is_replaced = is_replaced[..., None] & block
    return elementwise(graph, "Where", (shared(is_replaced), moved, x), step.shape, step.dtype)


def gather(graph: OnnxBuilder, step: Step) -> Tensor:
    """Take elements at constant positions."""
    [indices] = step.constant_inputs(1, "indices")
    numbers = _element_numbers(step.inputs[:1])
    return _take_elements(graph, step, step.inputs[:1], [*numbers, indices])


def scatter(graph: OnnxBuilder, step: Step) -> Tensor:
    """Replace elements at constant positions."""
    x, indices, updates = step.inputs
    if not isinstance(indices, Constant):
        raise UnconvertibleError("indices that depend on the images")
    if step.params["update_jaxpr"] is not None:
        raise UnconvertibleError("updates of elements by a function")
    numbers, update_numbers = _element_numbers([x, updates])
    return _take_elements(graph, step, [x, updates], [numbers, indices, update_numbers])


def _take_elements(
    graph: OnnxBuilder, step: Step, sources: Sequence[Value], inputs: Sequence[Constant]
) -> Tensor:
    """Return an array of elements of other arrays, the same elements for each image.

    JAX itself computes the operation with the numbers of the elements, which tells where each
    element of the result is from.

    Args:
      graph: the graph.
      step: the operation.
      sources: the arrays with the elements.
      inputs: the inputs of the operation, with numbers in place of the elements.
    """
    if not _has_one_batch_axis(step.shape):
        raise UnconvertibleError("indices that choose images of the batch")
    result_axis = _batch_axis(step.shape)
    element_count = sum(_image_size(source.shape) for source in sources)
    [taken] = step.compute(inputs)
    positions = []
    for trace, array in enumerate((taken.for_two, taken.for_three)):
        by_image = np.moveaxis(np.asarray(array), result_axis, 0)
        first_numbers = np.arange(step.shape[result_axis][trace]) * element_count
        positions += list(by_image - first_numbers.reshape(-1, *[1] * (by_image.ndim - 1)))
    is_inside = (positions[0] >= 0) & (positions[0] < element_count)  # elsewhere JAX may give NaN
    is_same = all(np.array_equal(positions[0], others) for others in positions)
    if not is_same or not is_inside.all():
        raise UnconvertibleError("indices that are out of range or differ between images")
    flat = []
    for source in sources:
        axis = _batch_axis(source.shape)
        order = (axis, *[other for other in range(rank(source)) if other != axis])
        sizes = [source.shape[axis], *fixed_shape([_image_size(source.shape)])]
        flat.append(graph.reshape(graph.whole(source, order).name, sizes))
    name = flat[0] if len(flat) == 1 else graph.add("Concat", *flat, axis=1)
    name = graph.add("Gather", name, graph.constant(positions[0].astype(np.int64)), axis=1)
    rest = [axis for axis in range(len(step.shape)) if axis != result_axis]
    return Tensor(name, step.shape, step.shape, (result_axis, *rest), step.dtype)


def _has_one_batch_axis(shape: Shape) -> bool:
    return [size.is_fixed for size in shape].count(False) == 1


def _batch_axis(shape: Shape) -> int:
    return [size.is_fixed for size in shape].index(False)


def _image_size(shape: Shape) -> int:
    """Return the number of elements that an array has for each entry of its batch axis."""
    return math.prod(size.for_two for size in shape if size.is_fixed)


def _element_numbers(sources: Sequence[Value]) -> list[Constant]:
    """Return arrays of the shapes of other arrays, in which the elements are numbered.

    All elements of the first image come first, in all arrays, then all of the second image.
    """
    if not all(_has_one_batch_axis(source.shape) for source in sources):
        raise UnconvertibleError("indices into an array without a batch axis, or of single images")
    counts = [_image_size(source.shape) for source in sources]
    if sum(counts) * max(BATCH_SIZES) > _LARGEST_EXACT:
        raise UnconvertibleError("indices into an array with too many elements")
    numbered = []
    for place, source in enumerate(sources):
        axis = _batch_axis(source.shape)
        arrays = []
        for trace in range(len(BATCH_SIZES)):
            images = source.shape[axis][trace]
            sizes = [size[trace] for size in source.shape if size.is_fixed]
            first_numbers = np.arange(images) * sum(counts) + sum(counts[:place])
            numbers = first_numbers[:, None] + np.arange(counts[place])
            arrays.append(np.moveaxis(numbers.astype(np.float32).reshape(images, *sizes), 0, axis))
        numbered.append(Constant(*arrays))
    return numbered
