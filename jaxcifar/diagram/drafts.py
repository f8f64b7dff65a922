"""Drafts, the nodes of a network's graph while it is being built: delete some, and merge others.

Drafts that the network's output does not need are deleted. Several drafts that together compute a
known function, such as exp, sum and division for a softmax, become one.
"""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from jaxcifar.diagram.box_label import Label
from jaxcifar.diagram.function_groups import GROUPABLE_OPERATIONS, known_function_name
from jaxcifar.diagram.operation import Shape

IMAGE_DRAFT = 0  # the number of the node that is the input image


@dataclasses.dataclass
class Draft:
    """A node of a network's graph while the graph is being built. Each draft has a number.

    Attributes:
      label: the kind, name and note of the node's box.
      input_shape: the shape of the node's first input for one image.
      output_shape: the shape of the node's output for one image.
      panel_names: names of the frames that are drawn around the node's modules, outermost first.
      params: the number of parameters of the node; shared parameters count in the first node only.
      sources: numbers of the drafts whose outputs this draft reads.
      operation_names: the node's operations; empty if the node can't be merged with others.
      scale_factor: the constant of a multiplication; NaN if unknown, None if there is no constant.
      has_several_outputs: True if the node returns several arrays.
    """

    label: Label
    input_shape: Shape
    output_shape: Shape
    panel_names: tuple[str, ...] = ()
    params: int = 0
    sources: list[int] = dataclasses.field(default_factory=list)
    operation_names: set[str] = dataclasses.field(default_factory=set)
    scale_factor: float | None = None
    has_several_outputs: bool = False


def drop_unused_drafts(drafts: dict[int, Draft]) -> None:
    """Delete the drafts that the logits do not depend on.

    Args:
      drafts: the drafts by number, changed in place. `IMAGE_DRAFT` always stays. The draft with the
        highest number computes the logits.
    """
    logits_draft = max(drafts)
    used_drafts = {IMAGE_DRAFT, logits_draft}
    for draft_number in sorted(drafts, reverse=True):  # a draft reads only earlier drafts
        if draft_number in used_drafts:
            used_drafts.update(drafts[draft_number].sources)
    unused_drafts = set(drafts) - used_drafts
    for draft_number in unused_drafts:
        del drafts[draft_number]


def merge_known_functions(drafts: dict[int, Draft]) -> None:
    """Merge drafts that together compute a known function, such as a softmax, to one draft.

    `drafts` has the drafts by number, and is changed in place.
    """
    readers_of_draft = _find_readers(drafts)
    for draft_number in sorted(drafts, reverse=True):
        is_already_merged = draft_number not in drafts
        if is_already_merged or not _may_end_function(drafts[draft_number]):
            continue
        group = _find_group(draft_number, drafts, readers_of_draft)
        if group is not None:
            _merge_group(group, drafts, readers_of_draft)


def _find_readers(drafts: dict[int, Draft]) -> dict[int, set[int]]:
    """Return for the number of each draft the numbers of the drafts that read its output."""
    readers_of_draft: dict[int, set[int]] = {draft_number: set() for draft_number in drafts}
    for draft_number, draft in drafts.items():
        for source in draft.sources:
            readers_of_draft[source].add(draft_number)
    return readers_of_draft


def _may_end_function(draft: Draft) -> bool:
    """Return whether a draft may be the last operation of a known function, as its division."""
    return _is_groupable(draft) and len(draft.sources) > 1


class _DraftGroup(NamedTuple):
    """Drafts that compute a known function together.

    Attributes:
      function_name: the function's name; "" if the function returns its input unchanged.
      members: numbers of the drafts in the group.
      last_member: the number of the member whose output is the function's result.
      source: the number of the only draft outside of the group that the members read.
    """

    function_name: str
    members: set[int]
    last_member: int
    source: int


def _find_group(
    last_member: int, drafts: dict[int, Draft], readers_of_draft: dict[int, set[int]]
) -> _DraftGroup | None:
    """Return the smallest group that ends with the draft `last_member` and is a known function.

    Args:
      last_member: number of the group's last draft.
      drafts: the drafts by number.
      readers_of_draft: number of a draft -> numbers of the drafts that read its output.

    Returns:
      the group, or None if there is no such group.
    """
    members = {last_member}
    while True:
        sources: set[int] = set()
        for member in members:
            sources.update(drafts[member].sources)
        sources -= members
        if len(members) > 1 and len(sources) == 1:
            function_name = _function_name(drafts[member] for member in members)
            if function_name is not None:
                [source] = sources
                if drafts[source].has_several_outputs:
                    return None
                return _DraftGroup(function_name, members, last_member, source)
        mergeable_sources = [
            source
            for source in sources
            if _is_groupable(drafts[source]) and readers_of_draft[source] <= members
        ]
        if not mergeable_sources:
            return None
        members.add(max(mergeable_sources))


def _function_name(drafts: Iterable[Draft]) -> str | None:
    """Return the name of the function that drafts compute together; None if it is not known."""
    operation_names: set[str] = set()
    scale_factors = []
    for draft in drafts:
        operation_names |= draft.operation_names
        if draft.scale_factor is not None:
            scale_factors.append(draft.scale_factor)
    return known_function_name(operation_names, scale_factors)


def _is_groupable(draft: Draft) -> bool:
    """Return whether a draft can be part of a known function: it has no parameters."""
    if not draft.operation_names or draft.params:
        return False
    return draft.operation_names <= GROUPABLE_OPERATIONS


def _merge_group(
    group: _DraftGroup, drafts: dict[int, Draft], readers_of_draft: dict[int, set[int]]
) -> None:
    """Replace a group of drafts by one draft for the function that they compute together.

    If the function returns its input unchanged, the group is deleted. Its readers then read the
    group's source.

    Args:
      group: the group.
      drafts: the drafts by number, changed in place.
      readers_of_draft: number of a draft -> numbers of the drafts that read its output, changed in
        place.
    """
    last_member, source = group.last_member, group.source
    for member in group.members - {last_member}:
        del drafts[member]
    readers_of_draft[source] = (readers_of_draft[source] - group.members) | {last_member}
    if group.function_name:
        merged_draft = drafts[last_member]
        merged_draft.label = Label("activation", group.function_name)
        merged_draft.input_shape = drafts[source].output_shape
        merged_draft.sources = [source]
        merged_draft.operation_names = set()
        return
    del drafts[last_member]
    readers_of_draft[source].discard(last_member)
    for reader in readers_of_draft.pop(last_member):
        reader_sources = drafts[reader].sources
        new_sources = [source if number == last_member else number for number in reader_sources]
        drafts[reader].sources = list(dict.fromkeys(new_sources))  # each source once
        readers_of_draft[source].add(reader)
