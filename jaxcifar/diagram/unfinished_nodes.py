"""The nodes of a network's graph while the graph is being built: delete some, and merge others.

Nodes that the network's output does not need are deleted. Several nodes that together compute a
known function, such as exp, sum and division for a softmax, become one.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jaxcifar.diagram.box_label import Label
from jaxcifar.diagram.function_groups import GROUPABLE_OPERATIONS, known_function_name
from jaxcifar.diagram.operation import Shape

IMAGE_NODE = 0  # the number of the node that is the input image


@dataclasses.dataclass
class UnfinishedNode:
    """A node of a network's graph while the graph is being built. Each node has a number.

    Attributes:
      label: the kind, name and note of the node's box.
      input_shape: the shape of the node's first input for one image.
      output_shape: the shape of the node's output for one image.
      frame_names: names of the frames that are drawn around the node's modules, outermost first.
      params: the number of parameters of the node; shared parameters count in the first node only.
      sources: numbers of the nodes whose outputs this node reads.
      operation_names: the node's operations; empty if the node can't be merged with others.
      scale_factor: the constant of a multiplication; NaN if unknown, None if there is no constant.
      has_several_outputs: True if the node returns several arrays.
    """

    label: Label
    input_shape: Shape
    output_shape: Shape
    frame_names: tuple[str, ...] = ()
    params: int = 0
    sources: list[int] = dataclasses.field(default_factory=list)
    operation_names: set[str] = dataclasses.field(default_factory=set)
    scale_factor: float | None = None
    has_several_outputs: bool = False

    def prevent_merging(self) -> None:
        """Make the node stay a node of its own, because it is a whole function already."""
        self.operation_names = set()


def drop_unused_nodes(nodes: dict[int, UnfinishedNode]) -> None:
    """Delete the nodes that the logits do not depend on.

    Args:
      nodes: the graph's nodes by number, changed in place. `IMAGE_NODE` always stays. The node with
        the highest number computes the logits.
    """
    logits_node = max(nodes)
    used_nodes = {IMAGE_NODE, logits_node}
    for node_number in sorted(nodes, reverse=True):  # a node reads only earlier nodes
        if node_number in used_nodes:
            used_nodes.update(nodes[node_number].sources)
    unused_nodes = set(nodes) - used_nodes
    for node_number in unused_nodes:
        del nodes[node_number]


def merge_known_functions(nodes: dict[int, UnfinishedNode]) -> None:
    """Merge nodes that together compute a known function, such as a softmax, into one node.

    `nodes` has the graph's nodes by number, and is changed in place.
    """
    targets_of_node = _find_targets(nodes)
    for node_number in sorted(nodes, reverse=True):
        is_already_merged = node_number not in nodes
        if is_already_merged or not _may_end_function(nodes[node_number]):
            continue
        group = _find_group(node_number, nodes, targets_of_node)
        if group is not None:
            _merge_group(group, nodes, targets_of_node)


def _find_targets(nodes: dict[int, UnfinishedNode]) -> dict[int, set[int]]:
    """Return for the number of each node the numbers of the nodes that read its output."""
    targets_of_node: dict[int, set[int]] = {node_number: set() for node_number in nodes}
    for node_number, node in nodes.items():
        for source in node.sources:
            targets_of_node[source].add(node_number)
    return targets_of_node


def _may_end_function(node: UnfinishedNode) -> bool:
    """Return whether a node may be the last one of a known function, as a softmax's division."""
    return _is_groupable(node) and len(node.sources) > 1


class _NodeGroup(NamedTuple):
    """Unfinished nodes that compute a known function together.

    Attributes:
      function_name: the function's name; "" if the function returns its input unchanged.
      members: numbers of the nodes in the group.
      last_member: the number of the member whose output is the function's result.
      source: the number of the only node outside of the group that the members read.
    """

    function_name: str
    members: set[int]
    last_member: int
    source: int

    @property
    def returns_its_input(self) -> bool:
        return self.function_name == ""


