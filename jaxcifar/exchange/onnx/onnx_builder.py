"""Nodes and constants of an ONNX graph under construction, and the layout of its tensors."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.exchange.onnx.onnx_values import (
    ONE,
    Constant,
    Order,
    Shape,
    Size,
    Tensor,
    UnconvertibleError,
    Value,
    compressed,
    fixed_shape,
    order_of_jax,
    rank,
    require_elements,
)

# The numbers of ONNX's data types, as in `onnx.TensorProto`.
ONNX_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "uint32": 12,
    "uint64": 13,
}


@dataclasses.dataclass
class Node:
    """One operation of an ONNX graph, with the names of its inputs and outputs."""

    operation: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class OnnxBuilder:
    """An ONNX graph under construction.

    Attributes:
      images: name of the graph's input.
      nodes: the nodes added so far, in the order in which they are computed.
      constants: arrays by name.
      tensors_before_cut: tensor whose last rows and columns were cut off -> the tensor before.
      tensors_before_reshape: tensor after a reshape -> the tensor before. The keys are not names,
        because a transposition in JAX keeps the name and changes the order of axes.
    """

    def __init__(self, images: str) -> None:
        self.images = images
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.tensors_before_cut: dict[Tensor, Tensor] = {}
        self.tensors_before_reshape: dict[Tensor, Tensor] = {}
        self._names_by_content: dict[Any, Any] = {}  # equal nodes and constants are added once
        self._producers: dict[str, Node] = {}
        self._count = 0

    def add_node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name, such as "Relu_3"."""
        [output] = self.add_node_with_outputs(operation, *inputs, output_count=1, **attributes)
        return output

    def add_node_with_outputs(
        self, operation: str, *inputs: str, output_count: int, **attributes: Any
    ) -> list[str]:
        """Add a node and return the names of its outputs. An equal node is not added again."""
        content = (operation, inputs, output_count, repr(sorted(attributes.items())))
        if content not in self._names_by_content:
            name = f"{operation}_{self._count}"
            self._count += 1
            outputs = [name] + [f"{name}_{number}" for number in range(1, output_count)]
            node = Node(operation, list(inputs), outputs, attributes)
            self.nodes.append(node)
            self._producers |= dict.fromkeys(outputs, node)
            self._names_by_content[content] = outputs
        return self._names_by_content[content]

    def producer(self, name: str) -> Node | None:
        """Return the node that computes the tensor `name`; None for the images and constants."""
        return self._producers.get(name)

    def add_constant(self, array: Any) -> str:
        """Add a constant array and return its name. An equal array is not added again."""
        array = np.asarray(array)
        content = (array.shape, array.dtype.str, hashlib.sha256(array.tobytes()).digest())
        name = self._names_by_content.get(content)
        if name not in self.constants:
            name = f"constant_{self._count}"
            self._count += 1
            self.constants[name] = array
            self._names_by_content[content] = name
        return name

    def add_integers(self, numbers: Sequence[int]) -> str:
        """Add a constant list of integers, such as axes, and return its name."""
        return self.add_constant(np.asarray(numbers, np.int64).reshape(-1))

    def reorder_axes(self, value: Value, order: Order) -> Tensor:
        """Return a value as a tensor whose axes have a given order in the graph.

        Nodes are added if the order must change.

        Args:
          value: a tensor, or a constant, which is shortened where its values only repeat.
          order: for each axis of the graph's tensor, the number of this axis in JAX.
        """
        if isinstance(value, Constant):
            return self._constant_tensor(value, compressed(value.array()), order)
        if value.order == order:
            return value
        large_axes = value.axes_larger_than_one
        large_axes_in_new_order = [axis for axis in order if axis in large_axes]
        if large_axes == large_axes_in_new_order:  # only axes of size 1 move
            name = self.add_reshape(value.name, [value.sizes_in_graph[axis] for axis in order])
        else:
            permutation = [value.axis_in_graph(axis) for axis in order]
            name = self.add_node("Transpose", value.name, perm=permutation)
        return dataclasses.replace(value, name=name, order=order)

    def reorder_and_expand(self, value: Value, order: Order | None = None) -> Tensor:
        """Reorder the axes of a value, and write repeated values out; return the new tensor.

        See `reorder_axes` and `expand_repeats`.

        Args:
          value: the value.
          order: for each axis of the graph's tensor, the number of this axis in JAX; None for
            JAX's order.
        """
        if order is None:
            order = order_of_jax(rank(value))
        has_fixed_shape = all(size.is_fixed for size in value.shape)
        if isinstance(value, Constant) and has_fixed_shape:
            return self._constant_tensor(value, value.array(), order)
        return self.expand_repeats(self.reorder_axes(value, order))

    def expand_repeats(self, tensor: Tensor) -> Tensor:
        """Return a tensor with its repeated values written out.

        Where values only repeat along an axis, the graph's tensor may have the size 1. In the
        result, all sizes in the graph equal those in JAX.
        """
        if tensor.sizes_in_graph == tensor.shape:
            return tensor
        size_of_unchanged_axis = ONE  # with which an "Expand" node leaves the axis as it is
        sizes: list[Size] = []
        for axis in tensor.order:
            has_repeats = tensor.sizes_in_graph[axis] != tensor.shape[axis]
            sizes.append(tensor.shape[axis] if has_repeats else size_of_unchanged_axis)
        name = self.add_node("Expand", tensor.name, self._shape_tensor(sizes))
        return dataclasses.replace(tensor, name=name, sizes_in_graph=tensor.shape)

    def add_reshape(self, name: str, sizes: Sequence[Size]) -> str:
        """Reshape a tensor of the graph; return the new tensor's name.

        Raises:
          UnconvertibleError: two axes depend on the number of images, or a size is 0.
        """
        require_elements(sizes)
        numbers = [size.fixed_value if size.is_fixed else -1 for size in sizes]
        if numbers.count(-1) > 1:
            raise UnconvertibleError(
                "an array with two axes that depend on the number of images can't be reshaped; let "
                "only one axis depend on it"
            )
        return self.add_node("Reshape", name, self.add_integers(numbers))

    def add_scalar(self, value: float) -> str:
        """Add a float32 scalar and return its name."""
        return self.add_constant(np.float32(value))

    def _constant_tensor(self, value: Constant, array: np.ndarray, order: Order) -> Tensor:
        name = self.add_constant(array.transpose(order))
        return Tensor(name, value.shape, fixed_shape(array.shape), order, array.dtype)

    def _shape_tensor(self, sizes: Sequence[Size]) -> str:
        """Add a tensor that lists some sizes, and return its name.

        Sizes that depend on the batch are computed at run time from the number of images.
        """
        if all(size.is_fixed for size in sizes):
            return self.add_integers([size.fixed_value for size in sizes])
        size_names = []
        for size in sizes:
            if size.is_fixed:
                size_name = self.add_integers([size.fixed_value])
            else:
                image_count = self.add_node("Shape", self.images, start=0, end=1)
                size_name = image_count
                if size.for_one_image > 1:
                    size_name = self.add_node(
                        "Mul", image_count, self.add_integers([size.for_one_image])
                    )
            size_names.append(size_name)
        return self.add_node("Concat", *size_names, axis=0)


