"""Compiling by XLA: with which options, how many programs, how long, as JAX itself counts them."""

import threading
from collections import Counter, defaultdict
from typing import Any

import jax

from jaxcifar.machine.xla_flags import known_options

# By default XLA computes on a CPU whatever it can as early as it can, here the transformed kernels
# of all layers before the first layer, which doubles the memory that a step takes. On accelerators
# the option is without effect.
CPU_OPTIONS = known_options(
    {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    if jax.__version_info__ >= (0, 10)
    else {"xla_cpu_enable_concurrency_optimized_scheduler": False}  # its name until then
)
# Less optimisation, for programs that take long to compile and run on few images, or once.
FAST_COMPILE_OPTIONS = CPU_OPTIONS | known_options({"xla_backend_optimization_level": 0})
# For programs that run once on a single step's images.
SINGLE_CALL_OPTIONS = known_options({"xla_backend_optimization_level": 1})
_EVENT = "/jax/core/compile/backend_compile_duration"
_compiled: Counter[str] = Counter()
_seconds: defaultdict[int, float] = defaultdict(float)  # by thread


def _listen(event: str, duration_secs: float, **details: Any) -> None:
    if event == _EVENT:
        _compiled[details.get("fun_name", "")] += 1
        _seconds[threading.get_ident()] += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


def count_compilations(function: str) -> int:
    """How often a jitted function of that name was compiled since this module was imported."""
    return _compiled[f"jit({function})"]


def compile_seconds() -> float:
    """How long this thread has compiled since this module was imported."""
    return _seconds[threading.get_ident()]