def _find_group(
    last_member: int, nodes: dict[int, UnfinishedNode], targets_of_node: dict[int, set[int]]
) -> _NodeGroup | None:
    """Return the smallest group of nodes that computes a known function and ends with a node.

    Args:
      last_member: number of the node with which the group ends.
      nodes: the graph's nodes by number.
      targets_of_node: number of a node -> numbers of the nodes that read its output.

    Returns:
      the group, or None if there is no such group.
    """
    for members in _growing_groups(last_member, nodes, targets_of_node):
        sources = _find_outside_sources(members, nodes)
        if len(sources) != 1:
            continue
        function_name = _find_function_name(nodes[member] for member in members)
        if function_name is None:
            continue
        [source] = sources
        may_read_several_arrays = nodes[source].has_several_outputs
        if may_read_several_arrays:
            return None
        return _NodeGroup(function_name, members, last_member, source)
    return None


def _growing_groups(
    last_member: int, nodes: dict[int, UnfinishedNode], targets_of_node: dict[int, set[int]]
) -> Iterator[set[int]]:
    """Yield groups of two or more nodes that end with a node; each has one more than the previous.

    A node is added to a group only if no node outside of the group reads its output.

    Args:
      last_member: number of the node with which the groups end.
      nodes: the graph's nodes by number.
      targets_of_node: number of a node -> numbers of the nodes that read its output.
    """
    members = {last_member}
    while True:
        possible_members = []
        for source in _find_outside_sources(members, nodes):
            only_group_reads_source = targets_of_node[source] <= members
            if only_group_reads_source and _is_groupable(nodes[source]):
                possible_members.append(source)
        if not possible_members:
            return
        newest_node = max(possible_members)
        members = members | {newest_node}
        yield members


def _find_outside_sources(members: set[int], nodes: dict[int, UnfinishedNode]) -> set[int]:
    """Return the numbers of the nodes outside of a group that its members read."""
    sources: set[int] = set()
    for member in members:
        sources.update(nodes[member].sources)
    return sources - members


def _find_function_name(nodes: Iterable[UnfinishedNode]) -> str | None:
    """Return the name of the function that nodes compute together; None if it is not known.

    The name is "" if the function returns its input unchanged.
    """
    operation_names: set[str] = set()
    scale_factors = []
    for node in nodes:
        operation_names |= node.operation_names
        if node.scale_factor is not None:
            scale_factors.append(node.scale_factor)
    return known_function_name(operation_names, scale_factors)


def _is_groupable(node: UnfinishedNode) -> bool:
    """Return whether a node may be part of a known function.

    Such a node has no parameters, and only operations that occur in known functions.
    """
    if not node.operation_names or node.params:
        return False
    return node.operation_names <= GROUPABLE_OPERATIONS


def _merge_group(
    group: _NodeGroup, nodes: dict[int, UnfinishedNode], targets_of_node: dict[int, set[int]]
) -> None:
    """Replace a group of nodes by one node for the function that they compute together.

    If the function returns its input unchanged, the group is deleted. Its readers then read the
    group's source.

    Args:
      group: the group.
      nodes: the graph's nodes by number, changed in place.
      targets_of_node: number of a node -> numbers of the nodes that read its output, changed in
        place.
    """
    last_member, source = group.last_member, group.source
    for member in group.members - {last_member}:
        del nodes[member]
    targets_of_node[source] -= group.members
    if group.returns_its_input:
        _replace_by_source(last_member, source, nodes, targets_of_node)
        return
    targets_of_node[source].add(last_member)
    merged_node = nodes[last_member]
    merged_node.label = Label("activation", group.function_name)
    merged_node.input_shape = nodes[source].output_shape
    merged_node.sources = [source]
    merged_node.prevent_merging()


def _replace_by_source(
    node_number: int,
    source: int,
    nodes: dict[int, UnfinishedNode],
    targets_of_node: dict[int, set[int]],
) -> None:
    """Delete a node whose output equals the output of `source`, which its readers then read.

    `nodes` and `targets_of_node` are changed in place.
    """
    del nodes[node_number]
    readers = targets_of_node.pop(node_number)
    targets_of_node[source] |= readers
    for reader in readers:
        old_sources = nodes[reader].sources
        new_sources = [source if number == node_number else number for number in old_sources]
        distinct_sources = list(dict.fromkeys(new_sources))
        nodes[reader].sources = distinct_sources
