"""Compiler options for XLA, and counts of compiled programs and compilation time."""

import threading
from collections import Counter, defaultdict
from typing import Any

import jax

from jaxcifar.machine.xla_flags import known_options

# By default, XLA on a CPU computes each value as early as possible. For this package that means the
# transformed kernels of all layers before the first layer, which doubles the memory of a step.
# The option has no effect on accelerators.
CPU_OPTIONS = known_options(
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    if jax.__version_info__ >= (0, 10)
    else {"xla_cpu_enable_concurrency_optimized_scheduler": False}  # its name before JAX 0.10
)
# Little optimisation, for programs that take long to compile and run once or on few images.
FAST_COMPILE_OPTIONS = CPU_OPTIONS | known_options({"xla_backend_optimization_level": 0})
# Some optimisation, for programs that run once on the images of one step.
SINGLE_CALL_OPTIONS = known_options({"xla_backend_optimization_level": 1})
# For programs in float32, where oneDNN (see `onednn`) is no faster than XLA's own code. XLA can't
# store programs that call oneDNN, so that each start of a command would compile them again.
WITHOUT_ONEDNN_OPTIONS = known_options({"xla_cpu_experimental_onednn_custom_call": False})
_COMPILATION_EVENT = "/jax/core/compile/backend_compile_duration"
_counts_by_program: Counter[str] = Counter()
_seconds_by_thread: defaultdict[int, float] = defaultdict(float)


def _record_compilation(event: str, duration_secs: float, **details: Any) -> None:
    if event == _COMPILATION_EVENT:
        _counts_by_program[details.get("fun_name", "")] += 1
        _seconds_by_thread[threading.get_ident()] += duration_secs


jax.monitoring.register_event_duration_secs_listener(_record_compilation)


def count_compilations(function_name: str) -> int:
    """Return how often XLA has compiled a jitted function since this module was imported.

    Args:
      function_name: name of the Python function.
    """
    return _counts_by_program[f"jit({function_name})"]


def compile_seconds() -> float:
    """Return the seconds that XLA has compiled in this thread since this module was imported."""
    return _seconds_by_thread[threading.get_ident()]
