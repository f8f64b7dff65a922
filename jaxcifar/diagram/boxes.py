"""The boxes of a network's drawing; a box holds one node of the graph, or several in sequence."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

from jaxcifar.diagram.graph import Node
from jaxcifar.diagram.operation import Shape

# Lengths are in points, like font sizes.
BOX_WIDTH, SIDE_BOX_WIDTH, OPERATOR_RADIUS = 122, 80, 6.5
BOX_GAP = 15  # between a box and the next one below it
_LINE_HEIGHT, _TEXT_MARGIN = 11.5, 8
# Kinds of nodes that are written into the box of the node before them.
_KINDS_DRAWN_IN_PREVIOUS_BOX = ("norm", "activation", "dropout")
# Kinds of nodes into whose boxes no following node is written.
_KINDS_THAT_TAKE_NO_FURTHER_NODES = ("data", "operator", "join", "pool")
_KINDS_THAT_MAY_LOWER_RESOLUTION = ("conv", "pool", "module", "function")
_MAX_NESTED_FRAMES = 3  # drawn inside each other


@dataclasses.dataclass
class Box:
    """A box in a network's drawing; a box for an operator such as "+" is a small circle.

    Attributes:
      nodes: the graph nodes in the box; the first node decides the box's colour.
      sources: indices of the boxes whose outputs this box reads.
      is_side_box: True if the box stands to the right of its column, alone on its branch.
    """

    nodes: list[Node]
    sources: list[int]
    is_side_box: bool = False

    @property
    def kind(self) -> str:
        """The kind of the first node, such as "conv", or "shortcut" for a box beside the column."""
        return "shortcut" if self.is_side_box else self.nodes[0].kind

    @property
    def output_shape(self) -> Shape:
        """The output shape of the box's last node."""
        return self.nodes[-1].output_shape

    @property
    def frame_names(self) -> tuple[str, ...]:
        """Names of the frames around the box, outermost first, at most three."""
        return self.nodes[0].path[:_MAX_NESTED_FRAMES]

    @property
    def lowers_resolution(self) -> bool:
        """True if the first operation lowers the height, or keeps it and lowers the width."""
        first_node = self.nodes[0]
        if first_node.kind not in _KINDS_THAT_MAY_LOWER_RESOLUTION:
            return False
        input_shape, output_shape = first_node.input_shape, first_node.output_shape
        if len(input_shape) != 3 or len(output_shape) != 3:
            return False
        input_height, input_width, _ = input_shape
        output_height, output_width, _ = output_shape
        if input_height == output_height:
            return input_width > output_width
        return input_height > output_height

    @property
    def text_lines(self) -> list[str]:
        """The lines of text in the box; the name of the first node comes first."""
        first_node, *further_nodes = self.nodes
        further_names = [node.name for node in further_nodes]
        params = sum(node.params for node in self.nodes)
        params_texts = [f"{params:,} params"] if params else []
        is_drawn_without_layer = first_node.kind in _KINDS_DRAWN_IN_PREVIOUS_BOX
        if is_drawn_without_layer:
            texts_of_each_line = [[first_node.name, *further_names], params_texts]
        else:
            notes = [note for note in (first_node.note, *further_names) if note]
            shape_texts = []
            if not self.is_side_box:  # which is narrow
                shape_texts.append(_shape_change_text(first_node, self.output_shape))
            texts_of_each_line = [[first_node.name], notes, [*shape_texts, *params_texts]]
        lines = [" · ".join(texts) for texts in texts_of_each_line]
        return [line for line in lines if line]

    @property
    def size(self) -> tuple[float, float]:
        """The width and height of the box in points."""
        if self.kind == "operator":
            return 2 * OPERATOR_RADIUS, 2 * OPERATOR_RADIUS
        width = SIDE_BOX_WIDTH if self.is_side_box else BOX_WIDTH
        return width, _TEXT_MARGIN + _LINE_HEIGHT * len(self.text_lines)


def shape_text(shape: Shape) -> str:
    """Return a shape as text with channels first, such as "64×32×32" for `(32, 32, 64)`."""
    channels, spatial_sizes = shape[-1:], shape[:-1]
    return "×".join(map(str, channels + spatial_sizes))


def _shape_change_text(first_node: Node, output_shape: Shape) -> str:
    """Return a box's input and output shape as text, such as "64×32×32 → 64×16×16".

    Data, convolutions and boxes that keep the shape show the output shape only.

    Args:
      first_node: the first node in the box, which reads the box's input.
      output_shape: the output shape of the box's last node.
    """
    if first_node.kind in ("data", "conv") or first_node.input_shape == output_shape:
        return shape_text(output_shape)
    shapes = (first_node.input_shape, output_shape)
    return " → ".join(shape_text(shape) or "scalar" for shape in shapes)


