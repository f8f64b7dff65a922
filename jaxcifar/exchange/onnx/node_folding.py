"""Make an ONNX graph smaller: fold constants into the layers before, and remove unused nodes.

In evaluation, batch normalisation multiplies and adds constants. They are folded into the layer
before it (Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018, section 3.2).
"""

from collections import Counter

import numpy as np

from jaxcifar.exchange.onnx.folded_constants import (
    combined_constant,
    one_number_per_channel,
    scaled_along_axis,
)
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder

_CONSTANT_OPERATIONS = ("Add", "Mul")  # nodes whose second input may be constant


def simplify(graph: OnnxBuilder, output: str) -> None:
    """Fold and remove nodes of a graph in place. The output keeps its name and its values."""
    graph.remove_unused(output)
    folding = _Folding(graph, output)
    folding.fold_constants()
    has_moved_one = True
    while has_moved_one:
        has_moved_one = folding.move_one_transposition_towards_images()
    graph.remove_unused(output)


class _Folding:
    """Changes of a graph's nodes, with a record of the nodes that compute and read each tensor."""

    def __init__(self, graph: OnnxBuilder, output: str) -> None:
        self._graph = graph
        self._reader_counts = Counter(name for node in graph.nodes for name in node.inputs)
        self._reader_counts[output] += 1
        self._producers = {name: node for node in graph.nodes for name in node.outputs}
        self._readers = {name: node for node in graph.nodes for name in node.inputs}
        self._removed: set[int] = set()  # identities of nodes

    def move_one_transposition_towards_images(self) -> bool:
        """Put one transposition before the node whose result it transposes, if possible.

        The node must be elementwise. Images are bytes, so they are transposed faster than floats.
        Return True if a transposition was moved.
        """
        nodes = self._graph.nodes
        for transposition_index, transposition in enumerate(nodes):
            if transposition.operation != "Transpose":
                continue
            node = self._previous_node_if_unshared(transposition)
            if node is None or not self._is_elementwise_from_images_on(node):
                continue
            self._connect_in_swapped_order(node, transposition)
            node_index = nodes.index(node)  # other nodes may stand between the two
            nodes[node_index], nodes[transposition_index] = transposition, node
            return True
        return False

    def _connect_in_swapped_order(self, node: Node, transposition: Node) -> None:
        """Swap a transposition and the elementwise node before it.

        The transposition gets the input of the node, and the node gets the transposed input.
        """
        if node.operation in _CONSTANT_OPERATIONS:
            self._transpose_constant(node, transposition.attributes["perm"])
        input_name = node.inputs[0]
        [name_between] = node.outputs
        [result_name] = transposition.outputs
        transposition.inputs[0] = input_name
        transposition.outputs = [name_between]
        node.inputs[0] = name_between
        node.outputs = [result_name]
        self._producers |= {name_between: transposition, result_name: node}

    def _transpose_constant(self, node: Node, permutation: list[int]) -> None:
        constant = self._graph.constants[node.inputs[1]]
        is_scalar = constant.ndim == 0
        if not is_scalar:
            self._set_constant(node, constant.transpose(permutation))

    def _is_elementwise_from_images_on(self, node: Node | None) -> bool:
        """Return True if a node and all nodes between the images and this node are elementwise."""
        while node is not None:
            is_elementwise = node.operation == "Cast" or self._constant_operand(node) is not None
            if not is_elementwise:
                return False
            reads_images = node.inputs[0] == self._graph.images_name
            if reads_images:
                return True
            node = self._previous_node_if_unshared(node)
        return False

    def fold_constants(self) -> None:
        """Fold the constants of all "Mul" and "Add" nodes into the nodes before, where possible."""
        for node in self._graph.nodes:
            self._fold_into_previous_node(node)
            if node.operation == "Identity":
                self._remove_and_reconnect(node)
        self._graph.nodes = [node for node in self._graph.nodes if id(node) not in self._removed]

    def _fold_into_previous_node(self, node: Node) -> None:
        """Remove a "Mul" or "Add" node with a constant, if the previous node can do its work.

        The previous node may be a layer, which gets other weights, or a "Mul" or "Add" node, which
        gets another constant.
        """
        constant = self._constant_operand(node)
        previous_node = self._previous_node_if_unshared(node)
        if constant is None or previous_node is None:
            return
        is_folded_into_layer = self._fold_into_layer(previous_node, node.operation, constant)
        if is_folded_into_layer:
            self._remove_and_reconnect(node)
            return
        previous_constant = self._constant_operand(previous_node)
        if previous_constant is None:
            return
        if previous_node.operation == node.operation:
            combined = combined_constant(node.operation, previous_constant, constant)
            self._set_constant(previous_node, combined)
            self._remove_and_reconnect(node)
            self._remove_if_neutral(previous_node)
        elif node.operation == "Mul" and self._swap_enables_folding(node, previous_node):
            self._swap_product_and_addition(node, previous_node, constant, previous_constant)
            self._fold_into_previous_node(previous_node)

    def _swap_product_and_addition(
        self, product: Node, addition: Node, factor: np.ndarray, addend: np.ndarray
    ) -> None:
        """Compute (x + addend) * factor as x * factor + addend * factor instead."""
        addition.operation, product.operation = "Mul", "Add"
        self._set_constant(addition, factor)
        self._set_constant(product, combined_constant("Mul", addend, factor))

    def _remove_if_neutral(self, node: Node) -> None:
        """Remove a node that multiplies by 1 or adds 0."""
        constant = self._constant_operand(node)
        neutral = 1 if node.operation == "Mul" else 0
        # An array of more elements may broadcast the input, so its node stays.
        if constant is not None and constant.size == 1 and constant.item() == neutral:
            self._remove_and_reconnect(node)

    def _fold_into_layer(self, layer: Node, operation: str, constant: np.ndarray) -> bool:
        """Multiply a layer's weights and bias by a constant ("Mul"), or add it to the bias ("Add").

        Return False, and change nothing, if the layer can't do this.
        """
        if layer.operation in ("MaxPool", "AveragePool"):
            return self._fold_before_pool(layer, operation, constant)
        if layer.operation not in ("Conv", "ConvTranspose", "Gemm"):
            return False
        has_groups = layer.attributes.get("group", 1) > 1
        if layer.operation == "ConvTranspose" and has_groups:
            return False
        weights = self._graph.constants.get(layer.inputs[1])
        if weights is None:
            return False
        output_axis = 0 if layer.operation == "Conv" else 1  # of the weights
        channels = weights.shape[output_axis]
        channel_constants = one_number_per_channel(constant, weights.ndim, channels)
        if channel_constants is None:
            return False
        has_bias = len(layer.inputs) > 2
        bias = np.zeros(channels)
        if has_bias:
            bias = self._graph.constants[layer.inputs[2]].astype(np.float64)
        if operation == "Add":
            bias = bias + channel_constants
        else:
            bias = bias * channel_constants
            scaled_weights = scaled_along_axis(weights, channel_constants, output_axis)
            layer.inputs[1] = self._graph.add_constant(scaled_weights)
        if operation == "Add" or has_bias:
            layer.inputs[2:] = [self._graph.add_constant(bias.astype(np.float32))]
        return True

    def _fold_before_pool(self, pool: Node, operation: str, constant: np.ndarray) -> bool:
        """Fold a constant after a pool into the layer before it; return False if impossible."""
        layer = self._previous_node_if_unshared(pool)
        if pool.operation == "MaxPool":
            keeps_order_of_values = operation == "Add" or bool(np.all(constant > 0))
            may_move_before_pool = keeps_order_of_values
        else:
            averages_zeros_of_padding = "pads" in pool.attributes
            may_move_before_pool = not averages_zeros_of_padding
        if layer is None or not may_move_before_pool:
            return False
        return self._fold_into_layer(layer, operation, constant)

    def _swap_enables_folding(self, product: Node, addition: Node) -> bool:
        """Return True if a product or the addition before it can be folded once they are swapped.

        There must be another product before the addition, or another addition after the product.
        """
        node_before_addition = self._previous_node_if_unshared(addition)
        joins_two_products = self._is_operation_with_constant(node_before_addition, "Mul")
        if joins_two_products:
            return True
        [result_name] = product.outputs
        has_several_readers = self._reader_counts[result_name] > 1
        if has_several_readers:
            return False
        node_after_product = self._readers.get(result_name)
        joins_two_additions = self._is_operation_with_constant(node_after_product, "Add")
        return joins_two_additions

    def _is_operation_with_constant(self, node: Node | None, operation: str) -> bool:
        """Return True if a node has the operation `operation` ("Mul" or "Add") and a constant."""
        if node is None or node.operation != operation:
            return False
        return self._constant_operand(node) is not None

    def _previous_node_if_unshared(self, node: Node) -> Node | None:
        """Return the node that computes the first input of `node`.

        Return None if other nodes read this input too, or if no node computes it.
        """
        input_name = node.inputs[0]
        if self._reader_counts[input_name] != 1:
            return None
        return self._producers.get(input_name)

    def _constant_operand(self, node: Node) -> np.ndarray | None:
        """Return the float32 constant that a node adds or multiplies by; None for other nodes."""
        if node.operation not in _CONSTANT_OPERATIONS:
            return None
        array = self._graph.constants.get(node.inputs[1])
        if array is None or array.dtype != np.float32:
            return None
        return array

    def _set_constant(self, node: Node, constant: np.ndarray) -> None:
        node.inputs[1] = self._graph.add_constant(constant)

    def _remove_and_reconnect(self, node: Node) -> None:
        """Remove a node, and let the previous node compute the removed node's output."""
        previous_node = self._previous_node_if_unshared(node)
        if previous_node is None:
            return
        unused_name = node.inputs[0]
        [kept_name] = node.outputs
        previous_node.outputs = [
            kept_name if name == unused_name else name for name in previous_node.outputs
        ]
        self._producers[kept_name] = previous_node
        self._removed.add(id(node))
