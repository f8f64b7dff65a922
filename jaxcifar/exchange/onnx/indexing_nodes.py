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

_LARGEST_EXACT_INTEGER = 2**24  # float32 has each integer up to this number


def convert_gather(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that take elements of an array at constant positions; return the result."""
    x, _ = step.inputs
    [indices] = step.constant_inputs(1, "indices")
    [element_ids] = _element_ids([x])
    return _copy_elements(graph, step, [x], inputs_with_ids=[element_ids, indices])


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
    element_ids, update_ids = _element_ids([x, updates])
    inputs_with_ids = [element_ids, indices, update_ids]
    return _copy_elements(graph, step, [x, updates], inputs_with_ids)


def _copy_elements(
    graph: OnnxBuilder, step: Step, sources: Sequence[Value], inputs_with_ids: Sequence[Constant]
) -> Tensor:
    """Add the nodes that copy elements of arrays to a new array, the same elements for each image.

    To find out which elements the operation copies, JAX computes it on arrays of element ids: the
    numbers 0, 1, 2, ... (see `_element_ids`). The result contains the ids of the copied elements.

    Args:
      graph: the graph.
      step: the operation.
      sources: the arrays whose elements are copied.
      inputs_with_ids: the operation's inputs, with the arrays of ids in place of `sources`.
    """
    if not _has_one_batch_axis(step.shape):
        raise UnconvertibleError(
            "indices that choose images of the batch can't be converted; index within each image"
        )
    positions = _copied_positions(step, sources, inputs_with_ids)
    matrix_names = [_add_reshape_to_matrix(graph, source) for source in sources]
    if len(matrix_names) > 1:
        all_elements_name = graph.add_node("Concat", *matrix_names, axis=1)
    else:
        [all_elements_name] = matrix_names
    positions_name = graph.add_constant(positions.astype(np.int64))
    name = graph.add_node("Gather", all_elements_name, positions_name, axis=1)
    return Tensor.without_broadcast_axes(
        name, step.shape, _order_with_batch_first(step.shape), step.dtype
    )


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
    step: Step, sources: Sequence[Value], inputs_with_ids: Sequence[Constant]
) -> np.ndarray:
    """Return the positions in an image of the elements that the operation copies.

    Positions count from 0 through the first source, then through the next one. The function has the
    same arguments as `_copy_elements`.

    Raises:
      UnconvertibleError: other elements are copied in another image, or an index is out of range.
    """
    [batch_axis] = _batch_axes(step.shape)
    elements_per_image = sum(_elements_per_image(source.shape) for source in sources)
    [copied_ids] = step.compute(inputs_with_ids)
    positions_by_image = []
    for ids_in_batch in (copied_ids.for_two_images, copied_ids.for_three_images):
        ids_by_image = np.moveaxis(np.asarray(ids_in_batch), batch_axis, 0)
        for image_number, ids_in_image in enumerate(ids_by_image):
            first_id_of_image = image_number * elements_per_image
            positions_by_image.append(ids_in_image - first_id_of_image)
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


def _element_ids(sources: Sequence[Value]) -> list[Constant]:
    """Give each element of all sources its own id; return arrays of ids in the sources' shapes.

    The ids are 0, 1, 2, ... They count the elements of the first image of all sources, then those
    of the second image of all sources, and so on.
    """
    if not all(_has_one_batch_axis(source.shape) for source in sources):
        raise UnconvertibleError(
            "indexing single images, or an array without a batch axis, can't be converted; "
            "index within each image"
        )
    elements_per_image = sum(_elements_per_image(source.shape) for source in sources)
    if elements_per_image * max(BATCH_SIZES) > _LARGEST_EXACT_INTEGER:
        raise UnconvertibleError(
            "indices into an array with too many elements can't be converted; index a smaller array"
        )
    ids_of_sources = []
    first_id = 0
    for source in sources:
        [batch_axis] = _batch_axes(source.shape)
        image_shape = [size.fixed_value for size in source.shape if size.is_fixed]
        end_id = first_id + _elements_per_image(source.shape)
        ids_in_first_image = np.arange(first_id, end_id).reshape(image_shape)
        batch_size = source.shape[batch_axis]
        ids_for_two_images = _ids_in_batch(
            ids_in_first_image, batch_size.for_two_images, elements_per_image, batch_axis
        )
        ids_for_three_images = _ids_in_batch(
            ids_in_first_image, batch_size.for_three_images, elements_per_image, batch_axis
        )
        ids_of_sources.append(Constant(ids_for_two_images, ids_for_three_images))
        first_id = end_id
    return ids_of_sources


def _ids_in_batch(
    ids_in_first_image: np.ndarray, image_count: int, elements_per_image: int, batch_axis: int
) -> np.ndarray:
    ids_by_image = []
    for image_number in range(image_count):
        ids_by_image.append(ids_in_first_image + image_number * elements_per_image)
    return np.stack(ids_by_image, batch_axis).astype(np.float32)
