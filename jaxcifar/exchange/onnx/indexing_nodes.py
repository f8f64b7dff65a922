"""Convert operations that take, replace or add elements at constant positions."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import add_elementwise_node
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder, common_order
from jaxcifar.exchange.onnx.onnx_values import (
    BATCH_SIZES,
    Constant,
    Order,
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_constant,
    fixed_shape,
)
from jaxcifar.exchange.onnx.slicing_nodes import add_slice, clamped_starts
from jaxcifar.exchange.onnx.traced_step import Step

_LARGEST_EXACT = 2**24  # float32 has each integer up to this number


def convert_pad(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that pad an array: at both ends of each axis, elements are added or removed."""
    x, filling = step.inputs
    config = step.params["padding_config"]
    if any(between for _, _, between in config):
        raise UnconvertibleError(
            "padding between elements can't be converted; pad only before and after an array"
        )
    padding = [(int(before), int(after)) for before, after, _ in config]
    return add_padding(graph, x, filling, padding)


def add_padding(
    graph: OnnxBuilder, x: Value, filling: Value, padding: list[tuple[int, int]]
) -> Tensor:
    """Add the nodes that pad an array; return the padded tensor.

    Args:
      graph: the graph.
      x: the array.
      filling: the scalar that fills the new elements.
      padding: for each axis, numbers of elements to add before and after. A negative number removes
        elements.
    """
    added_counts = [(max(0, before), max(0, after)) for before, after in padding]
    removed_counts = [(max(0, -before), max(0, -after)) for before, after in padding]
    order = common_order([x], len(padding))
    tensor = graph.reorder_axes(x, order)
    if any(added_counts_of_axis != (0, 0) for added_counts_of_axis in added_counts):
        tensor = _with_added_elements(graph, tensor, filling, added_counts)
    starts, limits = [], []
    for size, (before, after) in zip(tensor.shape, removed_counts, strict=True):
        starts.append(Size(before, before))
        limits.append(Size(size.for_two_images - after, size.for_three_images - after))
    return add_slice(graph, tensor, starts, limits, [1] * len(padding))


def _with_added_elements(
    graph: OnnxBuilder, tensor: Tensor, filling: Value, added_counts: list[tuple[int, int]]
) -> Tensor:
    """Add the node that adds elements before and after a tensor, along each axis."""
    tensor = graph.expand_repeats(tensor)
    counts_before = [added_counts[axis][0] for axis in tensor.order]
    counts_after = [added_counts[axis][1] for axis in tensor.order]
    filling_name = graph.reorder_axes(filling, ()).name
    counts_name = graph.add_integers(counts_before + counts_after)
    name = graph.add_node("Pad", tensor.name, counts_name, filling_name)
    sizes = []
    for size, (before, after) in zip(tensor.shape, added_counts, strict=True):
        added = before + after
        if added and not size.is_fixed:
            raise UnconvertibleError(
                "padding that adds images to the batch can't be converted; pad other axes only"
            )
        sizes.append(Size(size.for_two_images + added, size.for_three_images + added))
    shape = tuple(sizes)
    return dataclasses.replace(tensor, name=name, shape=shape, sizes_in_graph=shape)


def convert_dynamic_update_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that replace a block of an array, at a constant position.

    The block is padded with zeros to the size of the array. Then a constant array of truth values
    takes each element from the padded block or from the array.
    """
    x, block, *_ = step.inputs
    starts = clamped_starts(step, first_index=2, array_shape=x.shape, slice_shape=block.shape)
    padding_of_block = []
    block_slices = []
    for start, array_size, block_size in zip(starts, x.shape, block.shape, strict=True):
        are_all_fixed = array_size.is_fixed and block_size.is_fixed and start.is_fixed
        replaces_some_images = array_size != block_size and not are_all_fixed
        if replaces_some_images:
            raise UnconvertibleError(
                "a block that replaces some images of the batch can't be converted; replace the "
                "block in all images"
            )
        before = start.fixed_value
        end = before + block_size.for_two_images
        after = array_size.for_two_images - end
        padding_of_block.append((before, after))
        block_slices.append(slice(before, end) if array_size.is_fixed else slice(None))
    # The batch axis has the size 1, because the block is at the same place in each image.
    sizes_for_any_batch = [size.fixed_value if size.is_fixed else 1 for size in x.shape]
    is_in_block = np.zeros(sizes_for_any_batch, bool)
    is_in_block[tuple(block_slices)] = True
    zero = fixed_constant(np.zeros((), step.dtype))
    padded_block = add_padding(graph, block, zero, padding_of_block)
    inputs = (fixed_constant(is_in_block), padded_block, x)
    return add_elementwise_node(graph, "Where", inputs, step.shape, step.dtype)


def convert_gather(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that take elements of an array at constant positions."""
    x, _ = step.inputs
    [indices] = step.constant_inputs(1, "indices")
    [numbered_x] = _number_elements([x])
    return _copy_elements(graph, step, [x], [numbered_x, indices])


