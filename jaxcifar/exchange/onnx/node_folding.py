"""Make an ONNX graph smaller: fold constants into the layers before, and remove unused nodes.

In evaluation, batch normalisation multiplies and adds constants. They are folded into the layer
before it (Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018, section 3.2).
"""

from collections import Counter

import numpy as np

from jaxcifar.exchange.onnx.folded_constants import combined_constant, numbers_of_channels
from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder

_CONSTANT_OPERATIONS = ("Add", "Mul")  # nodes whose second input may be constant


def simplify(graph: OnnxBuilder, output: str) -> None:
    """Fold and remove nodes of a graph in place. The output keeps its name and its values."""
    _remove_unused(graph, output)
    folding = _Folding(graph, output)
    folding.fold_constants()
    can_still_move = True
    while can_still_move:
        can_still_move = folding.move_one_transposition_towards_images()
    _remove_unused(graph, output)


def _remove_unused(graph: OnnxBuilder, output: str) -> None:
    """Remove the nodes and constants that the output does not depend on."""
    used_names = {output}
    used_nodes = []
    for node in reversed(graph.nodes):
        if used_names.intersection(node.outputs):
            used_names.update(node.inputs)
            used_nodes.append(node)
    graph.nodes = used_nodes[::-1]
    graph.constants = {name: array for name, array in graph.constants.items() if name in used_names}


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
        """Put one transposition before the node whose result it transposes; False if none can move.

        The node must be elementwise. Images are bytes, so they are transposed faster than floats.
        """
        nodes = self._graph.nodes
        for transposition_index, transposition in enumerate(nodes):
            if transposition.operation != "Transpose":
                continue
            node = self._only_node_before(transposition)
            if node is None or not self._is_elementwise_of_images(node):
                continue
            self._connect_in_swapped_order(node, transposition)
            node_index = nodes.index(node)  # other nodes may stand between the two
            nodes[node_index], nodes[transposition_index] = transposition, node
            return True
        return False

    def _connect_in_swapped_order(self, node: Node, transposition: Node) -> None:
        """Let an elementwise node read a transposition's output, where the reverse was true."""
        if node.operation in _CONSTANT_OPERATIONS:
            constant = self._graph.constants[node.inputs[1]]
            if constant.ndim > 0:
                self._set_constant(node, constant.transpose(transposition.attributes["perm"]))
        input_name = node.inputs[0]
        [name_between] = node.outputs
        [result_name] = transposition.outputs
        transposition.inputs[0] = input_name
        transposition.outputs = [name_between]
        node.inputs[0] = name_between
        node.outputs = [result_name]
        self._producers |= {name_between: transposition, result_name: node}

    def _is_elementwise_of_images(self, node: Node | None) -> bool:
        """Return True if a node computes each element from the same element of the images only."""
        while node is not None:
            is_elementwise = node.operation == "Cast" or self._constant(node) is not None
            if not is_elementwise:
                return False
            if node.inputs[0] == self._graph.images:
                return True
            node = self._only_node_before(node)
        return False

    def fold_constants(self) -> None:
        """Fold the constants of all "Mul" and "Add" nodes into the nodes before, where possible."""
        for node in self._graph.nodes:
            self._fold(node)
            if node.operation == "Identity":
                self._remove(node)
        self._graph.nodes = [node for node in self._graph.nodes if id(node) not in self._removed]

    def _fold(self, node: Node) -> None:
        """Remove a "Mul" or "Add" node with a constant, if another node can do its work.

        This may be the layer before, which gets other weights, or the "Mul" or "Add" node before,
        which gets another constant.
        """
        constant, node_before = self._constant(node), self._only_node_before(node)
        if constant is None or node_before is None:
            return
        is_folded = self._fold_into_layer(node_before, node.operation, constant)
        if is_folded:
            self._remove(node)
            return
        constant_before = self._constant(node_before)
        if constant_before is None:
            return
        if node_before.operation == node.operation:
            self._set_constant(
                node_before, combined_constant(node.operation, constant_before, constant)
            )
            self._remove(node)
            self._remove_if_neutral(node_before)
        elif node.operation == "Mul" and self._can_fold_after_swap(node, node_before):
            self._swap_product_and_addition(node, node_before, constant, constant_before)
            self._fold(node_before)

    def _swap_product_and_addition(
        self, product: Node, addition: Node, factor: np.ndarray, addend: np.ndarray
    ) -> None:
        """Compute (x + addend) * factor as x * factor + addend * factor instead."""
        addition.operation, product.operation = "Mul", "Add"
        self._set_constant(addition, factor)
        self._set_constant(product, combined_constant("Mul", addend, factor))

    def _remove_if_neutral(self, node: Node) -> None:
        """Remove a node that multiplies by 1 or adds 0."""
        constant = self._constant(node)
        neutral = 1 if node.operation == "Mul" else 0
        # An array of more elements may broadcast the input, so its node stays.
        if constant is not None and constant.size == 1 and constant.item() == neutral:
            self._remove(node)

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
        channel_constants = numbers_of_channels(constant, weights.ndim, channels)
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
            factor_shape = [1] * weights.ndim
            factor_shape[output_axis] = channels
            scaled = weights * channel_constants.reshape(factor_shape)
            layer.inputs[1] = self._graph.add_constant(scaled.astype(np.float32))
        if operation == "Add" or has_bias:
            layer.inputs[2:] = [self._graph.add_constant(bias.astype(np.float32))]
        return True

    def _fold_before_pool(self, pool: Node, operation: str, constant: np.ndarray) -> bool:
        """Fold a constant after a pool into the layer before the pool; False if impossible."""
        layer = self._only_node_before(pool)
        if pool.operation == "MaxPool":
            may_move_before_pool = operation == "Add" or bool(np.all(constant > 0))
        else:  # the zeros of an average pool's padding must not be added to
            may_move_before_pool = "pads" not in pool.attributes
        if layer is None or not may_move_before_pool:
            return False
        return self._fold_into_layer(layer, operation, constant)

    def _can_fold_after_swap(self, product: Node, addition: Node) -> bool:
        """Return True if swapping an addition and the product after it allows one to be folded.

        There must be another product before the addition, or another addition after the product.
        """
        before = self._only_node_before(addition)
        if before is not None and before.operation == "Mul" and self._constant(before) is not None:
            return True
        [result_name] = product.outputs
        after = self._readers.get(result_name)
        if after is None or self._reader_counts[result_name] > 1:
            return False
        return after.operation == "Add" and self._constant(after) is not None

    def _only_node_before(self, node: Node) -> Node | None:
        """Return the node that computes a node's first input; None if another node reads it too."""
        name = node.inputs[0]
        if self._reader_counts[name] != 1:
            return None
        return self._producers.get(name)

    def _constant(self, node: Node) -> np.ndarray | None:
        """Return the float32 constant that a node adds or multiplies by; None for other nodes."""
        if node.operation not in _CONSTANT_OPERATIONS:
            return None
        array = self._graph.constants.get(node.inputs[1])
        if array is None or array.dtype != np.float32:
            return None
        return array

    def _set_constant(self, node: Node, constant: np.ndarray) -> None:
        node.inputs[1] = self._graph.add_constant(constant)

    def _remove(self, node: Node) -> None:
        """Remove a node. The output of the node before it gets the name of the node's output."""
        before = self._only_node_before(node)
        if before is None:
            return
        [output] = node.outputs
        input_name = node.inputs[0]
        before.outputs = [output if name == input_name else name for name in before.outputs]
        self._producers[output] = before
        self._removed.add(id(node))
