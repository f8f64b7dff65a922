"""Label operations that belong to no layer and to no named function."""

from collections.abc import Collection, Sequence

from jaxcifar.diagram import functions
from jaxcifar.diagram.box_label import Label
from jaxcifar.diagram.operation import Operation

ParameterPath = tuple[str, ...]


def operation_label(
    operation: Operation, depends_on_image: Sequence[bool], parameters: Collection[ParameterPath]
) -> Label | None:
    """Return the label of an operation's node, such as "+"; None if the operation is not drawn.

    Args:
      operation: the operation.
      depends_on_image: for each operand, whether it depends on the network's input image.
      parameters: the paths of the parameters from which the operation's inputs are computed.
    """
    name = operation.name
    parameter_names = " ".join(sorted(path[-1] for path in parameters))
    if functions.multiplies_by_weights(operation, depends_on_image):
        return _label_of_product(operation, depends_on_image, is_trainable=bool(parameters))
    if name == "reshape" and functions.is_flattening(operation):
        return Label("pool", "flatten")
    if name in functions.DATA_MOVES or functions.is_ineffective_limit(operation):
        return None
    has_one_operand_from_image = depends_on_image.count(True) == 1
    if name in functions.ARITHMETIC and has_one_operand_from_image:
        text = functions.arithmetic_text(operation, depends_on_image, parameter_names)
        return Label("function", text) if text else None
    if name in functions.OPERATOR_SYMBOLS:
        return Label("operator", functions.OPERATOR_SYMBOLS[name])
    if name in ("concatenate", "stack"):
        return Label("join", name, parameter_names)
    if name == "dot_general":
        return Label("product", "matrix product")
    if name == "conv_general_dilated":
        return Label("product", "convolution")
    return functions.reduction_label(operation) or functions.fallback_label(operation)


def _label_of_product(
    operation: Operation, depends_on_image: Sequence[bool], is_trainable: bool
) -> Label:
    """Return the label of a convolution or matrix product of activations and weights.

    Args:
      operation: the convolution or matrix product.
      depends_on_image: for each operand, whether it depends on the network's input image.
      is_trainable: False if the weights are constants.
    """
    if operation.name == "dot_general":
        kernel_index = depends_on_image.index(False)
        label = functions.linear_label(operation, kernel_index)
    else:
        label = functions.conv_label(operation)
    if not is_trainable:
        return Label("function", f"fixed {label.name}", label.note)
    return label
