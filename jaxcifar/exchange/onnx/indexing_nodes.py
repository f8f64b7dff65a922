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
from jaxcifar.exchange.onnx.slicing_nodes import clamped_starts, sliced
from jaxcifar.exchange.onnx.traced_step import Step

_LARGEST_EXACT = 2**24  # float32 has each integer up to this number


def pad(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that pad an array: at both ends of each axis, elements are added or removed."""
    x, filling = step.inputs
    config = step.params["padding_config"]
    if any(between for _, _, between in config):
        raise UnconvertibleError(
            "padding between elements can't be converted; pad only before and after an array"
        )
    amounts = [(int(before), int(after)) for before, after, _ in config]
    return padded(graph, x, filling, amounts)


def padded(graph: OnnxBuilder, x: Value, filling: Value, amounts: list[tuple[int, int]]) -> Tensor:
    """Add the nodes that pad an array; return the padded tensor.

    Args:
      graph: the graph.
      x: the array.
      filling: the scalar that fills the new elements.
      amounts: numbers of new elements before and after, along each axis. A negative number removes
        elements.
    """
    order = common_order([x], len(amounts))
    tensor = graph.in_order(x, order)
    if any(before > 0 or after > 0 for before, after in amounts):
        tensor = graph.expanded(tensor)
        added_before = [max(0, amounts[axis][0]) for axis in order]
        added_after = [max(0, amounts[axis][1]) for axis in order]
        filling_name = graph.in_order(filling, ()).name
        pads_name = graph.integers(added_before + added_after)
        name = graph.add("Pad", tensor.name, pads_name, filling_name)
        shape = _shape_with_added(tensor.shape, amounts)
        tensor = dataclasses.replace(tensor, name=name, shape=shape, sizes_in_graph=shape)
    starts, limits = [], []
    for size, (before, after) in zip(tensor.shape, amounts, strict=True):
        removed_before, removed_after = max(0, -before), max(0, -after)
        starts.append(Size(removed_before, removed_before))
        limits.append(Size(size.for_two - removed_after, size.for_three - removed_after))
    return sliced(graph, tensor, starts, limits, [1] * len(amounts))


def _shape_with_added(shape: Shape, amounts: list[tuple[int, int]]) -> Shape:
    """Return the shape of an array after elements are added to it, but before any are removed.

    `amounts` has the numbers of elements before and after, along each axis; a negative number
    removes elements.
    """
    sizes = []
    for size, (before, after) in zip(shape, amounts, strict=True):
        added = max(0, before) + max(0, after)
        if added and not size.is_fixed:
            raise UnconvertibleError(
                "padding that adds images to the batch can't be converted; pad other axes only"
            )
        sizes.append(Size(size.for_two + added, size.for_three + added))
    return tuple(sizes)


def dynamic_update_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that replace a block of an array, at a constant position.

    The block is padded with zeros to the size of the array. Then a constant array of truth values
    takes each element from the padded block or from the array.
    """
    x, block = step.inputs[:2]
    starts = clamped_starts(step, first=2, shape=x.shape, sizes=block.shape)
    amounts = []
    block_slices = []
    for start, array_size, block_size in zip(starts, x.shape, block.shape, strict=True):
        are_all_fixed = array_size.is_fixed and block_size.is_fixed and start.is_fixed
        if array_size != block_size and not are_all_fixed:
            raise UnconvertibleError(
                "a block that replaces some images of the batch can't be converted; replace the "
                "block in all images"
            )
        before = start.for_two
        after = array_size.for_two - before - block_size.for_two
        amounts.append((before, after))
        end = before + block_size.for_two
        block_slices.append(slice(before, end) if array_size.is_fixed else slice(None))
    # The batch axis has the size 1, because the block is at the same place in each image.
    sizes = [size.for_two if size.is_fixed else 1 for size in x.shape]
    is_replaced = np.zeros(sizes, bool)
    is_replaced[tuple(block_slices)] = True
    zero = shared(np.zeros((), step.dtype))
    padded_block = padded(graph, block, zero, amounts)
    inputs = (shared(is_replaced), padded_block, x)
    return elementwise(graph, "Where", inputs, step.shape, step.dtype)


def gather(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that take elements of an array at constant positions."""
    [indices] = step.constant_inputs(1, "indices")
    numbers = _element_numbers(step.inputs[:1])
    return _take_elements(graph, step, step.inputs[:1], [*numbers, indices])


def scatter(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that replace elements of an array at constant positions."""
    x, indices, updates = step.inputs
    if not isinstance(indices, Constant):
        raise UnconvertibleError(
            "indices that depend on the images can't be converted; use constant indices"
        )
    if step.params["update_jaxpr"] is not None:
        raise UnconvertibleError(
            "array.at[...].apply() can't be converted to ONNX; use array.at[...].set()"
        )
    numbers, update_numbers = _element_numbers([x, updates])
    return _take_elements(graph, step, [x, updates], [numbers, indices, update_numbers])


def _take_elements(
    graph: OnnxBuilder, step: Step, sources: Sequence[Value], inputs: Sequence[Constant]
) -> Tensor:
    """Add the nodes that copy elements of arrays to a new array, the same elements for each image.

    To find out which elements JAX copies, JAX computes the operation on arrays of numbers 0, 1, 2,
    ... (see `_element_numbers`). The result then consists of the numbers of the copied elements.

    Args:
      graph: the graph.
      step: the operation.
      sources: the arrays whose elements are copied.
      inputs: the operation's inputs, with the numbers of the elements in place of `sources`.
    """
    if len(_batch_axes(step.shape)) != 1:
        raise UnconvertibleError(
            "indices that choose images of the batch can't be converted; index within each image"
        )
    [result_axis] = _batch_axes(step.shape)
    positions = _positions_in_image(step, sources, inputs)
    image_arrays = []  # of each source, the name of a tensor [images, elements of an image]
    for source in sources:
        [batch_axis] = _batch_axes(source.shape)
        other_axes = [axis for axis in range(rank(source)) if axis != batch_axis]
        batch_first = graph.expanded_in_order(source, (batch_axis, *other_axes))
        sizes = [source.shape[batch_axis], *fixed_shape([_image_size(source.shape)])]
        image_arrays.append(graph.reshape(batch_first.name, sizes))
    name = image_arrays[0]
    if len(image_arrays) > 1:
        name = graph.add("Concat", *image_arrays, axis=1)
    name = graph.add("Gather", name, graph.constant(positions.astype(np.int64)), axis=1)
    other_axes = [axis for axis in range(len(step.shape)) if axis != result_axis]
    return Tensor(name, step.shape, step.shape, (result_axis, *other_axes), step.dtype)


def _positions_in_image(
    step: Step, sources: Sequence[Value], inputs: Sequence[Constant]
) -> np.ndarray:
    """Return which element of an image is copied to each place of the operation's result.

    The elements of an image are numbered from 0, in the first source, then in the next one.

    Args:
      step: the operation.
      sources: the arrays whose elements are copied.
      inputs: the operation's inputs, with the numbers of the elements in place of `sources`.

    Raises:
      UnconvertibleError: other elements are copied in another image, or a number is out of range.
    """
    [result_axis] = _batch_axes(step.shape)
    element_count = sum(_image_size(source.shape) for source in sources)
    [numbers] = step.compute(inputs)
    positions_of_images = []
    for numbers_in_trace in (numbers.for_two, numbers.for_three):
        numbers_by_image = np.moveaxis(np.asarray(numbers_in_trace), result_axis, 0)
        for image, numbers_of_image in enumerate(numbers_by_image):
            first_number_of_image = image * element_count
            positions_of_images.append(numbers_of_image - first_number_of_image)
    positions = positions_of_images[0]
    are_equal = all(np.array_equal(positions, others) for others in positions_of_images)
    is_inside = (positions >= 0) & (positions < element_count)  # elsewhere JAX may give NaN
    if not are_equal or not is_inside.all():
        raise UnconvertibleError(
            "indices that are out of range or differ between images can't be converted; use the "
            "same valid indices for each image"
        )
    return positions


def _batch_axes(shape: Shape) -> list[int]:
    """Return the axes whose size depends on the number of images."""
    return [axis for axis, size in enumerate(shape) if not size.is_fixed]


def _image_size(shape: Shape) -> int:
    """Return the number of elements that an array has for each entry of its batch axis."""
    return math.prod(size.for_two for size in shape if size.is_fixed)


def _element_numbers(sources: Sequence[Value]) -> list[Constant]:
    """Return arrays of the shapes of `sources` that contain the numbers 0, 1, 2, ... once each.

    The elements of the first image in all arrays have the first numbers, then those of the second.
    """
    if any(len(_batch_axes(source.shape)) != 1 for source in sources):
        raise UnconvertibleError(
            "indexing single images, or an array without a batch axis, can't be converted; "
            "index within each image"
        )
    element_counts = [_image_size(source.shape) for source in sources]
    if sum(element_counts) * max(BATCH_SIZES) > _LARGEST_EXACT:
        raise UnconvertibleError(
            "indices into an array with too many elements can't be converted; index a smaller array"
        )
    numbered_arrays = []
    first_number_in_image = 0
    for source, element_count in zip(sources, element_counts, strict=True):
        [batch_axis] = _batch_axes(source.shape)
        image_shape = [size.for_two for size in source.shape if size.is_fixed]
        next_number = first_number_in_image + element_count
        first_image = np.arange(first_number_in_image, next_number).reshape(image_shape)
        arrays = []
        for image_count in source.shape[batch_axis]:  # for two and for three images
            images = [first_image + image * sum(element_counts) for image in range(image_count)]
            arrays.append(np.stack(images, batch_axis).astype(np.float32))
        numbered_arrays.append(Constant(*arrays))
        first_number_in_image = next_number
    return numbered_arrays
