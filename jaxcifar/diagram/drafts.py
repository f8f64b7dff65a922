"""Unfinished nodes of a graph: delete unused nodes, and merge nodes that form known functions."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from jaxcifar.diagram.box_label import Label
from jaxcifar.diagram.function_groups import GROUPABLE, group_name
from jaxcifar.diagram.operation import Shape


@dataclasses.dataclass
class Draft:
    """A node of a network's graph while the graph is being built. A dict holds all drafts by key.

    Attributes:
      label: the kind, name and note of the node's box.
      input_shape: the shape of the node's first input for one image.
      output_shape: the shape of the node's output for one image.
      path: names of the panels (frames around modules) around the node, outermost first.
      params: the number of parameters that the node uses and no earlier node does.
      sources: keys of the nodes whose outputs this node reads.
      operations: names of the node's operations; empty if the node can't be merged with others.
      factor: the constant of a multiplication; NaN if unknown, None if there is no constant.
      has_several_outputs: True if the node returns several arrays.
    """

    label: Label
    input_shape: Shape
    output_shape: Shape
    path: tuple[str, ...] = ()
    params: int = 0
    sources: list[int] = dataclasses.field(default_factory=list)
    operations: set[str] = dataclasses.field(default_factory=set)
    factor: float | None = None
    has_several_outputs: bool = False


def drop_unused(drafts: dict[int, Draft]) -> None:
    """Delete the nodes of an unfinished graph on which the logits do not depend.

    Args:
      drafts: the unfinished nodes by key, changed in place. Key 0 is the input image, which always
        stays; the highest key is the logits.
    """
    logits = max(drafts)
    used = {0, logits}
    for key in sorted(drafts, reverse=True):
        if key in used:
            used.update(drafts[key].sources)
    for key in set(drafts) - used:
        del drafts[key]


def merge_groups(drafts: dict[int, Draft]) -> None:
    """Replace graph nodes that together compute a known function, such as a softmax, by one node.

    `drafts` has the unfinished nodes by key, and is changed in place.
    """
    readers: dict[int, set[int]] = {key: set() for key in drafts}
    for key, draft in drafts.items():
        for source in draft.sources:
            readers[source].add(key)
    for key in sorted(drafts, reverse=True):
        if key in drafts and _is_groupable(drafts[key]) and len(drafts[key].sources) > 1:
            group = _find_group(key, drafts, readers)
            if group is not None:
                _merge(group, drafts, readers)


class _DraftGroup(NamedTuple):
    """Unfinished graph nodes that compute a known function together.

    Attributes:
      name: the function's name; "" if the network would compute the same without the function.
      members: keys of the nodes in the group.
      last: the key of the member whose output is the function's result.
      source: the key of the only node outside of the group that the members read.
    """

    name: str
    members: set[int]
    last: int
    source: int


def _find_group(
    last: int, drafts: dict[int, Draft], readers: dict[int, set[int]]
) -> _DraftGroup | None:
    """Return the smallest group of nodes that ends with one node and computes a known function.

    Args:
      last: key of the group's last node.
      drafts: the unfinished nodes of the graph by key.
      readers: key of a node -> keys of the nodes that read its output.

    Returns:
      the group, or None if there is no such group.
    """
    members = {last}
    while True:
        sources: set[int] = set()
        for member in members:
            sources.update(drafts[member].sources)
        sources -= members
        if len(members) > 1 and len(sources) == 1:
            name = _function_name(drafts[member] for member in members)
            if name is not None:
                [source] = sources
                is_one_array = not drafts[source].has_several_outputs
                return _DraftGroup(name, members, last, source) if is_one_array else None
        mergeable = [
            source
            for source in sources
            if _is_groupable(drafts[source]) and readers[source] <= members
        ]
        if not mergeable:
            return None
        members.add(max(mergeable))


def _function_name(drafts: Iterable[Draft]) -> str | None:
    """Return the name of the function that graph nodes compute together; None if not known."""
    operations: set[str] = set()
    factors = []
    for draft in drafts:
        operations |= draft.operations
        if draft.factor is not None:
            factors.append(draft.factor)
    return group_name(operations, factors)


def _is_groupable(draft: Draft) -> bool:
    return bool(draft.operations) and draft.operations <= GROUPABLE and not draft.params


def _merge(group: _DraftGroup, drafts: dict[int, Draft], readers: dict[int, set[int]]) -> None:
    """Replace a group of nodes by one node for the function that they compute together.

    If the function has no name, delete the group. Its readers then read the group's source.

    Args:
      group: the group.
      drafts: the unfinished nodes of the graph by key, changed in place.
      readers: key of a node -> keys of the nodes that read its output, changed in place.
    """
    last, source = group.last, group.source
    for member in group.members - {last}:
        del drafts[member]
    readers[source] = (readers[source] - group.members) | {last}
    if group.name:
        merged = drafts[last]
        merged.label = Label("activation", group.name)
        merged.input_shape = drafts[source].output_shape
        merged.sources = [source]
        merged.operations = set()
        return
    del drafts[last]
    readers[source].discard(last)
    for reader in readers.pop(last):
        sources = [source if key == last else key for key in drafts[reader].sources]
        drafts[reader].sources = list(dict.fromkeys(sources))  # each source once
        readers[source].add(reader)
