"""Make an ONNX graph smaller: fold constants into the layers before, and remove what is not used.

In evaluation, batch normalisation scales and shifts each channel. It is folded into the convolution
or dense layer before it (Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", 2018, section 3.2).
"""

from collections import Counter

import numpy as np

from jaxcifar.exchange.onnx.onnx_builder import Node, OnnxBuilder

_CONSTANT_OPERATIONS = ("Add", "Mul")  # nodes whose second input may be a constant to fold


def simplify(graph: OnnxBuilder, output: str) -> None:
    """Fold and remove nodes of a graph in place; its output keeps its name and its values."""
    _remove_unused(graph, output)
    folding = _Folding(graph, output)
    folding.fold_constants()
    while folding.move_transposition_to_images():
        pass
    _remove_unused(graph, output)


def _remove_unused(graph: OnnxBuilder, output: str) -> None:
    """Remove nodes and constants on which the output does not depend."""
    used = {output}
    kept = []
    for node in reversed(graph.nodes):
        if used.intersection(node.outputs):
            used.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.constants = {name: array for name, array in graph.constants.items() if name in used}


class _Folding:
    """Changes of a graph's nodes, with a record of the nodes that compute and read each tensor."""

    def __init__(self, graph: OnnxBuilder, output: str) -> None:
        self._graph = graph
        self._counts = Counter(name for node in graph.nodes for name in node.inputs)
        self._counts[output] += 1
        self._producers = {name: node for node in graph.nodes for name in node.outputs}
        self._readers = {name: node for node in graph.nodes for name in node.inputs}
        self._removed: set[int] = set()  # identities of nodes

    def move_transposition_to_images(self) -> bool:
        """Move one transposition before an operation of single elements; False if none can move.

        Only transpositions of the images are moved, so that bytes are transposed, not floats.
        """
        for place, node in enumerate(self._graph.nodes):
            before = self._only_node_before(node) if node.operation == "Transpose" else None
            if before is None or not self._is_elementwise_of_images(before):
                continue
            permutation = node.attributes["perm"]
            if before.operation in _CONSTANT_OPERATIONS:
                constant = self._graph.constants[before.inputs[1]]
                if constant.ndim:
                    before.inputs[1] = self._graph.constant(constant.transpose(permutation))
            before.inputs[0], node.inputs[0] = before.outputs[0], before.inputs[0]
            before.outputs, node.outputs = node.outputs, before.outputs
            self._producers |= {before.outputs[0]: before, node.outputs[0]: node}
            # Other nodes may lie between the two.
            place_before = next(i for i, other in enumerate(self._graph.nodes) if other is before)
            self._graph.nodes[place_before], self._graph.nodes[place] = node, before
            return True
        return False

    def _is_elementwise_of_images(self, node: Node | None) -> bool:
        """Return True if a node and all nodes before it compute each value of the images alone."""
        while node is not None:
            if node.operation != "Cast" and self._constant(node) is None:
                return False
            if node.inputs[0] == self._graph.images:
                return True
            node = self._only_node_before(node)
        return False

    def fold_constants(self) -> None:
        """Fold all multiplications by constants and additions of constants that can be folded."""
        for node in self._graph.nodes:
            self._fold(node)
            if node.operation == "Identity":
                self._remove(node)
        self._graph.nodes = [node for node in self._graph.nodes if id(node) not in self._removed]

    def _fold(self, node: Node) -> None:
        constant, before = self._constant(node), self._only_node_before(node)
        if constant is None or before is None:
            return
        constant_before = self._constant(before)
        if self._fold_into_layer(before, node.operation, constant):
            self._remove(node)
        elif constant_before is not None and before.operation == node.operation:
            self._set_constant(before, _combined(node.operation, constant_before, constant))
            self._remove(node)
            combined = self._constant(before)
            neutral = 1 if before.operation == "Mul" else 0
            # An array of more elements may broadcast the input, so its node stays.
            if combined is not None and combined.size == 1 and combined.item() == neutral:
                self._remove(before)
        elif (
            constant_before is not None and node.operation == "Mul" and self._can_join(node, before)
        ):
            # (x + b) a is x a + a b: the product may be folded into what is before it.
            before.operation, node.operation = "Mul", "Add"
            self._set_constant(before, constant)
            self._set_constant(node, _combined("Mul", constant_before, constant))
            self._fold(before)

    def _fold_into_layer(self, layer: Node, operation: str, constant: np.ndarray) -> bool:
        """Fold a constant into a layer's weights, if possible; return True if it was folded."""
        if layer.operation in ("MaxPool", "AveragePool"):
            return self._fold_before_pool(layer, operation, constant)
        if layer.operation not in ("Conv", "ConvTranspose", "Gemm"):
            return False
        weights = self._graph.constants.get(layer.inputs[1])
        has_groups = layer.attributes.get("group", 1) > 1
        if weights is None or (layer.operation == "ConvTranspose" and has_groups):
            return False
        axis = 0 if layer.operation == "Conv" else 1
        channels = _one_for_each_channel(constant, weights.ndim, weights.shape[axis])
        if channels is None:
            return False
        bias = np.zeros(len(channels))
        if len(layer.inputs) > 2:
            bias = self._graph.constants[layer.inputs[2]].astype(np.float64)
        if operation == "Add":
            bias = bias + channels
        else:
            bias = bias * channels
            shape = [1] * weights.ndim
            shape[axis] = len(channels)
            scaled = weights * channels.reshape(shape)
            layer.inputs[1] = self._graph.constant(scaled.astype(np.float32))
        if operation == "Add" or len(layer.inputs) > 2:
            layer.inputs[2:] = [self._graph.constant(bias.astype(np.float32))]
        return True

    def _fold_before_pool(self, pool: Node, operation: str, constant: np.ndarray) -> bool:
        """Fold a constant into the layer before a pool, if the pool gives the same result then."""
        before = self._only_node_before(pool)
        if pool.operation == "MaxPool":
            is_exchangeable = operation == "Add" or bool(np.all(constant > 0))
        else:  # zeros that a pool adds would not be scaled and shifted
            is_exchangeable = "pads" not in pool.attributes
        if before is None or not is_exchangeable:
            return False
        return self._fold_into_layer(before, operation, constant)

    def _can_join(self, product: Node, addition: Node) -> bool:
        """Return True if there is a product before `addition`, or a sum after `product`.

        `addition` adds a constant, and `product`, after it, multiplies by a constant.
        """
        before = self._only_node_before(addition)
        if before is not None and before.operation == "Mul" and self._constant(before) is not None:
            return True
        after = self._readers.get(product.outputs[0])
        if after is None or self._counts[product.outputs[0]] > 1:
            return False
        return after.operation == "Add" and self._constant(after) is not None

    def _only_node_before(self, node: Node) -> Node | None:
        """Return the node that computes a node's first input, if nothing else reads this input."""
        name = node.inputs[0]
        return self._producers.get(name) if self._counts[name] == 1 else None

    def _constant(self, node: Node) -> np.ndarray | None:
        """Return the constant that a node adds or by which it multiplies; None for others."""
        if node.operation not in _CONSTANT_OPERATIONS:
            return None
        array = self._graph.constants.get(node.inputs[1])
        return array if array is not None and array.dtype == np.float32 else None

    def _set_constant(self, node: Node, constant: np.ndarray) -> None:
        node.inputs[1] = self._graph.constant(constant)

    def _remove(self, node: Node) -> None:
        """Remove a node; the node before gets its output's name."""
        before = self._only_node_before(node)
        if before is None:
            return
        [output] = node.outputs
        before.outputs = [output if name == node.inputs[0] else name for name in before.outputs]
        self._producers[output] = before
        self._removed.add(id(node))


def _combined(operation: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the constant of one "Mul" or "Add" node that does the same as two in turn."""
    exact = first.astype(np.float64)
    result = exact * second if operation == "Mul" else exact + second
    return result.astype(np.float32)


def _one_for_each_channel(constant: np.ndarray, rank: int, channels: int) -> np.ndarray | None:
    """Return a constant as one constant for each channel, axis 1; None if it differs elsewhere."""
    if constant.ndim == 0:
        return np.full(channels, constant, np.float64)
    others = constant.shape[:1] + constant.shape[2:]
    if constant.ndim != rank or set(others) != {1} or constant.shape[1] not in (1, channels):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))
