"""Messages about a lost process of the same run: one line, without JAX's C++ stack."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator

import jax

from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.system import WINDOWS

LOST_PROCESS_MESSAGE = (
    "another process ended or can't be reached: see what it said, then start all of them again to "
    "go on from the newest checkpoint"
)
_SIGNS = ("Gloo", "NCCL", "UNAVAILABLE", "oordination", "arrier timed out")
_JAX_GIVES_UP = b"JAX distributed service detected fatal errors"  # said before the abort
_MOST_BYTES = 2**20  # of the C++ messages
_handlers: list[Callable] = []  # kept alive, because C code calls them


def lost_process_error(error: Exception) -> RunError | None:
    """Return the error to raise if a lost process caused `error`; else None."""
    line = first_line(error)
    # `process_count()` raises where JAX finds no device, so call it last.
    if any(sign in line for sign in _SIGNS) and jax.process_count() > 1:
        return RunError(LOST_PROCESS_MESSAGE)
    return None


@contextlib.contextmanager
def report_lost_processes() -> Iterator[None]:
    """Report in one line that another process is lost.

    Raises:
      RunError: instead of the error that the lost process caused.
    """
    try:
        yield
    except (RunError, UsageError):
        raise
    except Exception as error:
        if lost := lost_process_error(error):
            raise lost from error
        raise


def hold_back_cpp_messages() -> Callable[[], None]:
    """Keep C++ messages from the screen until it is known whether they matter.

    If another process is lost, JAX prints a page of C++ stack and aborts this process. It does so
    in a thread of its own, where Python can catch no exception. So C++ code gets a file as its
    standard error, and a handler of the abort reads the reason there. For a lost process the
    handler prints one line, for any other reason the whole file. Python keeps the user's standard
    error.

    Returns:
      a function that undoes this.
    """
    if WINDOWS or sys.stderr is None:
        return lambda: None  # JAX's own messages stay
    sys.stderr.flush()
    python_stream = sys.stderr
    screen = os.dup(2)
    with tempfile.TemporaryFile() as file:
        messages = os.dup(file.fileno())
    os.dup2(messages, 2)
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    sys.stderr = os.fdopen(screen, "w", buffering=1, encoding=encoding, errors=errors)
    if faulthandler.is_enabled():
        faulthandler.enable(sys.stderr)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def on_abort(number: int) -> None:
        said = os.pread(messages, _MOST_BYTES, 0)
        if _JAX_GIVES_UP in said:
            os.write(screen, f"error: {LOST_PROCESS_MESSAGE}\n".encode())
            os._exit(1)
        os.write(screen, said)  # and the abort goes on

    _handlers.append(on_abort)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), on_abort)

    def undo() -> None:
        ctypes.CDLL(None).signal(int(signal.SIGABRT), None)
        sys.stderr.flush()
        os.dup2(screen, 2)
        sys.stderr = python_stream
        if faulthandler.is_enabled():
            faulthandler.enable(sys.stderr)

    return undo
