"""One-line errors when another process of the same run is lost, without JAX's C++ stack."""

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
    "another process ended or can't be reached: see its output, then start all processes again to "
    "go on from the newest checkpoint"
)
_SIGNS_OF_A_LOST_PROCESS = ("Gloo", "NCCL", "UNAVAILABLE", "oordination", "arrier timed out")
_JAX_ABORT_MESSAGE = b"JAX distributed service detected fatal errors"  # printed before the abort
_MAX_MESSAGE_BYTES = 2**20
_STDERR = 2  # descriptor of standard error
_abort_handlers: list[Callable] = []  # keeps handlers alive, because C code calls them


def lost_process_error(error: Exception) -> RunError | None:
    """Return a one-line error if another process was lost and caused `error`; else None."""
    line = first_line(error)
    # `process_count()` raises where JAX finds no device, so call it last.
    if any(sign in line for sign in _SIGNS_OF_A_LOST_PROCESS) and jax.process_count() > 1:
        return RunError(LOST_PROCESS_MESSAGE)
    return None


@contextlib.contextmanager
def report_lost_processes() -> Iterator[None]:
    """Turn errors that the loss of another process causes into a one-line error.

    Raises:
      RunError: another process is lost.
    """
    try:
        yield
    except (RunError, UsageError):
        raise
    except Exception as error:
        lost_error = lost_process_error(error)
        if lost_error is None:
            raise
        raise lost_error from error


def hold_back_cpp_messages() -> Callable[[], None]:
    """Write C++ messages to a temporary file, and print them only if the process aborts.

    If another process is lost, JAX prints a page of C++ stack and aborts this process. It does so
    in a C++ thread, where Python can't catch an exception. So C++ code gets a file as its standard
    error, and a signal handler for the abort reads the reason there. If a process is lost, the
    handler prints one line instead. For any other reason it prints the whole file. Python code
    still prints to the user's standard error.

    Returns:
      a function that connects C++ code to the user's standard error again.
    """
    if WINDOWS or sys.stderr is None:
        return lambda: None  # JAX's own messages stay
    sys.stderr.flush()
    python_stream = sys.stderr
    user_stderr = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        message_file = os.dup(file.fileno())
    os.dup2(message_file, _STDERR)
    sys.stderr = os.fdopen(
        user_stderr, "w", buffering=1, encoding=python_stream.encoding, errors=python_stream.errors
    )
    if faulthandler.is_enabled():
        faulthandler.enable(sys.stderr)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def on_abort(signal_number: int) -> None:
        text = os.pread(message_file, _MAX_MESSAGE_BYTES, 0)
        if _JAX_ABORT_MESSAGE in text:
            os.write(user_stderr, f"error: {LOST_PROCESS_MESSAGE}\n".encode())
            os._exit(1)
        os.write(user_stderr, text)  # when this handler returns, the abort goes on

    _abort_handlers.append(on_abort)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), on_abort)

    def restore_cpp_stderr() -> None:
        ctypes.CDLL(None).signal(int(signal.SIGABRT), None)
        sys.stderr.flush()
        os.dup2(user_stderr, _STDERR)
        sys.stderr = python_stream
        if faulthandler.is_enabled():
            faulthandler.enable(sys.stderr)

    return restore_cpp_stderr
