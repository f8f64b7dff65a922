"""What is drawn as one box: nodes of a network's graph, and short ones that follow them."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from jaxcifar.diagram.graph import Node
from jaxcifar.diagram.trace import Shape

# Lengths are in points, as font sizes are.
WIDTH, SIDE_WIDTH, RADIUS = 122, 80, 6.5
_LINE, _MARGIN = 11.5, 8
_FOLLOWING = ("norm", "activation", "dropout")
_ALONE = ("data", "operator", "join", "pool")  # nothing is written into these
_SHRINKING = ("conv", "pool", "module", "function")
_PANELS = 3  # drawn within each other at most


@dataclasses.dataclass
class Box:
    """A box or, for an operator, a small circle.

    Attributes:
      nodes: that it stands for, the first of which tells how it looks.
      sources: indices of the boxes that it reads.
      side: whether it stands beside the others, on the way from a fork to a join.
    """

    nodes: list[Node]
    sources: list[int]
    side: bool = False

    @property
    def kind(self) -> str:
        """That of its first node; "shortcut" beside the others."""
        return "shortcut" if self.side else self.nodes[0].kind

    @property
    def output(self) -> Shape:
        """Of what leaves it."""
        return self.nodes[-1].output_shape

    @property
    def path(self) -> tuple[str, ...]:
        """The panels that it lies in."""
        return self.nodes[0].path[:_PANELS]

    @property
    def shrinks(self) -> bool:
        """Whether fewer pixels leave than enter."""
        before, after = self.nodes[0].input_shape, self.nodes[0].output_shape
        pixels = len(before) == len(after) == 3
        return pixels and self.nodes[0].kind in _SHRINKING and before[:-1] > after[:-1]

    @property
    def lines(self) -> list[str]:
        """What is written in it: its name in the first line."""
        head, *rest = self.nodes
        following = [node.name for node in rest]
        if head.kind in _FOLLOWING:
            name, notes = " · ".join([head.name, *following]), []
        else:
            name, notes = head.name, [head.note, *following]
        params = sum(node.params for node in self.nodes)
        facts = [] if self.side or head.kind in _FOLLOWING else [_shapes(head, self.output)]
        facts += [f"{params:,} params"] if params else []
        lines = (name, " · ".join(filter(None, notes)), " · ".join(facts))
        return [line for line in lines if line]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        if self.kind == "operator":
            return 2 * RADIUS, 2 * RADIUS
        return SIDE_WIDTH if self.side else WIDTH, _MARGIN + _LINE * len(self.lines)


def channels_first(shape: Shape) -> str:
    """Such as 64×32×32."""
    return "×".join(map(str, (*shape[-1:], *shape[:-1])))


def _shapes(node: Node, after: Shape) -> str:
    before = node.input_shape
    if node.kind in ("data", "conv") or before == after:
        return channels_first(after)
    return " → ".join(channels_first(shape) or "scalar" for shape in (before, after))


def make_boxes(graph: Sequence[Node]) -> list[Box]:
    """The boxes in the order in which they are drawn and computed."""
    users = _users([node.sources for node in graph])
    boxes: list[Box] = []
    index: dict[int, int] = {}  # of each node, its box
    for number, node in enumerate(graph):
        sources = list(dict.fromkeys(index[source] for source in node.sources))
        before = boxes[sources[0]] if len(sources) == 1 else None
        if before and _follows(node, before, users[node.sources[0]]):
            before.nodes.append(node)
            index[number] = sources[0]
        else:
            index[number] = len(boxes)
            boxes.append(Box([node], sources))
    return _put_aside(boxes)


def _follows(node: Node, before: Box, users: Sequence[int]) -> bool:
    """Whether a node can be written into the box before it."""
    alone = before.nodes[0].kind in _ALONE or node.path != before.nodes[-1].path
    return node.kind in _FOLLOWING and len(users) == 1 and not alone


def _users(sources: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """Of each index, the later ones that read it."""
    users: dict[int, list[int]] = defaultdict(list)
    for index, read in enumerate(sources):
        for source in read:
            users[source].append(index)
    return users


def _put_aside(boxes: list[Box]) -> list[Box]:
    """Single boxes between a fork and a join stand beside what else goes on between these."""
    users = _users([box.sources for box in boxes])
    main = list(range(len(boxes)))
    aside: dict[int, list[int]] = defaultdict(list)  # by the join that follows
    for index, box in enumerate(boxes):
        at = main.index(index)
        if len(box.sources) != 1 or len(users[index]) != 1 or box.kind == "operator":
            continue
        if len(boxes[users[index][0]].sources) < 2:
            continue
        before, after = main[at - 1], main[at + 1]
        plain = box.sources == [before] and users[index] == [after]
        if before in boxes[after].sources and not plain:
            main.remove(index)
            box.side = True
            aside[users[index][0]].append(index)
    order = [number for index in main for number in (*aside[index], index)]
    moved = {old: new for new, old in enumerate(order)}
    for box in boxes:
        box.sources = [moved[source] for source in box.sources]
    return [boxes[number] for number in order]
