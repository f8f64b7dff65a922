"""Importing this module sets `XLA_FLAGS` so that the programs of tests compile quickly.

`import jaxcifar` adds flags for oneDNN where that is faster, unless they are set already. So
conftest.py imports this module first: the package's flags would look like the caller's, and win.
"""

import os

CALLERS_FLAGS = "JAXCIFAR_TEST_CALLERS_XLA_FLAGS"  # the variable that keeps the flags of the caller
# Most of the tests' time is XLA's compiling, a fifth of it optimising what runs for a moment. Its
# older way of writing a CPU's loops compiles a training program in three fifths of the time.
# Programs that call oneDNN can't be kept, and only some processors compute in bfloat16 by it.
_COMPILE_QUICKLY = {
    "xla_backend_optimization_level": "1",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_experimental_onednn_custom_call": "false",
}


def with_quick_compilation(callers):
    """XLA_FLAGS with flags that compile quickly before those of the caller, which win."""
    from jaxcifar.machine.xla_flags import is_known_flag  # late, because it imports the package

    if callers and not callers.startswith("-"):  # the name of a file, to which nothing can be added
        return callers
    ours = [f"--{name}={value}" for name, value in _COMPILE_QUICKLY.items() if is_known_flag(name)]
    return " ".join([*ours, callers]).strip()


if CALLERS_FLAGS not in os.environ:  # the processes that tests start inherit both variables
    os.environ[CALLERS_FLAGS] = os.environ.get("XLA_FLAGS", "").strip()
    os.environ["XLA_FLAGS"] = with_quick_compilation(os.environ[CALLERS_FLAGS])
