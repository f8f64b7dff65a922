"""The commands that users run: `jaxcifar NAME`, or `python -m experiments.NAME` in a checkout."""

import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import FrameType

_REQUIRED_PACKAGES = ("rich", "jax", "flax", "optax")


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Handle Ctrl-C while modules are imported: end the process with a line, not a traceback."""
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, b"interrupted before anything was done\n")
    os._exit(130)


def _is_command() -> bool:
    """Return whether this process runs a jaxcifar command, not a program that imports jaxcifar."""
    return sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "jaxcifar"


if _is_command():
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows; see `cli._start_again_with`
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

if missing := [name for name in _REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"error: this Python ({sys.executable}) has no package {missing[0]}; activate the "
        "environment that jaxcifar is installed in (after make: source .venv/bin/activate)"
    )
