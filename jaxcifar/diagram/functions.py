"""Names for what a traced program computes: of single operations, and of groups of them."""

import math
from collections.abc import Collection, Sequence

from jaxcifar.diagram.count import shape_of
from jaxcifar.diagram.operation import Operation

# Jitted functions that are drawn as one, by their names.
NAMED = {
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "leaky ReLU", "elu": "ELU", "selu": "SELU",
    "celu": "CELU", "gelu": "GELU", "silu": "SiLU", "swish": "SiLU", "mish": "Mish", "glu": "GLU",
    "sigmoid": "sigmoid", "log_sigmoid": "log-sigmoid", "hard_sigmoid": "hard sigmoid",
    "hard_silu": "hard SiLU", "hard_swish": "hard SiLU", "hard_tanh": "hard tanh",
    "soft_sign": "softsign", "softplus": "softplus", "squareplus": "squareplus",
    "softmax": "softmax", "_softmax": "softmax", "log_softmax": "log-softmax",
    "_resize": "resize",
}  # fmt: skip
# Operations that only move data or change how they are stored.
MOVES = {
    "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "expand_dims",
    "optimization_barrier", "reduce_precision", "reshape", "rev", "sharding_constraint", "squeeze",
    "stop_gradient", "transpose",
}  # fmt: skip
RESCALES = {"add", "add_any", "div", "mul", "neg", "sub"}
SYMBOLS = {"add": "+", "add_any": "+", "sub": "−", "mul": "×", "div": "÷"}
_NEUTRAL = {"add": 0, "add_any": 0, "sub": 0, "mul": 1, "div": 1}
_ELEMENTWISE = {
    "abs", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "log", "log1p",
    "logistic", "max", "min", "pow", "rsqrt", "select_n", "sign", "sqrt", "square", "tanh",
    "gt", "ge", "lt", "le", "eq", "cos", "sin", "clamp", "reduce_max", "reduce_sum",
}  # fmt: skip
SIMPLE = _ELEMENTWISE | RESCALES
_FUNCTIONS = {"logistic": "sigmoid", "select_n": "where", "integer_pow": "power", "pow": "power"}
_SHIFT = {"reduce_max", "sub"}  # keeps the exponentials of a softmax small, changes nothing
_CUBE = {"add", "integer_pow", "mul", "pow"}
_MOMENTS = {
    "abs", "add", "div", "integer_pow", "max", "mul", "select_n", "square", "sub",
}  # fmt: skip
# What a group of operations is called, those that it must have, and those that it may have.
_GROUPS: tuple[tuple[str, set[str], set[str]], ...] = (
    ("", _SHIFT, set()),
    ("log-softmax", {"exp", "reduce_sum", "log", "sub"}, _SHIFT),
    ("softmax", {"exp", "reduce_sum", "div"}, _SHIFT),
    ("SiLU", {"logistic", "mul"}, set()),
    ("GELU", {"erf", "mul"}, {"add", "div"}),
    ("GELU", {"erfc", "mul"}, {"div", "neg"}),
    ("GELU", {"tanh", "mul", "add"}, _CUBE),
    ("normalise", {"reduce_sum", "rsqrt"}, _MOMENTS),
    ("normalise", {"reduce_sum", "sqrt"}, _MOMENTS),
)
# Constants that a group may multiply by: those in approximations of a GELU. Any other one makes
# another function of it.
_FACTORS = {"GELU": (0.03, 2)}
_ACTIVATIONS = {"logistic", "tanh"}


def group_name(names: Collection[str], factors: Collection[float]) -> str | None:
    """What operations compute together from one array, if that is a known function.

    "" is one that changes nothing in what follows.

    Args:
      names: of the operations.
      factors: constants that they multiply by.
    """
    names = set(names)
    for name, needed, allowed in _GROUPS:
        if needed <= names <= needed | allowed:
            least, most = _FACTORS.get(name, (1, 1))
            return name if all(least <= abs(factor) <= most for factor in factors) else None
    return None


def named_kind(name: str) -> str:
    """How one of `NAMED` is drawn."""
    return "function" if name == "resize" else "activation"


def factor(operation: Operation, inputs: Sequence[bool]) -> float | None:
    """What it multiplies activations by, not a number if it isn't known; None if it doesn't.

    Args:
      operation: any.
      inputs: of each, whether it depends on the image.
    """
    if operation.name == "neg":
        return -1
    if operation.name not in ("mul", "div") or all(inputs):
        return None
    constant = operation.constants[inputs.index(False)]
    if not constant or (operation.name == "div" and not inputs[0]):
        return math.nan
    return 1 / constant if operation.name == "div" else constant


def rescale_name(operation: Operation, inputs: Sequence[bool], parameters: str) -> str | None:
    """What one of `RESCALES` does to one array, such as "× 2"; None if that changes nothing.

    Args:
      operation: one of these.
      inputs: of each, whether it depends on the image.
      parameters: what it takes, if not a constant.
    """
    name = operation.name
    if name == "neg":
        return "× −1"
    constant, sign = operation.constants[inputs.index(False)], SYMBOLS[name]
    in_place = inputs[0] or name in ("add", "add_any", "mul")
    if constant is not None and constant == _NEUTRAL[name] and in_place:
        return None
    number = "a constant" if constant is None else f"{constant:.3g}".replace("-", "−")
    what = parameters or number
    return f"{sign} {what}" if in_place else f"{what} {sign} x"


