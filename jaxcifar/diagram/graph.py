"""A network as a graph of boxes that a person can read.

Each layer is a node. Functions between layers, sums of two branches, products and concatenations
are nodes too. A loop or conditional is a node that follows the nodes of its body or branches. Two
things are left out: operations that only move data, and arithmetic among parameters.
"""

import dataclasses
from typing import Annotated

from msgspec import Meta

from jaxcifar.diagram.box_label import BoxKind
from jaxcifar.diagram.graph_builder import GraphBuilder
from jaxcifar.diagram.stored import MAX_NODES, ModulePath, StoredCount, StoredShape, StoredText
from jaxcifar.diagram.trace import Trace
from jaxcifar.diagram.unfinished_nodes import drop_unused_nodes, merge_known_functions


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer or function in a network's graph. Shapes are for one image, with channels last.

    Attributes:
      kind: the kind of box in the drawing.
      name: a name such as "3×3 conv, 64"; the sign, such as "+", if the kind is "operator".
      note: a detail such as "stride 2", or "".
      input_shape: the shape of the node's first input array.
      output_shape: the shape of the node's output.
      params: the number of parameters that the node uses and no earlier node does.
      path: names of the modules around the node that also contain other nodes, outermost first.
      sources: indices of the nodes whose outputs the node reads; they come earlier in the graph.
    """

    kind: BoxKind
    name: StoredText
    note: StoredText
    input_shape: StoredShape
    output_shape: StoredShape
    params: StoredCount
    path: ModulePath
    sources: Annotated[tuple[StoredCount, ...], Meta(max_length=MAX_NODES)]


def build_graph(trace: Trace) -> tuple[Node, ...]:
    """Return a network's graph: its nodes in the order of computation, from image to logits."""
    builder = GraphBuilder(trace)
    for operation in trace.operations:
        builder.add_operation(operation)
    unfinished_nodes = builder.add_logits()
    drop_unused_nodes(unfinished_nodes)
    merge_known_functions(unfinished_nodes)
    index_of_node = {number: index for index, number in enumerate(unfinished_nodes)}
    nodes = []
    for unfinished_node in unfinished_nodes.values():
        node = Node(
            kind=unfinished_node.label.kind,
            name=unfinished_node.label.name,
            note=unfinished_node.label.note,
            input_shape=unfinished_node.input_shape,
            output_shape=unfinished_node.output_shape,
            params=unfinished_node.params,
            path=unfinished_node.frame_names,
            sources=tuple(index_of_node[source] for source in unfinished_node.sources),
        )
        nodes.append(node)
    return tuple(nodes)
