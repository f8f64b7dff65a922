"""Names and labels for single operations of a traced program."""

import math
from collections.abc import Collection, Sequence

from jaxcifar.diagram.box_label import BoxKind, Label
from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.operation import Operation

# Jitted functions that are drawn as one box: name in JAX -> name in the drawing.
FUNCTION_TITLES = {
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "leaky ReLU", "elu": "ELU", "selu": "SELU",
    "celu": "CELU", "gelu": "GELU", "silu": "SiLU", "swish": "SiLU", "mish": "Mish", "glu": "GLU",
    "sigmoid": "sigmoid", "log_sigmoid": "log-sigmoid", "hard_sigmoid": "hard sigmoid",
    "hard_silu": "hard SiLU", "hard_swish": "hard SiLU", "hard_tanh": "hard tanh",
    "soft_sign": "softsign", "softplus": "softplus", "squareplus": "squareplus",
    "softmax": "softmax", "_softmax": "softmax", "log_softmax": "log-softmax",
    "_resize": "resize",
}  # fmt: skip
# Operations that only move data or change how it is stored.
DATA_MOVES = {
    "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "expand_dims",
    "optimization_barrier", "reduce_precision", "reshape", "rev", "sharding_constraint", "squeeze",
    "stop_gradient", "transpose",
}  # fmt: skip
ARITHMETIC = {"add", "add_any", "div", "mul", "neg", "sub"}
OPERATOR_SYMBOLS = {"add": "+", "add_any": "+", "sub": "−", "mul": "×", "div": "÷"}
_COMMUTATIVE = {"add", "add_any", "mul"}
# The second operand that leaves the first one unchanged.
_NEUTRAL_SECOND_OPERAND = {"add": 0, "add_any": 0, "sub": 0, "mul": 1, "div": 1}
_OPERATION_TITLES = {
    "logistic": "sigmoid",
    "select_n": "where",
    "integer_pow": "power",
    "pow": "power",
}
_ACTIVATION_OPERATIONS = {"logistic", "tanh"}
_REDUCTIONS = ("sum", "max", "min")


def box_kind_of_function(function_title: str) -> BoxKind:
    """Return the kind of box for a function, given the function's name in the drawing."""
    return "function" if function_title == "resize" else "activation"


def scale_factor(operation: Operation, depends_on_image: Sequence[bool]) -> float | None:
    """Return the constant by which an operation multiplies the activations.

    Return NaN if the constant is unknown or 0, or is divided by the activations. Return None if the
    operation neither multiplies nor divides, or if no operand is a constant.

    Args:
      operation: the operation.
      depends_on_image: for each operand, whether it depends on the network's input image.
    """
    if operation.name == "neg":
        return -1
    multiplies_or_divides = operation.name in ("mul", "div")
    has_constant_operand = not all(depends_on_image)
    if not multiplies_or_divides or not has_constant_operand:
        return None
    unknown_factor = math.nan
    constant_index = depends_on_image.index(False)
    constant = operation.constants[constant_index]
    divides_constant_by_activations = operation.name == "div" and constant_index == 0
    if divides_constant_by_activations or constant is None or constant == 0:
        return unknown_factor
    return constant if operation.name == "mul" else 1 / constant


def arithmetic_text(
    operation: Operation, depends_on_image: Sequence[bool], parameter_names: str
) -> str | None:
    """Return a name for arithmetic with a constant or parameter, such as "× 2" or "1 − x".

    Return None if the operation changes nothing, such as an addition of 0.

    Args:
      operation: the operation.
      depends_on_image: for each operand, whether it depends on the network's input image.
      parameter_names: names of the parameters from which the other operand is computed; ""
        if that operand depends on no parameters.
    """
    name = operation.name
    has_only_one_operand = name == "neg"
    if has_only_one_operand:
        return "× −1"
    other_operand_index = depends_on_image.index(False)
    constant = operation.constants[other_operand_index]
    can_write_activations_first = other_operand_index == 1 or name in _COMMUTATIVE
    changes_nothing = can_write_activations_first and constant == _NEUTRAL_SECOND_OPERAND[name]
    if changes_nothing:
        return None
    if parameter_names:
        other_operand = parameter_names
    elif constant is None:
        other_operand = "a constant"
    else:
        other_operand = f"{constant:.3g}".replace("-", "−")
    symbol = OPERATOR_SYMBOLS[name]
    if can_write_activations_first:
        return f"{symbol} {other_operand}"
    return f"{other_operand} {symbol} x"


def multiplies_by_weights(operation: Operation, depends_on_image: Collection[bool]) -> bool:
    """Return whether an operation multiplies activations by weights, as a layer does.

    `depends_on_image` has, for each operand, whether it depends on the network's input image.
    """
    is_product = operation.name in ("dot_general", "conv_general_dilated")
    return is_product and not all(depends_on_image)


