"""The table of JAX's operations: name -> function that adds the ONNX nodes for the operation."""

import math

from jaxcifar.exchange.onnx import (
    bool_nodes,
    convolution_nodes,
    formula_nodes,
    indexing_nodes,
    joining_nodes,
    padding_nodes,
    pooling_nodes,
    product_nodes,
    slicing_nodes,
    softmax_nodes,
)
from jaxcifar.exchange.onnx import elementwise_nodes as elements
from jaxcifar.exchange.onnx import rearranging_nodes as rearranging
from jaxcifar.exchange.onnx import reducing_nodes as reducing
from jaxcifar.exchange.onnx.elementwise_nodes import (
    Conversion,
    chained_conversions,
    conversion_to_node,
    conversion_with_scalar,
)
from jaxcifar.exchange.onnx.onnx_builder import ONNX_TYPES, OnnxBuilder
from jaxcifar.exchange.onnx.onnx_values import Tensor, UnconvertibleError, Value
from jaxcifar.exchange.onnx.traced_step import Step

_ELEMENTWISE: dict[str, Conversion] = {
    "abs": conversion_to_node("Abs"),
    "acos": conversion_to_node("Acos"),
    "acosh": conversion_to_node("Acosh"),
    "add": elements.commutative_conversion("Add"),
    "add_any": elements.commutative_conversion("Add"),
    "and": bool_nodes.logical_conversion("And"),
    "asin": conversion_to_node("Asin"),
    "asinh": conversion_to_node("Asinh"),
    "atan": conversion_to_node("Atan"),
    "atanh": conversion_to_node("Atanh"),
    "ceil": conversion_to_node("Ceil"),
    "clamp": elements.convert_clamp,
    "convert_element_type": formula_nodes.convert_dtype_change,
    "cos": conversion_to_node("Cos"),
    "cosh": conversion_to_node("Cosh"),
    "div": softmax_nodes.convert_div_or_softmax,
    "eq": bool_nodes.comparison_conversion("Equal"),
    "erf": formula_nodes.convert_erf,
    "erfc": chained_conversions(
        conversion_to_node("Erf"), conversion_with_scalar("Sub", 1, scalar_first=True)
    ),
    "exp": conversion_to_node("Exp"),
    "exp2": chained_conversions(
        conversion_with_scalar("Mul", math.log(2)), conversion_to_node("Exp")
    ),
    "expm1": formula_nodes.convert_expm1,
    "floor": conversion_to_node("Floor"),
    "ge": bool_nodes.comparison_conversion("GreaterOrEqual"),
    "gt": bool_nodes.comparison_conversion("Greater"),
    "integer_pow": formula_nodes.convert_integer_pow,
    "is_finite": bool_nodes.convert_is_finite,
    "le": bool_nodes.comparison_conversion("LessOrEqual"),
    "log": conversion_to_node("Log"),
    "log1p": formula_nodes.convert_log1p,
    "logistic": conversion_to_node("Sigmoid"),
    "lt": bool_nodes.comparison_conversion("Less"),
    "max": elements.convert_max,
    "min": elements.convert_min,
    "mul": elements.commutative_conversion("Mul"),
    "ne": bool_nodes.comparison_conversion("Equal", negated=True),
    "neg": conversion_to_node("Neg"),
    "not": bool_nodes.logical_conversion("Not"),
    "or": bool_nodes.logical_conversion("Or"),
    "pow": conversion_to_node("Pow"),
    "rem": formula_nodes.convert_rem,
    "round": formula_nodes.convert_round,
    "rsqrt": chained_conversions(conversion_to_node("Sqrt"), conversion_to_node("Reciprocal")),
    "select_n": bool_nodes.convert_select,
    "sign": conversion_to_node("Sign"),
    "sin": conversion_to_node("Sin"),
    "sinh": conversion_to_node("Sinh"),
    "sqrt": conversion_to_node("Sqrt"),
    "square": formula_nodes.convert_square,
    "sub": elements.convert_sub,
    "tan": conversion_to_node("Tan"),
    "tanh": conversion_to_node("Tanh"),
    "xor": bool_nodes.logical_conversion("Xor"),
}
# Operations that change no value, apart from rounding floats to fewer digits.
_UNCHANGING_OPERATIONS = (
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
    **dict.fromkeys(_UNCHANGING_OPERATIONS, elements.unchanged_inputs),
    "argmax": reducing.position_conversion("ArgMax"),
    "argmin": reducing.position_conversion("ArgMin"),
    "broadcast_in_dim": rearranging.convert_broadcast,
    "concatenate": joining_nodes.convert_concatenate,
    "conv_general_dilated": convolution_nodes.convert_convolution,
    "cumsum": reducing.convert_cumsum,
    "dot_general": product_nodes.convert_dot_general,
    "dynamic_slice": slicing_nodes.convert_dynamic_slice,
    "dynamic_update_slice": padding_nodes.convert_dynamic_update_slice,
    "gather": indexing_nodes.convert_gather,
    "pad": padding_nodes.convert_pad,
    "reduce_and": reducing.bool_reduction_conversion("ReduceMin"),
    "reduce_max": reducing.reduction_conversion("ReduceMax"),
    "reduce_min": reducing.reduction_conversion("ReduceMin"),
    "reduce_or": reducing.bool_reduction_conversion("ReduceMax"),
    "reduce_prod": reducing.reduction_conversion("ReduceProd"),
    "reduce_sum": reducing.reduction_conversion("ReduceSum"),
    "reduce_window_max": pooling_nodes.convert_max_pool,
    "reduce_window_min": pooling_nodes.convert_min_pool,
    "reduce_window_sum": pooling_nodes.convert_sum_pool,
    "reshape": rearranging.convert_reshape,
    "rev": slicing_nodes.convert_rev,
    "scatter": indexing_nodes.convert_scatter,
    "slice": slicing_nodes.convert_slice,
    "sort": reducing.convert_sort,
    "split": joining_nodes.convert_split,
    "squeeze": rearranging.convert_squeeze,
    "stack": joining_nodes.convert_stack,
    "tile": joining_nodes.convert_tile,
    "top_k": reducing.convert_top_k,
    "transpose": rearranging.convert_transpose,
    "unstack": joining_nodes.convert_unstack,
}
# Operations that copy values without computing; ONNX Runtime has them for every dtype.
_COPYING_OPERATIONS = (
    *_UNCHANGING_OPERATIONS,
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
    _check_that_onnx_has_dtypes(step)
    _check_that_onnx_runtime_computes_dtypes(step)
    results = CONVERSIONS[name](graph, step)
    has_several_results = isinstance(results, list)
    return results if has_several_results else [results]


def _check_that_onnx_has_dtypes(step: Step) -> None:
    """Raise UnconvertibleError if ONNX lacks the dtype of an input or a result."""
    for variable in (*step.equation_for_two.invars, *step.equation_for_two.outvars):
        dtype_name = str(variable.aval.dtype)  # type: ignore[attr-defined]
        becomes_float32 = "float" in dtype_name
        if not becomes_float32 and dtype_name not in ONNX_TYPES:
            raise UnconvertibleError(
                f"the operation {step.name} of {dtype_name} can't be converted; use another dtype"
            )


def _check_that_onnx_runtime_computes_dtypes(step: Step) -> None:
    """Raise UnconvertibleError if ONNX Runtime may lack the operation for the dtype of an input."""
    only_copies_values = step.name in _COPYING_OPERATIONS
    if only_copies_values:
        return
    tensors = [value for value in step.inputs if isinstance(value, Tensor)]
    for tensor in tensors:
        if tensor.dtype.name not in _COMPUTED_DTYPES:
            raise UnconvertibleError(
                f"the operation {step.name} of {tensor.dtype.name} can't be converted; use one of "
                f"{', '.join(_COMPUTED_DTYPES)}"
            )