def convert_scatter(graph: OnnxBuilder, step: Step) -> Tensor:
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
    numbered_x, numbered_updates = _number_elements([x, updates])
    return _copy_elements(graph, step, [x, updates], [numbered_x, indices, numbered_updates])


def _copy_elements(
    graph: OnnxBuilder, step: Step, sources: Sequence[Value], numbered_inputs: Sequence[Constant]
) -> Tensor:
    """Add the nodes that copy elements of arrays to a new array, the same elements for each image.

    To find out which elements the operation copies, JAX computes it on arrays that contain the
    numbers 0, 1, 2, ... (see `_number_elements`). The result contains the copied numbers.

    Args:
      graph: the graph.
      step: the operation.
      sources: the arrays whose elements are copied.
      numbered_inputs: the operation's inputs, with the arrays of numbers in place of `sources`.
    """
    if len(_batch_axes(step.shape)) != 1:
        raise UnconvertibleError(
            "indices that choose images of the batch can't be converted; index within each image"
        )
    positions = _copied_positions(step, sources, numbered_inputs)
    matrices = []  # names of tensors, one for each source: [images, elements of an image]
    for source in sources:
        order = _order_with_batch_first(source.shape)
        batch_first = graph.reorder_and_expand(source, order)
        image_count, *_ = batch_first.shape_in_graph
        [element_count] = fixed_shape([_elements_per_image(source.shape)])
        matrices.append(graph.add_reshape(batch_first.name, [image_count, element_count]))
    joined = graph.add_node("Concat", *matrices, axis=1) if len(matrices) > 1 else matrices[0]
    name = graph.add_node("Gather", joined, graph.add_constant(positions.astype(np.int64)), axis=1)
    return Tensor(name, step.shape, step.shape, _order_with_batch_first(step.shape), step.dtype)


def _order_with_batch_first(shape: Shape) -> Order:
    [batch_axis] = _batch_axes(shape)
    other_axes = [axis for axis in range(len(shape)) if axis != batch_axis]
    return (batch_axis, *other_axes)


def _copied_positions(
    step: Step, sources: Sequence[Value], numbered_inputs: Sequence[Constant]
) -> np.ndarray:
    """Return the positions in an image of the elements that the operation copies.

    Positions count from 0 through the first source, then through the next one. The arguments are
    those of `_copy_elements`.

    Raises:
      UnconvertibleError: other elements are copied in another image, or an index is out of range.
    """
    [batch_axis] = _batch_axes(step.shape)
    elements_per_image = sum(_elements_per_image(source.shape) for source in sources)
    [copied_numbers] = step.compute(numbered_inputs)
    positions_of_images = []
    for numbers in (copied_numbers.for_two_images, copied_numbers.for_three_images):
        numbers_by_image = np.moveaxis(np.asarray(numbers), batch_axis, 0)
        for image, numbers_of_image in enumerate(numbers_by_image):
            first_number_of_image = image * elements_per_image
            positions_of_images.append(numbers_of_image - first_number_of_image)
    positions = positions_of_images[0]
    are_equal = all(np.array_equal(positions, others) for others in positions_of_images)
    is_inside = (positions >= 0) & (positions < elements_per_image)  # elsewhere JAX may give NaN
    if not are_equal or not is_inside.all():
        raise UnconvertibleError(
            "indices that are out of range or differ between images can't be converted; use the "
            "same valid indices for each image"
        )
    return positions


def _batch_axes(shape: Shape) -> list[int]:
    """Return the axes whose size depends on the number of images."""
    return [axis for axis, size in enumerate(shape) if not size.is_fixed]


def _elements_per_image(shape: Shape) -> int:
    """Return the number of elements that an array has for each entry of its batch axis."""
    return math.prod(size.fixed_value for size in shape if size.is_fixed)


def _number_elements(sources: Sequence[Value]) -> list[Constant]:
    """Return arrays of the shapes of `sources` that contain the numbers 0, 1, 2, ... once each.

    The first image has the first numbers in all arrays, then comes the second image.
    """
    if any(len(_batch_axes(source.shape)) != 1 for source in sources):
        raise UnconvertibleError(
            "indexing single images, or an array without a batch axis, can't be converted; "
            "index within each image"
        )
    elements_per_image = sum(_elements_per_image(source.shape) for source in sources)
    if elements_per_image * max(BATCH_SIZES) > _LARGEST_EXACT:
        raise UnconvertibleError(
            "indices into an array with too many elements can't be converted; index a smaller array"
        )
    numbered_arrays = []
    first_number = 0  # of the source, in the first image
    for source in sources:
        [batch_axis] = _batch_axes(source.shape)
        image_shape = [size.fixed_value for size in source.shape if size.is_fixed]
        end_number = first_number + _elements_per_image(source.shape)
        first_image = np.arange(first_number, end_number).reshape(image_shape)
        arrays = []
        for image_count in source.shape[batch_axis]:  # for two and for three images
            images = [first_image + image * elements_per_image for image in range(image_count)]
            arrays.append(np.stack(images, batch_axis).astype(np.float32))
        numbered_arrays.append(Constant(*arrays))
        first_number = end_number
    return numbered_arrays