def conv_label(operation: Operation) -> Label:
    """Return a convolution's label, such as "3×3 conv, 64" with the note "stride 2"."""
    params = operation.equation.params
    images, kernel = operation.equation.invars
    image_shape, kernel_shape = shape_of(images), shape_of(kernel)
    axes = params["dimension_numbers"]
    kernel_feature_axis, _, *kernel_spatial_axes = axes.rhs_spec
    _, image_channel_axis, *_ = axes.lhs_spec
    image_channels = image_shape[image_channel_axis]
    groups, strides = params["feature_group_count"], params["window_strides"]
    kernel_dilation, image_dilation = params["rhs_dilation"], params["lhs_dilation"]
    is_transposed = max(image_dilation, default=1) > 1
    is_depthwise = groups > 1 and groups == image_channels
    conv_name = "conv"
    if is_transposed:
        conv_name = "transposed conv"
        strides = image_dilation
    elif is_depthwise:
        conv_name = "depthwise conv"
        groups = 1  # the name says that each channel is a group
    notes = []
    if max(strides, default=1) > 1:
        notes.append(f"stride {_sizes_text(strides)}")
    if max(kernel_dilation, default=1) > 1:
        notes.append(f"dilation {_sizes_text(kernel_dilation)}")
    if groups > 1:
        notes.append(f"{groups} groups")
    kernel_size = "×".join(str(kernel_shape[axis]) for axis in kernel_spatial_axes)
    features = kernel_shape[kernel_feature_axis]
    return Label("conv", f"{kernel_size} {conv_name}, {features}", " · ".join(notes))


def linear_label(operation: Operation, kernel_index: int) -> Label:
    """Return a dense layer's label, such as "linear, 10".

    `kernel_index` is the index, 0 or 1, of the kernel among the inputs of the matrix product.
    """
    contracted_axes, batch_axes = operation.equation.params["dimension_numbers"]
    kernel_shape = shape_of(operation.equation.invars[kernel_index])
    other_axes = {*contracted_axes[kernel_index], *batch_axes[kernel_index]}
    features = math.prod(size for axis, size in enumerate(kernel_shape) if axis not in other_axes)
    return Label("linear", f"linear, {features}")


def reduction_label(operation: Operation) -> Label | None:
    """Return the label of a pooling or of a reduction over axes; None for other operations."""
    name, params = operation.name, operation.equation.params
    primitive, _, reduction = name.rpartition("_")
    if reduction not in _REDUCTIONS:
        return None
    spatial_axes = operation.input_spatial_axes
    if primitive == "reduce_window":
        window = [params["window_dimensions"][axis] for axis in spatial_axes]
        strides = [params["window_strides"][axis] for axis in spatial_axes]
        note = "×".join(map(str, window))
        if max(strides, default=1) > 1:
            note += f" · stride {_sizes_text(strides)}"
        return Label("pool", f"{reduction} pool", note)
    if primitive == "reduce":
        reduced_axes = tuple(params["axes"])
        if reduced_axes and reduced_axes == spatial_axes:
            return Label("pool", f"global {reduction} pool")
        axes_text = "axes" if len(reduced_axes) > 1 else "an axis"
        return Label("pool", f"{reduction} over {axes_text}")
    return None


def is_flattening(operation: Operation) -> bool:
    """Return whether a reshape turns each image's array into a vector.

    The array must have several axes longer than 1.
    """
    input_sizes = [operation.traced_input_shape[axis] for axis in operation.input_image_axes]
    long_axes = [size for size in input_sizes if size > 1]
    return len(operation.output_image_axes) == 1 and len(long_axes) > 1


def is_ineffective_limit(operation: Operation) -> bool:
    """Return whether an operation has no effect: a maximum with -inf or a minimum with +inf."""
    if operation.name == "max":
        return -math.inf in operation.constants
    return operation.name == "min" and math.inf in operation.constants


def fallback_label(operation: Operation) -> Label:
    """Return the label of an operation that is not a layer, arithmetic or a reduction."""
    if operation.name == "max" and 0 in operation.constants:
        return Label("activation", "ReLU")
    name, params = operation.name, operation.equation.params
    note = ""
    if name == "cond":
        note = f"one of {len(params['branches'])} branches"
    elif name == "while":
        note = "until a condition fails"
    elif name == "scan":
        note = f"{params['length']:,} times"
    kind: BoxKind = "activation" if name in _ACTIVATION_OPERATIONS else "function"
    title = _OPERATION_TITLES.get(name, name.replace("_", " "))
    return Label(kind, title, note)


def _sizes_text(sizes: Collection[int]) -> str:
    """Return sizes along axes as text, such as "2×3", or only "2" if all sizes are 2."""
    distinct_sizes = set(sizes)
    if len(distinct_sizes) == 1:
        return str(distinct_sizes.pop())
    return "×".join(map(str, sizes))
