"""The commands that users run: `jaxcifar NAME`, or `python -m experiments.NAME` in a checkout."""

import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import FrameType

_REQUIRED_PACKAGES = ("rich", "jax", "flax", "optax")
_STANDARD_ERROR = 2  # number of the open file
_INTERRUPTED_EXIT_CODE = 130


def _exit_on_interrupt_during_imports(signal_number: int, frame: FrameType | None) -> None:
    """Handle Ctrl-C while modules are imported: end the process with a line, not a traceback."""
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(_STANDARD_ERROR, b"interrupted before anything was done\n")
    os._exit(_INTERRUPTED_EXIT_CODE)


def _is_jaxcifar_command() -> bool:
    """Return whether this process runs a jaxcifar command, not a program that imports jaxcifar."""
    return sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "jaxcifar"


if _is_jaxcifar_command():
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_on_interrupt_during_imports)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows; see `cli._restart_process_with`
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

_missing_packages = [
    package for package in _REQUIRED_PACKAGES if importlib.util.find_spec(package) is None
]
if _missing_packages:
    sys.exit(
        f"error: this Python ({sys.executable}) has no package {_missing_packages[0]}; activate "
        "the environment that jaxcifar is installed in (after make: source .venv/bin/activate)"
    )
