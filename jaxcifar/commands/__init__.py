"""What a person runs: `python -m experiments.NAME`."""

import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import FrameType

_NEEDED = ("rich", "jax", "flax", "optax")
_SCRIPT = "jaxcifar"


def _end(number: int, frame: FrameType | None) -> None:
    """End the process at once: imports can't be interrupted without a traceback."""
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, b"interrupted before anything was done\n")
    os._exit(130)


def _is_command() -> bool:
    """Return whether this process is one of our commands, not a program that imports this."""
    return sys.argv[0] == "-m" or Path(sys.argv[0]).stem == _SCRIPT


if _is_command():
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    if hasattr(signal, "pthread_sigmask"):  # not on Windows; see `cli._start_again_with`
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"error: this Python ({sys.executable}) has no package {missing[0]}; activate the "
        "environment that jaxcifar is installed in (after make: source .venv/bin/activate)"
    )
