"""A network as a graph of boxes that a person can read.

Each layer is a node. Functions between layers, sums of two branches, products and concatenations
are nodes too. A loop or conditional is a node that follows the nodes of its body or branches. Two
things are left out: operations that only move data, and arithmetic among parameters.
"""

import dataclasses
from typing import Annotated

from msgspec import Meta

from jaxcifar.diagram.box_label import Kind
from jaxcifar.diagram.draft_builder import DraftBuilder
from jaxcifar.diagram.drafts import drop_unused, merge_groups
from jaxcifar.diagram.stored import MOST_NODES, ModulePath, Number, StoredShape, Text
from jaxcifar.diagram.trace import Trace


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer or function of a network. Shapes are those for one image, channels last.

    Attributes:
      kind: the kind of box.
      name: a name such as "3×3 conv, 64"; for an "operator" its sign, such as "+".
      note: more about it, such as "stride 2", or "".
      input_shape: the shape of its first input array.
      output_shape: the shape of its output.
      params: the number of parameters that it is the first to use.
      path: the modules around it that hold other nodes too, outermost first.
      sources: indices in the graph of the nodes that it reads; all are smaller than its own index.
    """

    kind: Kind
    name: Text
    note: Text
    input_shape: StoredShape
    output_shape: StoredShape
    params: Number
    path: ModulePath
    sources: Annotated[tuple[Number, ...], Meta(max_length=MOST_NODES)]


def build_graph(trace: Trace) -> tuple[Node, ...]:
    """Return the nodes from the image to the logits, in the order in which they are computed."""
    builder = DraftBuilder(trace)
    for operation in trace.operations:
        builder.add(operation)
    drafts = builder.finish()
    drop_unused(drafts)
    merge_groups(drafts)
    indices = {key: index for index, key in enumerate(drafts)}
    return tuple(
        Node(
            *draft.label,
            draft.input_shape,
            draft.output_shape,
            draft.params,
            draft.path,
            sources=tuple(indices[key] for key in draft.sources),
        )
        for draft in drafts.values()
    )