def make_boxes(graph: Sequence[Node]) -> list[Box]:
    """Group the nodes of a network's graph into boxes; return the boxes in the order of drawing.

    An activation or normalisation shares the box of the node before it where possible.
    """
    targets_of_node = _find_targets([node.sources for node in graph])
    boxes: list[Box] = []
    box_index_of_node: list[int] = []
    for node in graph:
        source_boxes = [box_index_of_node[source] for source in node.sources]
        if _is_next_in_chain(node, targets_of_node) and _fits_into_box(
            node, boxes[source_boxes[0]]
        ):
            [box_index] = source_boxes
            boxes[box_index].nodes.append(node)
        else:
            box_index = len(boxes)
            distinct_source_boxes = list(dict.fromkeys(source_boxes))
            boxes.append(Box([node], distinct_source_boxes))
        box_index_of_node.append(box_index)
    return _move_side_boxes_to_targets(boxes)


def _is_next_in_chain(node: Node, targets_of_node: dict[int, list[int]]) -> bool:
    """Return whether a node reads only one node, and no other node reads that node."""
    if len(node.sources) != 1:
        return False
    [source] = node.sources
    return len(targets_of_node[source]) == 1


def _fits_into_box(node: Node, box: Box) -> bool:
    """Return whether a graph node may be drawn in the box of the nodes before it.

    The node must be a normalisation, an activation or dropout. It must be in the same module as the
    last node in the box.
    """
    if node.kind not in _KINDS_DRAWN_IN_PREVIOUS_BOX:
        return False
    box_takes_further_nodes = box.nodes[0].kind not in _KINDS_THAT_TAKE_NO_FURTHER_NODES
    is_in_same_module = node.path == box.nodes[-1].path
    return box_takes_further_nodes and is_in_same_module


def _find_targets(sources_of_nodes: Sequence[Sequence[int]]) -> dict[int, list[int]]:
    """Return, for the index of each node, the indices of the nodes that read the node's output.

    Args:
      sources_of_nodes: for each node, the indices of the nodes whose outputs the node reads.
    """
    targets_of_node: dict[int, list[int]] = defaultdict(list)
    for target, sources in enumerate(sources_of_nodes):
        for source in sources:
            targets_of_node[source].append(target)
    return targets_of_node


def _is_side_box(
    box_index: int, boxes: Sequence[Box], target_boxes: Sequence[int], column_boxes: Sequence[int]
) -> bool:
    """Return whether a box belongs beside its column, such as the projection of a residual block.

    The box must be alone on its path, and the boxes in the column must be connected without it.

    Args:
      box_index: index of the box.
      boxes: all boxes.
      target_boxes: indices of the boxes that read the box's output.
      column_boxes: indices of the boxes that are not side boxes so far, in their order.
    """
    box = boxes[box_index]
    has_one_source_and_one_target = len(box.sources) == 1 and len(target_boxes) == 1
    if not has_one_source_and_one_target or box.kind == "operator":
        return False
    [source_box], [target_box] = box.sources, target_boxes
    paths_meet_at_target = len(boxes[target_box].sources) > 1
    if not paths_meet_at_target:
        return False
    position = column_boxes.index(box_index)
    previous_box, next_box = column_boxes[position - 1], column_boxes[position + 1]
    neighbours_are_connected = previous_box in boxes[next_box].sources
    is_on_path_between_neighbours = source_box == previous_box and target_box == next_box
    return neighbours_are_connected and not is_on_path_between_neighbours


def _move_side_boxes_to_targets(boxes: list[Box]) -> list[Box]:
    """Find the side boxes, which stand beside a column, and return all boxes in their new order.

    Where a network has two paths, such as in a residual block, one path stays in the column. If the
    other path has only one box, this box is a side box. It moves to just before the box where the
    paths meet.
    """
    targets_of_box = _find_targets([box.sources for box in boxes])
    column_boxes = list(range(len(boxes)))  # boxes that stay in their column
    side_boxes_of_target: dict[int, list[int]] = defaultdict(list)
    for index, box in enumerate(boxes):
        if _is_side_box(index, boxes, targets_of_box[index], column_boxes):
            box.is_side_box = True
            column_boxes.remove(index)
            [target] = targets_of_box[index]
            side_boxes_of_target[target].append(index)
    drawing_order: list[int] = []
    for index in column_boxes:
        drawing_order += side_boxes_of_target[index]
        drawing_order.append(index)
    new_index_of_box = {old_index: new_index for new_index, old_index in enumerate(drawing_order)}
    for box in boxes:
        box.sources = [new_index_of_box[source] for source in box.sources]
    return [boxes[index] for index in drawing_order]
