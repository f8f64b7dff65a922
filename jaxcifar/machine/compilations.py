"""How many programs XLA was asked to compile, as JAX itself counts them."""

from collections import Counter
from typing import Any

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"
_compiled: Counter[str] = Counter()


def _listen(event: str, duration: float, **details: Any) -> None:
    if event == _EVENT:
        _compiled[details.get("fun_name", "")] += 1


jax.monitoring.register_event_duration_secs_listener(_listen)


def count_compilations(function: str) -> int:
    """How often a jitted function of that name was compiled since this module was imported."""
    return _compiled[f"jit({function})"]