def common_order(values: Sequence[Value], axis_count: int) -> Order:
    """Choose the order of axes for an operation on several values, so that few are transposed.

    Only tensors with `axis_count` axes count. The result is the order of the tensor with the most
    axes larger than 1. Of several such tensors, the first whose axes are not in JAX's order is
    preferred, such as the result of a convolution.
    """
    tensors = [value for value in values if isinstance(value, Tensor) and rank(value) == axis_count]
    if not tensors:
        return order_of_jax(axis_count)
    most_large_axes = max(len(tensor.axes_larger_than_one) for tensor in tensors)
    largest_tensors = [
        tensor for tensor in tensors if len(tensor.axes_larger_than_one) == most_large_axes
    ]
    for tensor in largest_tensors:
        is_in_order_of_jax = tensor.axes_larger_than_one == sorted(tensor.axes_larger_than_one)
        if not is_in_order_of_jax:
            return tensor.order
    return largest_tensors[0].order


def elementwise_sizes(tensors: Sequence[Tensor], shape: Shape) -> Shape:
    """Return the `sizes_in_graph` of the result of an elementwise node (see `Tensor`).

    The size of an axis is 1 if all inputs have the size 1 in the graph: then the result's values
    repeat along the axis, too.

    Args:
      tensors: the inputs; each has the axes of the result, or no axes.
      shape: sizes of the result in JAX.
    """
    tensors_with_axes = [tensor for tensor in tensors if tensor.sizes_in_graph]
    sizes_in_graph = []
    for axis in range(len(shape)):
        sizes_of_inputs = [tensor.sizes_in_graph[axis] for tensor in tensors_with_axes]
        larger_sizes = [size for size in sizes_of_inputs if size != ONE]
        sizes_in_graph.append(larger_sizes[0] if larger_sizes else ONE)
    return tuple(sizes_in_graph)
