"""Convert operations that pad an array, or replace a block of an array."""

import numpy as np

from jaxcifar.exchange.onnx.elementwise_nodes import add_elementwise_node
from jaxcifar.exchange.onnx.onnx_builder import OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import (
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    fixed_constant,
)
from jaxcifar.exchange.onnx.result_layout import common_order
from jaxcifar.exchange.onnx.slicing_nodes import add_slice, clamped_starts
from jaxcifar.exchange.onnx.traced_step import Step


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
    added_padding = [(max(0, before), max(0, after)) for before, after in padding]
    removed_padding = [(max(0, -before), max(0, -after)) for before, after in padding]
    order = common_order([x], len(padding))
    tensor = graph.reorder_axes(x, order)
    adds_elements = any(before_and_after != (0, 0) for before_and_after in added_padding)
    if adds_elements:
        tensor = _add_elements(graph, tensor, filling, added_padding)
    kept_starts, kept_ends = [], []
    for size, (before, after) in zip(tensor.shape, removed_padding, strict=True):
        kept_starts.append(Size(before, before))
        kept_ends.append(Size(size.for_two_images - after, size.for_three_images - after))
    strides = [1] * len(padding)
    return add_slice(graph, tensor, kept_starts, kept_ends, strides)


def _add_elements(
    graph: OnnxBuilder, tensor: Tensor, filling: Value, added_padding: list[tuple[int, int]]
) -> Tensor:
    """Add the node that pads a tensor; `added_padding` has (before, after) for each axis."""
    tensor = graph.expand_broadcast_axes(tensor)
    padding_before = [added_padding[axis][0] for axis in tensor.order]
    padding_after = [added_padding[axis][1] for axis in tensor.order]
    filling_name = graph.reorder_axes(filling, ()).name
    padding_name = graph.add_integers(padding_before + padding_after)
    name = graph.add_node("Pad", tensor.name, padding_name, filling_name)
    sizes = []
    for size, (before, after) in zip(tensor.shape, added_padding, strict=True):
        added_elements = before + after
        if added_elements > 0 and not size.is_fixed:
            raise UnconvertibleError(
                "padding that adds images to the batch can't be converted; pad other axes only"
            )
        size_for_two = size.for_two_images + added_elements
        size_for_three = size.for_three_images + added_elements
        sizes.append(Size(size_for_two, size_for_three))
    return Tensor.without_broadcast_axes(name, tuple(sizes), tensor.order, tensor.dtype)


def convert_dynamic_update_slice(graph: OnnxBuilder, step: Step) -> Tensor:
    """Add the nodes that replace a block of an array, at a constant position.

    The block is padded with zeros to the size of the array. A constant mask says which elements are
    in the block. A "Where" node takes these from the padded block, and the others from the array.
    """
    x, block, *_ = step.inputs
    starts = clamped_starts(
        step, index_of_first_position=2, array_shape=x.shape, slice_shape=block.shape
    )
    padding_of_block = []
    slices_of_block = []
    for start, array_size, block_size in zip(starts, x.shape, block.shape, strict=True):
        replaces_whole_axis = array_size == block_size
        is_at_fixed_place = array_size.is_fixed and block_size.is_fixed and start.is_fixed
        if not replaces_whole_axis and not is_at_fixed_place:
            raise UnconvertibleError(
                "a block that replaces some images of the batch can't be converted; replace the "
                "block in all images"
            )
        count_before = start.fixed_value
        end = count_before + block_size.for_two_images
        count_after = array_size.for_two_images - end
        padding_of_block.append((count_before, count_after))
        is_batch_axis = not array_size.is_fixed
        slices_of_block.append(slice(None) if is_batch_axis else slice(count_before, end))
    zero = fixed_constant(np.zeros((), step.dtype))
    is_in_block = _mask_of_block(x.shape, slices_of_block)
    padded_block = add_padding(graph, block, zero, padding_of_block)
    inputs = (fixed_constant(is_in_block), padded_block, x)
    return add_elementwise_node(graph, "Where", inputs, step.shape, step.dtype)


def _mask_of_block(array_shape: Shape, slices_of_block: list[slice]) -> np.ndarray:
    """Return an array of truth values that are True in the block, with the batch size 1.

    One mask is enough for all images, because the block is at the same place in each image.
    """
    mask_shape = [size.fixed_value if size.is_fixed else 1 for size in array_shape]
    mask = np.zeros(mask_shape, bool)
    mask[tuple(slices_of_block)] = True
    return mask
