"""XLA's compiler options for a training program, which depend on the dtype it computes in."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxcifar.machine.compilations import WITHOUT_ONEDNN_OPTIONS
from jaxcifar.training.program import Program

Result = TypeVar("Result")


def options_for_dtype(program: Program) -> dict[str, Any]:
    """Return the compiler options that a program needs because of the dtype it computes in."""
    return {} if _may_call_onednn(program) else WITHOUT_ONEDNN_OPTIONS


def _may_call_onednn(program: Program) -> bool:
    return program.dtype == jnp.bfloat16


def jit_for_dtype_of_program(
    function: Callable[..., Result],
    static_argnums: tuple[int, ...],
    compiler_options: dict[str, Any],
) -> Callable[..., Result]:
    """Return `function` compiled by `jax.jit`, with compiler options that fit a program's dtype.

    Args:
      function: the function; its first argument is a `Program`, on which the compiled code depends.
      static_argnums: indices of the arguments that the compiled code depends on, as for `jax.jit`.
      compiler_options: other options, for programs of any dtype.
    """
    jit = partial(jax.jit, function, static_argnums=static_argnums)
    with_onednn = jit(compiler_options=compiler_options)
    without_onednn = jit(compiler_options=compiler_options | WITHOUT_ONEDNN_OPTIONS)

    @wraps(function)
    def function_for_dtype(program: Program, *other_arguments: Any) -> Result:
        compiled_function = with_onednn if _may_call_onednn(program) else without_onednn
        return compiled_function(program, *other_arguments)

    return function_for_dtype
