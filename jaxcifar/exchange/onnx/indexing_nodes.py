"""Convert operations that take or replace elements at constant positions."""

import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    BATCH_SIZES,
    Constant,
    Order,
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
)
from jaxcifar.exchange.onnx.traced_step import Step

_LARGEST_EXACT = 2**24  # float32 has each integer up to this number


def convert_gather(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that take elements of an array at constant positions; return the result."""
    x, _ = step.inputs
    [indices] = step.constant_inputs(1, "indices")
    [numbers_of_x] = _element_numbers([x])
    return _copy_elements(graph, step, [x], [numbers_of_x, indices])


def convert_scatter(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that replace elements of an array at constant positions; return the result."""
    x, indices, updates = step.inputs
    if not isinstance(indices, Constant):
        raise UnconvertibleError(
            "indices that depend on the images can't be converted; use constant indices"
        )
    applies_function = step.params["update_jaxpr"] is not None
    if applies_function:
        raise UnconvertibleError(
            "array.at[...].apply() can't be converted to ONNX; use array.at[...].set()"
        )
    numbers_of_x, numbers_of_updates = _element_numbers([x, updates])
    numbered_inputs = [numbers_of_x, indices, numbers_of_updates]
    return _copy_elements(graph, step, [x, updates], numbered_inputs)


def _copy_elements(
    graph: OnnxBuilder, step: Step, sources: Sequence[Value], numbered_inputs: Sequence[Constant]
) -> Tensor:
    """Add the nodes that copy elements of arrays to a new array, the same elements for each image.

    To find out which elements the operation copies, JAX computes it on arrays that contain the
    numbers 0, 1, 2, ... (see `_element_numbers`). The result contains the copied numbers.

    Args:
      graph: the graph.
      step: the operation.
      sources: the arrays whose elements are copied.
      numbered_inputs: the operation's inputs, with the arrays of numbers in place of `sources`.
    """
    if not _has_one_batch_axis(step.shape):
        raise UnconvertibleError(
            "indices that choose images of the batch can't be converted; index within each image"
        )
    positions = _copied_positions(step, sources, numbered_inputs)
    matrix_names = [_add_reshape_to_matrix(graph, source) for source in sources]
    if len(matrix_names) > 1:
        all_elements_name = graph.add_node("Concat", *matrix_names, axis=1)
    else:
        [all_elements_name] = matrix_names
    positions_name = graph.add_constant(positions.astype(np.int64))
    name = graph.add_node("Gather", all_elements_name, positions_name, axis=1)
    return Tensor.without_repeats(name, step.shape, _order_with_batch_first(step.shape), step.dtype)


def _add_reshape_to_matrix(graph: OnnxBuilder, source: Value) -> str:
    """Reshape an array to `[images, elements of an image]`; return the new tensor's name."""
    batch_first = graph.reorder_and_expand(source, _order_with_batch_first(source.shape))
    image_count, *_ = batch_first.shape_in_graph
    elements_per_image = _elements_per_image(source.shape)
    element_count = Size(elements_per_image, elements_per_image)
    return graph.add_reshape(batch_first.name, [image_count, element_count])


def _order_with_batch_first(shape: Shape) -> Order:
    [batch_axis] = _batch_axes(shape)
    other_axes = [axis for axis in range(len(shape)) if axis != batch_axis]
    return (batch_axis, *other_axes)


def _copied_positions(
    step: Step, sources: Sequence[Value], numbered_inputs: Sequence[Constant]
) -> np.ndarray:
    """Return the positions in an image of the elements that the operation copies.

    Positions count from 0 through the first source, then through the next one. The function has the
    same arguments as `_copy_elements`.

    Raises:
      UnconvertibleError: other elements are copied in another image, or an index is out of range.
    """
    [batch_axis] = _batch_axes(step.shape)
    elements_per_image = sum(_elements_per_image(source.shape) for source in sources)
    [copied_numbers] = step.compute(numbered_inputs)
    positions_by_image = []
    for numbers in (copied_numbers.for_two_images, copied_numbers.for_three_images):
        numbers_by_image = np.moveaxis(np.asarray(numbers), batch_axis, 0)
        for image_number, numbers_in_image in enumerate(numbers_by_image):
            first_number_of_image = image_number * elements_per_image
            positions_by_image.append(numbers_in_image - first_number_of_image)
    positions, *positions_in_other_images = positions_by_image
    are_same_in_all_images = all(
        np.array_equal(positions, others) for others in positions_in_other_images
    )
    is_inside_image = (positions >= 0) & (positions < elements_per_image)  # else JAX may give NaN
    if not are_same_in_all_images or not is_inside_image.all():
        raise UnconvertibleError(
            "indices that are out of range or differ between images can't be converted; use the "
            "same valid indices for each image"
        )
    return positions


def _batch_axes(shape: Shape) -> list[int]:
    """Return the axes whose size depends on the number of images."""
    return [axis for axis, size in enumerate(shape) if not size.is_fixed]


def _has_one_batch_axis(shape: Shape) -> bool:
    return len(_batch_axes(shape)) == 1


def _elements_per_image(shape: Shape) -> int:
    """Return the number of elements that an array has for each entry of its batch axis."""
    return math.prod(size.fixed_value for size in shape if size.is_fixed)


def _element_numbers(sources: Sequence[Value]) -> list[Constant]:
    """Number the elements of all sources; return the numbers in arrays of the sources' shapes.

    The numbers run through the first image of each source in turn, then through the second image of
    each source, and so on. They start from 0, and no number appears twice.
    """
    if not all(_has_one_batch_axis(source.shape) for source in sources):
        raise UnconvertibleError(
            "indexing single images, or an array without a batch axis, can't be converted; "
            "index within each image"
        )
    elements_per_image = sum(_elements_per_image(source.shape) for source in sources)
    if elements_per_image * max(BATCH_SIZES) > _LARGEST_EXACT:
        raise UnconvertibleError(
            "indices into an array with too many elements can't be converted; index a smaller array"
        )
    numbers_of_sources = []
    first_number = 0
    for source in sources:
        [batch_axis] = _batch_axes(source.shape)
        image_shape = [size.fixed_value for size in source.shape if size.is_fixed]
        end_number = first_number + _elements_per_image(source.shape)
        numbers_in_first_image = np.arange(first_number, end_number).reshape(image_shape)
        image_counts_of_traces = source.shape[batch_axis]
        numbers_for_batch_sizes = [
            _numbers_in_batch(numbers_in_first_image, image_count, elements_per_image, batch_axis)
            for image_count in image_counts_of_traces
        ]
        numbers_of_sources.append(Constant(*numbers_for_batch_sizes))
        first_number = end_number
    return numbers_of_sources


def _numbers_in_batch(
    numbers_in_first_image: np.ndarray, image_count: int, elements_per_image: int, batch_axis: int
) -> np.ndarray:
    numbers_by_image = []
    for image_number in range(image_count):
        numbers_by_image.append(numbers_in_first_image + image_number * elements_per_image)
    return np.stack(numbers_by_image, batch_axis).astype(np.float32)