def is_average(
    sums: Operation, scaling: Operation, constant: int, counts: Operation | None
) -> bool:
    """Whether scaling sums by a constant makes averages of them.

    Args:
      sums: any operation.
      scaling: a product or quotient.
      constant: which of its inputs scales.
      counts: the sums of ones that this input is, if it is.
    """
    if sums.name == "reduce_sum":
        shape = sums.shapes[0]
        count = math.prod(shape[axis] for axis in sums.equation.params["axes"])
    elif sums.name == "reduce_window_sum":
        count = math.prod(sums.equation.params["window_dimensions"])
    else:
        return False
    if counts is not None:
        same = counts.name == sums.name and counts.equation.params == sums.equation.params
        return same and scaling.name == "div"
    by = factor(scaling, [number != constant for number in range(2)])
    return math.isclose(by * count, 1, rel_tol=1e-5)


def is_weighted(operation: Operation, inputs: Collection[bool]) -> bool:
    """Whether it multiplies activations by weights, as convolutions and dense layers do.

    Args:
      operation: any.
      inputs: of each, whether it depends on the image.
    """
    products = ("dot_general", "conv_general_dilated")
    return operation.name in products and not all(inputs)


def conv_name(operation: Operation) -> tuple[str, str]:
    """A convolution's name, such as "3×3 conv, 64", and what else there is to say of it."""
    params, kernel = operation.equation.params, shape_of(operation.equation.invars[1])
    features, _, *spatial = params["dimension_numbers"].rhs_spec
    groups, image = params["feature_group_count"], shape_of(operation.equation.invars[0])
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    sort = "conv"
    if max(params["lhs_dilation"], default=1) > 1:
        sort, strides = "transposed conv", params["lhs_dilation"]
    elif groups > 1 and groups == image[params["dimension_numbers"].lhs_spec[1]]:
        sort, groups = "depthwise conv", 1
    notes = [f"stride {_each(strides)}"] if max(strides, default=1) > 1 else []
    notes += [f"dilation {_each(dilation)}"] if max(dilation, default=1) > 1 else []
    notes += [f"{groups} groups"] if groups > 1 else []
    size = "×".join(str(kernel[axis]) for axis in spatial)
    return f"{size} {sort}, {kernel[features]}", " · ".join(notes)


def linear_name(operation: Operation, weights: int) -> str:
    """A dense layer's name; `weights` is which of the two inputs they are."""
    (contracted, batched) = (
        axes[weights] for axes in operation.equation.params["dimension_numbers"]
    )
    shape = shape_of(operation.equation.invars[weights])
    used = {*contracted, *batched}
    return f"linear, {math.prod(n for axis, n in enumerate(shape) if axis not in used)}"


def reduction_name(operation: Operation) -> tuple[str, str] | None:
    """The name of a pooling or reduction over axes, if it is one, and what to say of it."""
    what = ("sum", "max", "min")
    name, params = operation.name, operation.equation.params
    if name.startswith("reduce_window_") and name.rsplit("_", 1)[1] in what:
        within = operation.within(0)[:-1]
        window, strides = (
            [params[key][axis] for axis in within]
            for key in ("window_dimensions", "window_strides")
        )
        notes = "×".join(map(str, window)) + (
            f" · stride {_each(strides)}" if max(strides, default=1) > 1 else ""
        )
        return f"{name.rsplit('_', 1)[1]} pool", notes
    if name.startswith("reduce_") and name.rsplit("_", 1)[1] in what:
        axes, sort = tuple(params["axes"]), name.rsplit("_", 1)[1]
        if axes and axes == operation.within(0)[:-1]:
            return f"global {sort} pool", ""
        return f"{sort} over axes" if len(axes) > 1 else f"{sort} over an axis", ""
    return None


def flattens(operation: Operation) -> bool:
    """Whether a reshape makes vectors of arrays with more axes than one that matter."""
    shape = operation.shapes[0]
    return len(operation.within(1)) == 1 and sum(shape[n] > 1 for n in operation.within(0)) > 1


def keeps_all(operation: Operation) -> bool:
    """Whether it is a maximum with what is smaller than any number, or the like."""
    limit = {"max": -math.inf, "min": math.inf}.get(operation.name)
    return limit in operation.constants if limit is not None else False


def plain_look(operation: Operation) -> tuple[str, str, str]:
    """Kind, name and note of any other operation."""
    if operation.name == "max" and 0 in operation.constants:
        return "activation", "ReLU", ""
    name, params = operation.name, operation.equation.params
    note = ""
    if name == "cond":
        note = f"one of {len(params['branches'])} branches"
    elif name == "while":
        note = "until a condition fails"
    elif name == "scan":
        note = f"{params['length']:,} times"
    name = _FUNCTIONS.get(name, name.replace("_", " "))
    return "activation" if operation.name in _ACTIVATIONS else "function", name, note


def _each(sizes: Collection[int]) -> str:
    """Of either axis: once if they agree."""
    return str(next(iter(sizes))) if len(set(sizes)) == 1 else "×".join(map(str, sizes))
