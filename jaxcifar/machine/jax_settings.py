"""Overriding JAX settings that would change the results of a run.

Users set them by environment variables (`JAX_ENABLE_X64=1`), by `jax.config.update`, or by context
managers in their programs (`with jax.enable_x64(True):`). Settings that are not listed in this
module keep the user's values.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import jax
import jax.experimental

from jaxcifar.errors import UsageError, printable
from jaxcifar.machine import onednn

# Settings with values that the package accepts: name -> accepted values. The first one overrides
# any other value. JAX has a context manager for each setting, which is valid for one thread.
_ACCEPTED_VALUES: dict[str, tuple[Any, ...]] = {
    # These change numbers, and the config of a run does not record them.
    "jax_enable_x64": (False,),
    "jax_default_prng_impl": ("threefry2x32",),
    "jax_threefry_partitionable": (True,),
    "jax_enable_custom_prng": (False,),
    "jax_default_matmul_precision": (None,),
    "jax_disable_jit": (False,),
    "jax_default_device": (None,),
    # These are checks for the user's program. This package and Flax do not pass all of them.
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
_CHANGES_RANDOM_NUMBERS = "it changes random numbers, and the config of a run does not record it"
_ADDS_CHECKS = "it adds run-time checks that jaxcifar's layers do not support"
# Settings that can't be overridden for one thread: name -> (value that the package needs, reason).
_REQUIRED_VALUES = {
    "jax_random_seed_offset": (0, _CHANGES_RANDOM_NUMBERS),
    "jax_high_dynamic_range_gumbel": (False, _CHANGES_RANDOM_NUMBERS),
    "jax_error_checking_behavior_nan": ("ignore", _ADDS_CHECKS),
    "jax_error_checking_behavior_oob": ("ignore", _ADDS_CHECKS),
    "jax_error_checking_behavior_divide": ("ignore", _ADDS_CHECKS),
}
# Compiler settings, which may change how numbers are rounded: name -> JAX's default.
_COMPILER_DEFAULTS = {
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
    """Override, in the whole process, all JAX settings that this package can't compute with.

    Returns:
      one message for each overridden setting, and one if JAX started too early for fast bfloat16.

    Raises:
      UsageError: a setting has a value that can't be overridden.
    """
    messages = _messages_of_onednn()
    _require_usable_settings()
    for name in _ACCEPTED_VALUES:
        message = _override_message(name)
        if message is not None:
            messages.append(message)
            jax.config.update(name, _replacement_value(name))
    return messages


@contextmanager
def package_settings() -> Iterator[list[str]]:
    """Override JAX settings that this package can't use, in this thread until the block ends.

    Yields:
      one message for each overridden setting, and one if JAX started too early for fast bfloat16.

    Raises:
      UsageError: a setting has a value that can't be overridden.
    """
    messages = _messages_of_onednn()
    _require_usable_settings()
    with ExitStack() as stack:
        for name in _ACCEPTED_VALUES:
            message = _override_message(name)
            if message is not None:
                messages.append(message)
                set_in_block = _context_manager_of(name)
                stack.enter_context(set_in_block(_replacement_value(name)))
        yield messages


def _messages_of_onednn() -> list[str]:
    """Turn on oneDNN in XLA where it is faster; return a message if it is too late for that."""
    message = onednn.turn_on_onednn()
    return [] if message is None else [message]


def warn_about_settings(messages: list[str], stack_level: int) -> None:
    """Issue a Python warning for each message about JAX's settings.

    Args:
      messages: the messages.
      stack_level: number of stack frames from the caller of this function to the user's program.
    """
    for message in messages:
        warnings.warn(message, stacklevel=stack_level + 1)


def compiler_settings() -> dict[str, str]:
    """Return XLA compiler settings that are not the default: environment variable -> value.

    They were changed by the user, or by `onednn.turn_on_onednn`.
    """
    changed_settings = {}
    for variable in _COMPILER_VARIABLES:
        value = os.environ.get(variable)
        if value:
            changed_settings[variable] = printable(value)
    for name, default in _COMPILER_DEFAULTS.items():
        if name in jax.config.values and value_of_setting(name) != default:
            changed_settings[name.upper()] = printable(value_of_setting(name))
    return changed_settings


def value_of_setting(name: str) -> Any:
    """Return the value of a JAX setting in this thread; a member of an enumeration as text."""
    process_value = jax.config.values[name]
    value = getattr(jax.config, name, process_value)  # some settings exist only process-wide
    return getattr(value, "value", value)


def _override_message(name: str) -> str | None:
    """Return the message about a JAX setting that must be overridden; None if its value is fine."""
    if name not in jax.config.values:
        return None  # this version of JAX has no such setting
    value = value_of_setting(name)
    if value in _ACCEPTED_VALUES[name]:
        return None
    variable = name.upper()
    new_value = _replacement_value(name)
    return f"{variable}={value} is set aside: jaxcifar computes with {variable}={new_value}"


def _replacement_value(name: str) -> Any:
    return _ACCEPTED_VALUES[name][0]


def _context_manager_of(name: str) -> Callable[[Any], AbstractContextManager]:
    """Return JAX's function that sets a setting within a `with` block."""
    function = name.removeprefix("jax_")
    if hasattr(jax, function):
        return getattr(jax, function)
    return getattr(jax.experimental, function)  # `enable_x64` before jax 0.8


def _require_usable_settings() -> None:
    """Raise a `UsageError` if a JAX setting has an unsuitable value that can't be overridden."""
    if not jax.sharding.get_abstract_mesh().empty:
        raise UsageError(
            "jax.set_mesh: jaxcifar makes its own mesh; call jaxcifar outside of jax.set_mesh"
        )
    for name, (needed, reason) in _REQUIRED_VALUES.items():
        if name not in jax.config.values:
            continue  # this version of JAX has no such setting
        value = value_of_setting(name)
        if value != needed:
            variable = name.upper()
            raise UsageError(f"{variable}={value}: {reason}; unset it, or set it to {needed}")
