"""JAX's own settings: those that must not change what a run computes are set aside.

A person sets them by environment variables (`JAX_ENABLE_X64=1`), by `jax.config.update`, or by
the context managers of a program that calls this package (`with jax.enable_x64(True):`). All
settings that are not named here are left as they are.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import jax
import jax.experimental

from jaxcifar.errors import UsageError, printable

# What the package computes with: name -> the values that it can compute with, of which the first
# takes the place of any other. Each has a context manager of JAX's, which holds for its thread.
_OURS: dict[str, tuple[Any, ...]] = {
    # These change numbers, and the config of a run does not know them.
    "jax_enable_x64": (False,),
    "jax_default_prng_impl": ("threefry2x32",),
    "jax_threefry_partitionable": (True,),
    "jax_enable_custom_prng": (False,),
    "jax_default_matmul_precision": (None,),
    "jax_disable_jit": (False,),
    "jax_default_device": (None,),
    # These check a person's own program, and neither this package nor Flax passes all of them.
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_numpy_rank_promotion": ("allow", "warn"),
    "jax_check_tracer_leaks": (False,),
    "jax_debug_key_reuse": (False,),
    "jax_no_tracing": (False,),
    "jax_no_execution": (False,),
    "jax_thread_guard": (False,),
    "jax_array_garbage_collection_guard": ("allow", "log", None),
    # `jax_transfer_guard` sets the three below, which can also be set one by one.
    "jax_transfer_guard": ("allow", "log", "log_explicit", None),
    "jax_transfer_guard_host_to_device": ("allow", "log", "log_explicit", None),
    "jax_transfer_guard_device_to_host": ("allow", "log", "log_explicit", None),
    "jax_transfer_guard_device_to_device": ("allow", "log", "log_explicit", None),
}
# Settings that exist only process-wide: name -> (value that the package needs, reason).
_RANDOM = "it changes random numbers, and the config of a run does not know it"
_INSIDE = "it adds run-time checks that our layers do not support"
_REFUSED = {
    "jax_random_seed_offset": (0, _RANDOM),
    "jax_high_dynamic_range_gumbel": (False, _RANDOM),
    "jax_error_checking_behavior_nan": ("ignore", _INSIDE),
    "jax_error_checking_behavior_oob": ("ignore", _INSIDE),
    "jax_error_checking_behavior_divide": ("ignore", _INSIDE),
}
# Settings of the compiler, which may change how numbers are rounded: name -> JAX's default.
_COMPILER = {
    "jax_allow_f16_reductions": True,
    "jax_compiler_enable_remat_pass": True,
    "jax_disable_most_optimizations": False,
    "jax_enable_pgle": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_optimization_level": "UNKNOWN",
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
}
_COMPILER_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")


def use_package_settings() -> list[str]:
    """Set aside all settings that this package can't compute with, in this whole process.

    Returns:
      a line for each of them.

    Raises:
      UsageError: a setting can't be set aside.
    """
    _refuse()
    lines = []
    for name in _OURS:
        if line := _line_if_set_aside(name):
            lines.append(line)
            jax.config.update(name, _OURS[name][0])
    return lines


@contextmanager
def package_settings() -> Iterator[list[str]]:
    """Set aside these settings in this thread only, until the block ends.

    Yields:
      a line for each setting that is set aside.

    Raises:
      UsageError: a setting can't be set aside.
    """
    _refuse()
    lines = []
    with ExitStack() as stack:
        for name in _OURS:
            if line := _line_if_set_aside(name):
                lines.append(line)
                stack.enter_context(_manager(name)(_OURS[name][0]))
        yield lines


def warn_about_settings(lines: list[str], stack_level: int) -> None:
    """Tell a calling program which settings are set aside, as Python's warnings do."""
    for line in lines:
        warnings.warn(line, stacklevel=stack_level + 1)


def compiler_settings() -> dict[str, str]:
    """Return the settings of the compiler that a person has set, by names of their variables."""
    by_variable = {name: os.environ.get(name, "") for name in _COMPILER_VARIABLES}
    by_jax = {
        name.upper(): str(value_of_setting(name))
        for name, default in _COMPILER.items()
        if name in jax.config.values and value_of_setting(name) != default
    }
    return {name: printable(value) for name, value in (by_variable | by_jax).items() if value}


def value_of_setting(name: str) -> Any:
    """Return the value that a JAX setting has in this thread; JAX's enumerations as their text."""
    of_process = jax.config.values[name]  # some settings exist only process-wide
    value = getattr(jax.config, name, of_process)
    return getattr(value, "value", value)


def _line_if_set_aside(name: str) -> str | None:
    if name not in jax.config.values or (value := value_of_setting(name)) in _OURS[name]:
        return None
    variable, ours = name.upper(), _OURS[name][0]
    return f"{variable}={value} is set aside: jaxcifar computes with {variable}={ours}"


def _manager(name: str) -> Callable[[Any], AbstractContextManager]:
    manager = name.removeprefix("jax_")
    if hasattr(jax, manager):
        return getattr(jax, manager)
    return getattr(jax.experimental, manager)  # `enable_x64` until jax 0.8


def _refuse() -> None:
    if not jax.sharding.get_abstract_mesh().empty:
        raise UsageError(
            "jax.set_mesh: this package makes a mesh of its own; call it outside of jax.set_mesh"
        )
    for name, (needed, why) in _REFUSED.items():
        if name in jax.config.values and (value := value_of_setting(name)) != needed:
            variable = name.upper()
            raise UsageError(f"{variable}={value}: {why}; unset it, or set it to {needed}")
