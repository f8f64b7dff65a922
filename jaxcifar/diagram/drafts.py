"""Nodes of a graph to be: dropping those that lead nowhere, merging those that are one function."""

import dataclasses
from collections.abc import Iterable

from jaxcifar.diagram import functions
from jaxcifar.diagram.trace import Shape


@dataclasses.dataclass
class Draft:
    """A node to be; `sources` are keys of others, `names` the operations that it stands for.

    `factor` is a constant that it multiplies by, None if it doesn't. Of one with `several` outputs,
    readers may mean different ones.
    """

    kind: str
    name: str
    note: str
    input_shape: Shape
    output_shape: Shape
    path: tuple[str, ...] = ()
    params: int = 0
    sources: list[int] = dataclasses.field(default_factory=list)
    names: set[str] = dataclasses.field(default_factory=set)
    factor: float | None = None
    several: bool = False


def drop_unused(drafts: dict[int, Draft]) -> None:
    """Drop what does not lead to the logits."""
    last = max(drafts)
    used = {0, last}
    for key in sorted(drafts, reverse=True):
        if key in used:
            used.update(drafts[key].sources)
    for key in set(drafts) - used:
        del drafts[key]


def merge_groups(drafts: dict[int, Draft]) -> None:
    """Draw operations as one that compute a known function together, such as a softmax."""
    users: dict[int, set[int]] = {key: set() for key in drafts}
    for key, draft in drafts.items():
        for source in draft.sources:
            users[source].add(key)
    for key in sorted(drafts, reverse=True):
        if key in drafts and _simple(drafts[key]) and len(drafts[key].sources) > 1:
            _merge_into(key, drafts, users)


def _name(group: Iterable[Draft]) -> str | None:
    drafts = list(group)
    names = set().union(*(draft.names for draft in drafts))
    factors = [draft.factor for draft in drafts if draft.factor is not None]
    return functions.group_name(names, factors)


def _simple(draft: Draft) -> bool:
    return bool(draft.names) and draft.names <= functions.SIMPLE and not draft.params


def _merge_into(key: int, drafts: dict[int, Draft], users: dict[int, set[int]]) -> None:
    """Merge the smallest known group that ends here and has one source."""
    group = {key}
    while True:
        outside = {source for member in group for source in drafts[member].sources} - group
        name = _name(drafts[member] for member in group) if len(outside) == 1 < len(group) else None
        if name is not None:
            break
        inner = [s for s in outside if s in drafts and _simple(drafts[s]) and users[s] <= group]
        if not inner:
            return
        group.add(max(inner))
    (source,) = outside
    if drafts[source].several:
        return
    for member in group - {key}:
        del drafts[member]
    users[source] = (users[source] - group) | {key}
    if name:
        first = drafts[key]
        shape = drafts[source].output_shape
        first.kind, first.name, first.note = "activation", name, ""
        first.input_shape, first.sources, first.names = shape, [source], set()
        return
    del drafts[key]
    for user in users.pop(key):
        reads = drafts[user].sources
        drafts[user].sources = list(dict.fromkeys(source if s == key else s for s in reads))
        users[source].add(user)
    users[source].discard(key)
