"""Build a network's graph from its traced operations, one after the other.

The nodes of the graph are unfinished: later operations may still change them.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from jaxcifar.diagram import averages, functions
from jaxcifar.diagram.box_label import Label
from jaxcifar.diagram.call_recorder import ModuleCall
from jaxcifar.diagram.calls import ModuleCalls
from jaxcifar.diagram.operation import FunctionCall, Operation
from jaxcifar.diagram.operation_label import ParameterPath, operation_label
from jaxcifar.diagram.trace import Trace
from jaxcifar.diagram.unfinished_nodes import IMAGE_NODE, UnfinishedNode


class _DrawnOperation(NamedTuple):
    """An operation that is drawn as a graph node of its own, and the number of that node."""

    operation: Operation
    node_number: int


class GraphBuilder:
    """Builds the nodes of a network's graph from operations, in the order of computation.

    Each value in the trace has a number, and so has each node. A node reads only nodes with lower
    numbers. A parameter is known by its path.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._module_calls = ModuleCalls(trace)
        image = UnfinishedNode(Label("data", "input image"), trace.image_shape, trace.image_shape)
        self._nodes = {IMAGE_NODE: image}
        # Value -> the node that computes it, for all values that depend on the image.
        self._node_of_value = {trace.image_value: IMAGE_NODE}
        # Value -> the parameters from which it is computed, for all other values.
        self._parameters_of_value: dict[int, set[ParameterPath]] = {}
        for path, parameter in trace.params.items():
            self._parameters_of_value[parameter.value_number] = {path}
        # The parameters that belong to a node already. A shared parameter counts only once.
        self._counted_parameters: set[ParameterPath] = set()
        # The nodes of layers and of functions such as softmax, which have several operations.
        self._node_of_layer_call: dict[int, int] = {}
        self._node_of_function_call: dict[FunctionCall, int] = {}
        # Value -> how many inputs of operations it is.
        self._read_count_of_value: Counter[int] = Counter()
        for operation in trace.operations:
            self._read_count_of_value.update(operation.inputs)
        # Value -> the drawn operation that computes it, directly or followed by moves of data.
        self._drawn_operation_of_value: dict[int, _DrawnOperation] = {}
        # Value -> the operation that computes it from an array of ones. A sum counts the ones.
        self._operation_on_ones_of_value: dict[int, Operation] = {}

    def add_operation(self, operation: Operation) -> None:
        """Add the next operation to the graph.

        The operation becomes part of the node of its layer or function, or a node of its own. An
        operation gets no node if it only moves data or does not depend on the image.
        """
        parameters: set[ParameterPath] = set()
        for value in operation.inputs:
            parameters |= self._parameters_of_value.get(value, set())
        if not operation.depends_on_image:
            self._record_image_independent_outputs(operation, parameters)
            return
        layer = self._module_calls.box_call(operation.call_number)
        named_functions = [
            call for call in operation.function_calls if call.name in functions.FUNCTION_TITLES
        ]
        if layer is not None:
            self._add_to_layer(layer, operation, parameters)
        elif named_functions:
            self._add_to_function(named_functions[0], operation)
        else:
            self._add_operation_outside_layers(operation, parameters)

    def _record_image_independent_outputs(
        self, operation: Operation, parameters: set[ParameterPath]
    ) -> None:
        """Record the outputs of an operation that gets no node: it does not depend on the image."""
        self._parameters_of_value |= dict.fromkeys(operation.outputs, parameters)
        reads_ones = operation.constants[:1] == (1,)  # the first input is an array of ones
        if reads_ones:
            self._operation_on_ones_of_value |= dict.fromkeys(operation.outputs, operation)

    def add_logits(self) -> dict[int, UnfinishedNode]:
        """Add a node for the logits, and return all nodes by number."""
        label = Label("data", "logits")
        source = self._node_of_value.get(self._trace.logits_value)
        if source is None:  # the logits do not depend on the image
            self._append_node(UnfinishedNode(label, (), ()))
        else:
            shape = self._nodes[source].output_shape
            self._append_node(UnfinishedNode(label, shape, shape, sources=[source]))
        return self._nodes

    def _append_node(self, node: UnfinishedNode) -> int:
        """Add a node to the graph, and return its number."""
        node_number = len(self._nodes)
        self._nodes[node_number] = node
        return node_number

    def _connect_node(self, node_number: int, operation: Operation) -> None:
        """Record that a node reads an operation's inputs and computes its outputs."""
        sources = self._nodes[node_number].sources
        for value in operation.inputs:
            source = self._node_of_value.get(value)
            if source is not None and source != node_number and source not in sources:
                sources.append(source)
        self._node_of_value |= dict.fromkeys(operation.outputs, node_number)

    def _add_to_layer(
        self, layer: ModuleCall, operation: Operation, parameters: set[ParameterPath]
    ) -> None:
        """Add an operation to the node of the layer that computes the operation.

        Args:
          layer: the call of the layer.
          operation: the operation.
          parameters: paths of the parameters from which the operation's inputs are computed.
        """
        if layer.number not in self._node_of_layer_call:
            node = UnfinishedNode(
                self._module_calls.label(layer), layer.input_shape, layer.output_shape
            )
            node.frame_names = self._module_calls.frame_names(layer.parent_number)
            depth = len(layer.path)
            layer_parameters = [path for path in self._trace.params if path[:depth] == layer.path]
            node.params = self._count_new_parameters(layer_parameters)
            self._node_of_layer_call[layer.number] = self._append_node(node)
        node_number = self._node_of_layer_call[layer.number]
        self._connect_node(node_number, operation)
        # A layer may compute with a parameter of another layer that was passed to it.
        self._nodes[node_number].params += self._count_new_parameters(parameters)

    def _add_to_function(self, function: FunctionCall, operation: Operation) -> None:
        """Add an operation to the node of the function around it, such as a softmax."""
        if function not in self._node_of_function_call:
            title = functions.FUNCTION_TITLES[function.name]
            label = Label(functions.box_kind_of_function(title), title)
            node = self._node_of_operation(operation, label)
            node.prevent_merging()
            self._node_of_function_call[function] = self._append_node(node)
        node_number = self._node_of_function_call[function]
        self._connect_node(node_number, operation)
        self._nodes[node_number].output_shape = operation.output_shape

    def _add_operation_outside_layers(
        self, operation: Operation, parameters: set[ParameterPath]
    ) -> None:
        """Add a node for an operation outside of layers and named functions, or skip it.

        `parameters` are the paths of the parameters from which the operation's inputs are computed.
        """
        sum_node = self._find_sum_that_becomes_average(operation)
        if sum_node is not None:
            average_name = sum_node.label.name.replace("sum", "average")
            sum_node.label = sum_node.label._replace(name=average_name)
            self._add_to_previous_node(operation)
            return
        label = operation_label(operation, self._depends_on_image(operation), parameters)
        if label is None:
            self._add_to_previous_node(operation)
            return
        node = self._node_of_operation(operation, label)
        node.params = self._count_new_parameters(parameters)
        node_number = self._append_node(node)
        self._connect_node(node_number, operation)
        drawn_operation = _DrawnOperation(operation, node_number)
        self._drawn_operation_of_value |= dict.fromkeys(operation.outputs, drawn_operation)

    def _node_of_operation(self, operation: Operation, label: Label) -> UnfinishedNode:
        return UnfinishedNode(
            label,
            operation.input_shape,
            operation.output_shape,
            frame_names=self._module_calls.frame_names(operation.call_number),
            operation_names={operation.name},
            scale_factor=functions.scale_factor(operation, self._depends_on_image(operation)),
            has_several_outputs=len(operation.outputs) > 1,
        )

    def _count_new_parameters(self, parameters: Iterable[ParameterPath]) -> int:
        """Return the number of elements of parameters that no earlier call has counted.

        `parameters` are the paths of parameters.
        """
        new_parameters = set(parameters) - self._counted_parameters
        self._counted_parameters |= new_parameters
        return sum(self._trace.params[path].element_count for path in new_parameters)

    def _depends_on_image(self, operation: Operation) -> list[bool]:
        """Return for each input of an operation whether it depends on the network's input image."""
        return [value in self._node_of_value for value in operation.inputs]

    def _add_to_previous_node(self, operation: Operation) -> None:
        """Record an operation without a node, as if the node before it computed its outputs."""
        activations = next(value for value in operation.inputs if value in self._node_of_value)
        previous_node = self._node_of_value[activations]
        self._node_of_value |= dict.fromkeys(operation.outputs, previous_node)
        drawn_operation = self._find_drawn_operation_if_read_once(activations)
        if drawn_operation is None:
            return
        only_moves_data = operation.name in functions.DATA_MOVES
        if only_moves_data:
            self._drawn_operation_of_value |= dict.fromkeys(operation.outputs, drawn_operation)
        operation_before, node_number = drawn_operation
        follows_directly = activations in operation_before.outputs
        if follows_directly and _transposes_product_of_einsum(operation, operation_before):
            self._nodes[node_number].output_shape = operation.output_shape

    def _find_sum_that_becomes_average(self, operation: Operation) -> UnfinishedNode | None:
        """Return the node of a sum that `operation` divides by the number of terms, or None."""
        depends_on_image = self._depends_on_image(operation)
        if not averages.scales_by_constant(operation, depends_on_image):
            return None
        activations = operation.inputs[depends_on_image.index(True)]
        constant = operation.inputs[depends_on_image.index(False)]
        drawn_operation = self._find_drawn_operation_if_read_once(activations)
        if drawn_operation is None:
            return None
        possible_sum, sum_node = drawn_operation
        operation_on_ones = self._operation_on_ones_of_value.get(constant)
        if averages.is_average(possible_sum, operation, depends_on_image, operation_on_ones):
            return self._nodes[sum_node]
        return None

    def _find_drawn_operation_if_read_once(self, value: int) -> _DrawnOperation | None:
        """Return the drawn operation that computes a value, if the value is read only once.

        Return None otherwise, and for a value that comes from a layer or from the input image.
        """
        if self._read_count_of_value[value] > 1:
            return None
        return self._drawn_operation_of_value.get(value)


def _transposes_product_of_einsum(operation: Operation, previous_operation: Operation) -> bool:
    """Return whether two operations are the matrix product and the transposition of an einsum.

    `einsum` computes a product with its axes in another order, and then transposes the product.
    """
    are_in_same_function = previous_operation.function_calls == operation.function_calls
    names = (previous_operation.name, operation.name)
    return are_in_same_function and names == ("dot_general", "transpose")
