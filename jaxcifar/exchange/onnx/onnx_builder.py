"""Nodes and constants of an ONNX graph under construction."""

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
    fixed_shape,
    order_of_jax,
    rank,
    require_elements,
    shorten_repeating_axes,
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
      images_name: name of the graph's input.
      nodes: the nodes added so far, in the order in which they are computed.
      constants: arrays by name.
      tensors_before_crop: tensor whose last rows or columns were cut off -> the tensor before.
      tensors_before_reshape: tensor after a reshape -> the tensor before. The keys are not names,
        because a transposition in JAX keeps the name and changes the order of axes.
    """

    def __init__(self, images_name: str) -> None:
        self.images_name = images_name
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.tensors_before_crop: dict[Tensor, Tensor] = {}
        self.tensors_before_reshape: dict[Tensor, Tensor] = {}
        # Equal nodes and constants are added once.
        self._outputs_by_node_content: dict[Any, list[str]] = {}
        self._name_by_array_content: dict[Any, str] = {}
        self._producers: dict[str, Node] = {}
        self._next_number = 0

    def add_node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name, such as "Relu_3"."""
        [output] = self.add_node_with_outputs(operation, *inputs, output_count=1, **attributes)
        return output

    def add_node_with_outputs(
        self, operation: str, *inputs: str, output_count: int, **attributes: Any
    ) -> list[str]:
        """Add a node, unless the graph has an equal node; return the names of its outputs."""
        node_content = (operation, inputs, output_count, repr(sorted(attributes.items())))
        if node_content not in self._outputs_by_node_content:
            name = f"{operation}_{self._next_number}"
            self._next_number += 1
            outputs = [name] + [f"{name}_{number}" for number in range(1, output_count)]
            node = Node(operation, list(inputs), outputs, attributes)
            self.nodes.append(node)
            self._producers |= dict.fromkeys(outputs, node)
            self._outputs_by_node_content[node_content] = outputs
        return self._outputs_by_node_content[node_content]

    def producer(self, name: str) -> Node | None:
        """Return the node that computes the tensor `name`; None for the images and constants."""
        return self._producers.get(name)

    def add_constant(self, array: Any) -> str:
        """Add a constant array, unless the graph has an equal array; return its name."""
        array = np.asarray(array)
        array_content = (array.shape, array.dtype.str, hashlib.sha256(array.tobytes()).digest())
        name = self._name_by_array_content.get(array_content)
        is_missing_in_graph = name not in self.constants  # unused constants are removed at the end
        if name is None or is_missing_in_graph:
            name = f"constant_{self._next_number}"
            self._next_number += 1
            self.constants[name] = array
            self._name_by_array_content[array_content] = name
        return name

    def add_integers(self, numbers: Sequence[int]) -> str:
        """Add a constant list of integers, such as axes, and return its name."""
        return self.add_constant(np.asarray(numbers, np.int64).reshape(-1))

    def reorder_axes(self, value: Value, order: Order) -> Tensor:
        """Return a value as a tensor whose axes have a given order in the graph.

        Nodes are added if the order must change.

        Args:
          value: a tensor or a constant. A constant is transposed here, without a node. Its axes
            along which values only repeat are shortened to the size 1.
          order: for each axis of the graph's tensor, the number of this axis in JAX.
        """
        if isinstance(value, Constant):
            small_array = shorten_repeating_axes(value.array_for_any_batch())
            return self._add_transposed_constant(small_array, value.shape, order)
        if value.order == order:
            return value
        large_axes = value.axes_larger_than_one
        large_axes_in_new_order = [axis for axis in order if axis in large_axes]
        only_axes_of_size_one_move = large_axes == large_axes_in_new_order
        if only_axes_of_size_one_move:
            reordered_sizes = [value.sizes_in_graph[axis] for axis in order]
            name = self.add_reshape(value.name, reordered_sizes)
        else:
            permutation = [value.axis_in_graph(axis) for axis in order]
            name = self.add_node("Transpose", value.name, perm=permutation)
        return dataclasses.replace(value, name=name, order=order)

    def reorder_and_expand(self, value: Value, order: Order | None = None) -> Tensor:
        """Reorder a value's axes, and expand its broadcast axes to their size in JAX.

        See `reorder_axes` and `expand_broadcast_axes`.

        Args:
          value: the value.
          order: for each axis of the graph's tensor, the number of this axis in JAX; None for
            JAX's order.
        """
        if order is None:
            order = order_of_jax(rank(value))
        has_fixed_shape = all(size.is_fixed for size in value.shape)
        if isinstance(value, Constant) and has_fixed_shape:
            array = value.array_for_any_batch()
            return self._add_transposed_constant(array, value.shape, order)
        return self.expand_broadcast_axes(self.reorder_axes(value, order))

    def expand_broadcast_axes(self, tensor: Tensor) -> Tensor:
        """Return a tensor whose sizes in the graph all equal its sizes in JAX.

        Along a broadcast axis, the graph's tensor has the size 1. In the result, the repeated
        values are written out.
        """
        if tensor.sizes_in_graph == tensor.shape:
            return tensor
        size_of_unchanged_axis = ONE  # with which an "Expand" node leaves the axis as it is
        sizes: list[Size] = []
        for axis in tensor.order:
            is_broadcast_axis = tensor.sizes_in_graph[axis] != tensor.shape[axis]
            sizes.append(tensor.shape[axis] if is_broadcast_axis else size_of_unchanged_axis)
        name = self.add_node("Expand", tensor.name, self._add_list_of_sizes(sizes))
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

    def remove_unused(self, output: str) -> None:
        """Remove the nodes and constants on which the tensor `output` does not depend."""
        used_names = {output}
        used_nodes = []
        for node in reversed(self.nodes):
            if used_names.intersection(node.outputs):
                used_names.update(node.inputs)
                used_nodes.append(node)
        self.nodes = used_nodes[::-1]
        self.constants = {
            name: array for name, array in self.constants.items() if name in used_names
        }

    def _add_transposed_constant(self, array: np.ndarray, shape: Shape, order: Order) -> Tensor:
        name = self.add_constant(array.transpose(order))
        return Tensor(name, shape, fixed_shape(array.shape), order, array.dtype)

    def _add_list_of_sizes(self, sizes: Sequence[Size]) -> str:
        """Add a tensor that lists some sizes, and return its name.

        Sizes that depend on the batch are computed at run time from the number of images.
        """
        if all(size.is_fixed for size in sizes):
            return self.add_integers([size.fixed_value for size in sizes])
        size_names = []
        for size in sizes:
            if size.is_fixed:
                size_names.append(self.add_integers([size.fixed_value]))
            else:
                size_names.append(self._add_multiple_of_image_count(size.for_one_image))
        return self.add_node("Concat", *size_names, axis=0)

    def _add_multiple_of_image_count(self, factor: int) -> str:
        image_count_name = self.add_node("Shape", self.images_name, start=0, end=1)
        if factor == 1:
            return image_count_name
        return self.add_node("Mul", image_count_name, self.add_integers([factor]))
