"""Build drafts, i.e. unfinished nodes of a graph, from the operations of a traced network."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from jaxcifar.diagram import functions
from jaxcifar.diagram.box_label import Label
from jaxcifar.diagram.calls import ModuleCalls
from jaxcifar.diagram.drafts import Draft
from jaxcifar.diagram.operation import FunctionCall, Operation
from jaxcifar.diagram.trace import Call, Trace

ParameterPath = tuple[str, ...]


class _DrawnOperation(NamedTuple):
    """An operation that is drawn as a graph node of its own, and the key of that node."""

    operation: Operation
    draft: int


class DraftBuilder:
    """Builds the nodes of a network's graph from operations, added in the order in which they run.

    An unfinished node is a `Draft`. Its key is a number, in the order of computation.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._calls = ModuleCalls(trace)
        image = Draft(Label("data", "input image"), trace.image_shape, trace.image_shape)
        self._drafts = {0: image}
        # Value that depends on the image -> key of the draft that computes it.
        self._draft_of_value = {trace.image: 0}
        # Value that does not depend on the image -> the parameters from which it is computed.
        self._parameters_of_value = {
            parameter.value: {path} for path, parameter in trace.params.items()
        }
        self._counted_parameters: set[ParameterPath] = set()
        self._layer_drafts: dict[int, int] = {}  # number of the layer's call -> draft
        self._function_drafts: dict[FunctionCall, int] = {}
        self._read_counts: Counter[int] = Counter()
        for operation in trace.operations:
            self._read_counts.update(operation.inputs)
        # Value -> the operation that computes it, perhaps followed by moves of data.
        self._drawn_operations: dict[int, _DrawnOperation] = {}
        self._computed_from_ones: dict[int, Operation] = {}  # value computed from ones -> operation

    def add(self, operation: Operation) -> None:
        """Add the next operation to the graph.

        The operation becomes part of the node of its layer or function, or a node of its own. An
        operation gets no node if it only moves data or does not depend on the image.
        """
        parameters: set[ParameterPath] = set()
        for value in operation.inputs:
            parameters |= self._parameters_of_value.get(value, set())
        if not operation.depends_on_image:
            self._parameters_of_value |= dict.fromkeys(operation.outputs, parameters)
            if operation.constants[:1] == (1,):
                self._computed_from_ones |= dict.fromkeys(operation.outputs, operation)
            return
        layer = self._calls.box(operation.call)
        named_functions = [call for call in operation.functions if call.name in functions.NAMED]
        if layer is not None:
            self._add_to_layer(layer, operation, parameters)
        elif named_functions:
            self._add_to_function(named_functions[0], operation)
        else:
            self._add_single(operation, parameters)

    def finish(self) -> dict[int, Draft]:
        """Add a node for the logits, and return all nodes of the network's graph, still unfinished.

        Returns:
          key of a node -> the unfinished node. Keys are numbers in the order of computation.
        """
        source = self._draft_of_value.get(self._trace.logits)
        if source is None:  # the logits do not depend on the image
            self._append_draft(Draft(Label("data", "logits"), (), ()))
        else:
            shape = self._drafts[source].output_shape
            self._append_draft(Draft(Label("data", "logits"), shape, shape, sources=[source]))
        return self._drafts

    def _append_draft(self, draft: Draft) -> int:
        """Add an unfinished node to the graph, and return the key of the node."""
        key = len(self._drafts)
        self._drafts[key] = draft
        return key

    def _connect(self, key: int, operation: Operation) -> None:
        """Record that the graph node `key` reads an operation's inputs and computes its outputs."""
        sources = self._drafts[key].sources
        for value in operation.inputs:
            source = self._draft_of_value.get(value)
            if source is not None and source != key and source not in sources:
                sources.append(source)
        self._draft_of_value |= dict.fromkeys(operation.outputs, key)

    def _add_to_layer(
        self, layer: Call, operation: Operation, parameters: set[ParameterPath]
    ) -> None:
        """Add an operation to the graph node of the layer that computes the operation.

        Args:
          layer: the call of the layer.
          operation: the operation.
          parameters: paths of the parameters from which the operation's inputs are computed.
        """
        if layer.number not in self._layer_drafts:
            draft = Draft(self._calls.label(layer), layer.input_shape, layer.output_shape)
            draft.path = self._calls.panels(layer.parent)
            depth = len(layer.path)
            own_parameters = [path for path in self._trace.params if path[:depth] == layer.path]
            draft.params = self._count_new_parameters(own_parameters)
            self._layer_drafts[layer.number] = self._append_draft(draft)
        key = self._layer_drafts[layer.number]
        self._connect(key, operation)
        # A layer may compute with a parameter of another layer that was passed to it.
        self._drafts[key].params += self._count_new_parameters(parameters)

    def _add_to_function(self, function: FunctionCall, operation: Operation) -> None:
        """Add an operation to the graph node of the function, such as a softmax, around it."""
        if function not in self._function_drafts:
            name = functions.NAMED[function.name]
            draft = self._operation_draft(operation, Label(functions.named_kind(name), name))
            draft.operations = set()  # the function is complete, so it becomes part of no group
            self._function_drafts[function] = self._append_draft(draft)
        key = self._function_drafts[function]
        self._connect(key, operation)
        self._drafts[key].output_shape = operation.output_shape

    def _add_single(self, operation: Operation, parameters: set[ParameterPath]) -> None:
        """Add an operation outside of all layers and named functions as a graph node, or skip it.

        `parameters` are the paths of the parameters from which the operation's inputs are computed.
        """
        label = None
        if not self._rename_to_average(operation):
            label = self._operation_label(operation, parameters)
        if label is None:
            self._skip_operation(operation)
            return
        draft = self._operation_draft(operation, label)
        draft.params = self._count_new_parameters(parameters)
        key = self._append_draft(draft)
        self._connect(key, operation)
        self._drawn_operations |= dict.fromkeys(operation.outputs, _DrawnOperation(operation, key))

    def _operation_draft(self, operation: Operation, label: Label) -> Draft:
        return Draft(
            label,
            operation.input_shape,
            operation.output_shape,
            path=self._calls.panels(operation.call),
            operations={operation.name},
            factor=functions.scale_factor(operation, self._depends_on_image(operation)),
            has_several_outputs=len(operation.outputs) > 1,
        )

    def _count_new_parameters(self, parameters: Iterable[ParameterPath]) -> int:
        """Return the number of elements of the parameters that no earlier call counted.

        `parameters` are the paths of parameters.
        """
        new_parameters = set(parameters) - self._counted_parameters
        self._counted_parameters |= new_parameters
        return sum(self._trace.params[path].size for path in new_parameters)

    def _depends_on_image(self, operation: Operation) -> list[bool]:
        """Return for each input of an operation whether it depends on the network's input image."""
        return [value in self._draft_of_value for value in operation.inputs]

    def _skip_operation(self, operation: Operation) -> None:
        """Leave an operation out of the graph, as if the node before it computed its outputs."""
        read_value = next(value for value in operation.inputs if value in self._draft_of_value)
        draft = self._draft_of_value[read_value]
        self._draft_of_value |= dict.fromkeys(operation.outputs, draft)
        source = self._drawn_operations.get(read_value)
        if source is None or self._read_counts[read_value] > 1:
            return
        if operation.name in functions.MOVES:
            self._drawn_operations |= dict.fromkeys(operation.outputs, source)
        # `einsum` computes a product with axes in another order and then transposes it.
        is_product = source.operation.name == "dot_general"
        is_direct_result = read_value in source.operation.outputs
        same_call = operation.functions == source.operation.functions
        if is_product and is_direct_result and same_call and operation.name == "transpose":
            self._drafts[source.draft].output_shape = operation.output_shape

    def _rename_to_average(self, operation: Operation) -> bool:
        """Rename a sum's node to "average" if `operation` divides the sum by the number of terms.

        Returns:
          True if the node was renamed; the dividing operation then needs no node.
        """
        depends_on_image = self._depends_on_image(operation)
        if operation.name not in ("div", "mul") or all(depends_on_image):
            return False
        sums_index = depends_on_image.index(True)
        constant_index = 1 - sums_index
        if operation.name == "div" and sums_index == 1:  # a constant divided by sums
            return False
        sums = operation.inputs[sums_index]
        sum_operation = self._drawn_operations.get(sums)
        if sum_operation is None or self._read_counts[sums] > 1:
            return False
        counts = self._computed_from_ones.get(operation.inputs[constant_index])
        if not functions.is_average(sum_operation.operation, operation, constant_index, counts):
            return False
        draft = self._drafts[sum_operation.draft]
        draft.label = draft.label._replace(name=draft.label.name.replace("sum", "average"))
        return True

    def _operation_label(
        self, operation: Operation, parameters: set[ParameterPath]
    ) -> Label | None:
        """Return the label of an operation's node, such as "+"; None if the operation is not drawn.

        `parameters` are the paths of the parameters from which the operation's inputs are computed.
        """
        name = operation.name
        depends_on_image = self._depends_on_image(operation)
        parameter_names = " ".join(sorted(path[-1] for path in parameters))
        if functions.has_weights(operation, depends_on_image):
            if name == "dot_general":
                label = functions.linear_label(operation, kernel=depends_on_image.index(False))
            else:
                label = functions.conv_label(operation)
            return label if parameters else Label("function", f"fixed {label.name}", label.note)
        if name == "reshape" and functions.is_flattening(operation):
            return Label("pool", "flatten")
        if name in functions.MOVES or functions.is_ineffective_limit(operation):
            return None
        if name in functions.ARITHMETIC and depends_on_image.count(True) == 1:
            label_name = functions.arithmetic_name(operation, depends_on_image, parameter_names)
            return Label("function", label_name) if label_name else None
        if name in functions.SYMBOLS:
            return Label("operator", functions.SYMBOLS[name])
        if name in ("concatenate", "stack"):
            return Label("join", name, parameter_names)
        if name == "dot_general":
            return Label("product", "matrix product")
        if name == "conv_general_dilated":
            return Label("product", "convolution")
        return functions.reduction_label(operation) or functions.other_label(operation)
