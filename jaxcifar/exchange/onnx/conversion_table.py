"""The table of JAX's operations: name -> function that adds the ONNX nodes for the operation."""

import math

from jaxcifar.exchange.onnx import (
    bool_nodes,
    convolution_nodes,
    formula_nodes,
    indexing_nodes,
    joining_nodes,
    pooling_nodes,
    product_nodes,
    slicing_nodes,
    softmax_nodes,
)
from jaxcifar.exchange.onnx import elementwise_nodes as elements
from jaxcifar.exchange.onnx import rearranging_nodes as rearranging
from jaxcifar.exchange.onnx import reducing_nodes as reducing
from jaxcifar.exchange.onnx.elementwise_nodes import Conversion, by_node, chain, with_scalar
from jaxcifar.exchange.onnx.onnx_builder import ONNX_TYPES, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor, UnconvertibleError, Value
from jaxcifar.exchange.onnx.traced_step import Step

_ELEMENTWISE: dict[str, Conversion] = {
    "abs": by_node("Abs"),
    "acos": by_node("Acos"),
    "acosh": by_node("Acosh"),
    "add": elements.commutative("Add"),
    "add_any": elements.commutative("Add"),
    "and": bool_nodes.logical("And"),
    "asin": by_node("Asin"),
    "asinh": by_node("Asinh"),
    "atan": by_node("Atan"),
    "atanh": by_node("Atanh"),
    "ceil": by_node("Ceil"),
    "clamp": elements.clamp,
    "convert_element_type": formula_nodes.convert_element_type,
    "cos": by_node("Cos"),
    "cosh": by_node("Cosh"),
    "div": softmax_nodes.div,
    "eq": bool_nodes.comparison("Equal"),
    "erf": formula_nodes.erf,
    "erfc": chain(by_node("Erf"), with_scalar("Sub", 1, first=True)),
    "exp": by_node("Exp"),
    "exp2": chain(with_scalar("Mul", math.log(2)), by_node("Exp")),
    "expm1": formula_nodes.expm1,
    "floor": by_node("Floor"),
    "ge": bool_nodes.comparison("GreaterOrEqual"),
    "gt": bool_nodes.comparison("Greater"),
    "integer_pow": formula_nodes.integer_pow,
    "is_finite": bool_nodes.is_finite,
    "le": bool_nodes.comparison("LessOrEqual"),
    "log": by_node("Log"),
    "log1p": formula_nodes.log1p,
    "logistic": by_node("Sigmoid"),
    "lt": bool_nodes.comparison("Less"),
    "max": elements.maximum,
    "min": elements.minimum,
    "mul": elements.commutative("Mul"),
    "ne": bool_nodes.comparison("Equal", negated=True),
    "neg": by_node("Neg"),
    "not": bool_nodes.logical("Not"),
    "or": bool_nodes.logical("Or"),
    "pow": by_node("Pow"),
    "rem": formula_nodes.remainder,
    "round": formula_nodes.rounded,
    "rsqrt": chain(by_node("Sqrt"), by_node("Reciprocal")),
    "select_n": bool_nodes.select_n,
    "sign": by_node("Sign"),
    "sin": by_node("Sin"),
    "sinh": by_node("Sinh"),
    "sqrt": by_node("Sqrt"),
    "square": formula_nodes.square,
    "sub": elements.sub,
    "tan": by_node("Tan"),
    "tanh": by_node("Tanh"),
    "xor": bool_nodes.logical("Xor"),
}
# Operations that change no value, apart from rounding floats to fewer digits.
_UNCHANGED = (
    "copy",
    "copy_p",
    "device_put",
    "layout_constraint",
    "name",
    "optimization_barrier",
    "pvary",
    "reduce_precision",
    "sharding_constraint",
    "stop_gradient",
)
CONVERSIONS: dict[str, Conversion] = {
    **_ELEMENTWISE,
    **dict.fromkeys(_UNCHANGED, elements.unchanged),
    "argmax": reducing.position_of("ArgMax"),
    "argmin": reducing.position_of("ArgMin"),
    "broadcast_in_dim": rearranging.broadcast_in_dim,
    "concatenate": joining_nodes.concatenate,
    "conv_general_dilated": convolution_nodes.conv_general_dilated,
    "cumsum": reducing.cumsum,
    "dot_general": product_nodes.dot_general,
    "dynamic_slice": slicing_nodes.dynamic_slice,
    "dynamic_update_slice": indexing_nodes.dynamic_update_slice,
    "gather": indexing_nodes.gather,
    "pad": indexing_nodes.pad,
    "reduce_and": reducing.bool_reduction("ReduceMin"),
    "reduce_max": reducing.reduction("ReduceMax"),
    "reduce_min": reducing.reduction("ReduceMin"),
    "reduce_or": reducing.bool_reduction("ReduceMax"),
    "reduce_prod": reducing.reduction("ReduceProd"),
    "reduce_sum": reducing.reduction("ReduceSum"),
    "reduce_window_max": pooling_nodes.max_window,
    "reduce_window_min": pooling_nodes.min_window,
    "reduce_window_sum": pooling_nodes.sum_window,
    "reshape": rearranging.reshape,
    "rev": slicing_nodes.rev,
    "scatter": indexing_nodes.scatter,
    "slice": slicing_nodes.slice_,
    "sort": reducing.sort,
    "split": joining_nodes.split,
    "squeeze": rearranging.squeeze,
    "stack": joining_nodes.stack,
    "tile": joining_nodes.tile,
    "top_k": reducing.top_k,
    "transpose": rearranging.transpose,
    "unstack": joining_nodes.unstack,
}
# Operations that copy values without computing; ONNX Runtime has them for every dtype.
_COPYING_OPERATIONS = (
    *_UNCHANGED,
    "broadcast_in_dim",
    "concatenate",
    "convert_element_type",
    "dynamic_slice",
    "gather",
    "reshape",
    "rev",
    "scatter",
    "slice",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
    "unstack",
)
_COMPUTED_DTYPES = ("float32", "int32", "int64", "bool")  # for which ONNX Runtime has most kernels


def convert_step(graph: OnnxBuilder, step: Step) -> list[Value]:
    """Add the ONNX nodes of an operation to a graph; return the operation's results.

    Raises:
      UnconvertibleError: the operation can't be converted, at least not for these inputs.
    """
    name = step.name
    if name not in CONVERSIONS:
        raise UnconvertibleError(
            f"the operation {name} can't be converted; use other operations for it"
        )
    step.check_parameters()
    _check_dtypes(step)
    results = CONVERSIONS[name](graph, step)
    return results if isinstance(results, list) else [results]


def _check_dtypes(step: Step) -> None:
    """Raise UnconvertibleError if ONNX, or ONNX Runtime, does not take a dtype of an operation."""
    operands = (*step.equation_for_two.invars, *step.equation_for_two.outvars)
    for operand in operands:
        dtype_in_jax = str(operand.aval.dtype)  # type: ignore[attr-defined]
        if "float" not in dtype_in_jax and dtype_in_jax not in ONNX_TYPES:
            raise UnconvertibleError(
                f"the operation {step.name} of {dtype_in_jax} can't be converted; use another dtype"
            )
    if step.name in _COPYING_OPERATIONS:
        return
    tensors = [value for value in step.inputs if isinstance(value, Tensor)]
    for tensor in tensors:
        if tensor.dtype.name not in _COMPUTED_DTYPES:
            raise UnconvertibleError(
                f"the operation {step.name} of {tensor.dtype.name} can't be converted; use one of "
                f"{', '.join(_COMPUTED_DTYPES)}"
            )
