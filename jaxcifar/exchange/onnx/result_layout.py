"""The layout of the results of nodes in an ONNX graph: the order of axes, and their sizes."""

from collections.abc import Sequence

from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Order,
    Shape,
    Tensor,
    Value,
    order_of_jax,
    rank,
)


def common_order(values: Sequence[Value], axis_count: int) -> Order:
    """Choose one order of axes for all inputs of an operation, so that few are transposed.

    Tensors with more or fewer than `axis_count` axes are ignored. The order is that of the tensor
    with the most axes larger than 1. If several tensors have as many, the first whose axes are not
    in JAX's order is chosen, for example the result of a convolution.
    """
    tensors = [value for value in values if isinstance(value, Tensor) and rank(value) == axis_count]
    if not tensors:
        return order_of_jax(axis_count)
    most_large_axes = max(len(tensor.axes_larger_than_one) for tensor in tensors)
    candidates = [
        tensor for tensor in tensors if len(tensor.axes_larger_than_one) == most_large_axes
    ]
    for tensor in candidates:
        is_in_order_of_jax = tensor.axes_larger_than_one == sorted(tensor.axes_larger_than_one)
        if not is_in_order_of_jax:
            return tensor.order
    return candidates[0].order


def broadcast_sizes_in_graph(tensors: Sequence[Tensor], axis_count: int) -> Shape:
    """Return the `sizes_in_graph` of the result of an elementwise node (see `Tensor`).

    An axis has the size 1 if all inputs have the size 1 there in the graph.

    Args:
      tensors: the inputs; each has the axes of the result, or no axes.
      axis_count: number of axes of the result.
    """
    tensors_with_axes = [tensor for tensor in tensors if rank(tensor) > 0]
    broadcast_sizes = []
    for axis in range(axis_count):
        sizes_of_inputs = [tensor.sizes_in_graph[axis] for tensor in tensors_with_axes]
        sizes_larger_than_one = [size for size in sizes_of_inputs if size != ONE]
        broadcast_sizes.append(sizes_larger_than_one[0] if sizes_larger_than_one else ONE)
    return tuple(broadcast_sizes)
