"""Make an ONNX graph smaller: fold constants into the layers before, and remove unused nodes.

In evaluation, batch normalisation multiplies and adds constants. They are folded into the layer
before it (Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018, section 3.2).
"""

from collections import Counter

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder

_CONSTANT_OPERATIONS = ("Add", "Mul")  # nodes whose second input may be constant


def simplify(graph: OnnxBuilder, output: str) -> None:
    """Fold and remove nodes of a graph in place. The output keeps its name and its values."""
    _remove_unused(graph, output)
    folding = _Folding(graph, output)
    folding.fold_constants()
    while folding.move_transposition_to_images():
        pass
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

    def move_transposition_to_images(self) -> bool:
        """Swap a transposition with the node before it, to transpose the images' bytes, not floats.

        Return False if no transposition can be swapped: the node before must be elementwise.
        """
        nodes = self._graph.nodes
        for place, transposition in enumerate(nodes):
            if transposition.operation != "Transpose":
                continue
            node = self._only_node_before(transposition)
            if node is None or not self._is_elementwise_of_images(node):
                continue
            self._swap_with_transposition(node, transposition)
            place_of_node = nodes.index(node)  # other nodes may stand between the two
            nodes[place_of_node], nodes[place] = transposition, node
            return True
        return False

    def _swap_with_transposition(self, node: Node, transposition: Node) -> None:
        """Put a transposition before the elementwise node whose result it transposes now."""
        if node.operation in _CONSTANT_OPERATIONS:
            constant = self._graph.constants[node.inputs[1]]
            if constant.ndim > 0:
                transposed = constant.transpose(transposition.attributes["perm"])
                node.inputs[1] = self._graph.constant(transposed)
        [between], [result] = node.outputs, transposition.outputs
        transposition.inputs[0], transposition.outputs = node.inputs[0], [between]
        node.inputs[0], node.outputs = between, [result]
        self._producers |= {between: transposition, result: node}

    def _is_elementwise_of_images(self, node: Node | None) -> bool:
        """Return True if a node computes each element from the same element of the images only."""
        while node is not None:
            if node.operation != "Cast" and self._constant(node) is None:
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
        """Remove a "Mul" or "Add" node with a constant, if the node before it can do its work.

        That node may be a layer, which gets other weights, or a node that gets another constant.
        """
        constant, before = self._constant(node), self._only_node_before(node)
        if constant is None or before is None:
            return
        if self._fold_into_layer(before, node.operation, constant):
            self._remove(node)
            return
        constant_before = self._constant(before)
        if constant_before is None:
            return
        if before.operation == node.operation:
            self._set_constant(before, _combined(node.operation, constant_before, constant))
            self._remove(node)
            self._remove_if_neutral(before)
        elif node.operation == "Mul" and self._is_worth_swapping(node, before):
            # (x + b) * a becomes x * a + a * b, so that x * a can be folded into the node for x.
            before.operation, node.operation = "Mul", "Add"
            self._set_constant(before, constant)
            self._set_constant(node, _combined("Mul", constant_before, constant))
            self._fold(before)

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
        channel_constants = _one_for_each_channel(constant, weights.ndim, channels)
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
            layer.inputs[1] = self._graph.constant(scaled.astype(np.float32))
        if operation == "Add" or has_bias:
            layer.inputs[2:] = [self._graph.constant(bias.astype(np.float32))]
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

    def _is_worth_swapping(self, product: Node, addition: Node) -> bool:
        """Return True if a product or the addition before it can be folded after they are swapped.

        There must be another product before the addition, or another addition after the product.
        """
        before = self._only_node_before(addition)
        if before is not None and before.operation == "Mul" and self._constant(before) is not None:
            return True
        result = product.outputs[0]
        after = self._readers.get(result)
        if after is None or self._reader_counts[result] > 1:
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
        node.inputs[1] = self._graph.constant(constant)

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


def _combined(operation: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the constant of the single "Mul" or "Add" node that can replace two such nodes."""
    first_exact = first.astype(np.float64)
    combined = first_exact * second if operation == "Mul" else first_exact + second
    return combined.astype(np.float32)


def _one_for_each_channel(
    constant: np.ndarray, axis_count: int, channels: int
) -> np.ndarray | None:
    """Return a constant as one number for each channel; None if it differs within a channel.

    Args:
      constant: an array that is added to a layer's output, or multiplied with it; it broadcasts.
      axis_count: number of axes of the layer's output; axis 1 has the channels.
      channels: number of channels.
    """
    if constant.ndim == 0:
        return np.full(channels, constant, np.float64)
    if constant.ndim != axis_count:
        return None
    batch_size, channel_size, *spatial_sizes = constant.shape
    differs_within_channel = any(size != 1 for size in (batch_size, *spatial_sizes))
    if differs_within_channel or channel_size not in (1, channels):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))
