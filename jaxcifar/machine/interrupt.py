"""Stopping a command with Ctrl-C or a signal without losing work."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console

from jaxcifar.errors import OneLineError
from jaxcifar.machine.terminal import line_printer

_SECONDS_UNTIL_RAISED_AGAIN = 0.05
_STDERR = 2  # descriptor of standard error
_EXIT_CODE = 130  # what shells report for a process that SIGINT ended


class Interrupted(OneLineError):
    """The user asked to stop; everything done so far is saved."""


class InterruptGuard:
    """A context manager that always raises `KeyboardInterrupt` if SIGINT (Ctrl-C) came.

    Python drops a `KeyboardInterrupt` that is raised in a destructor or in a callback of the
    garbage collector, and some libraries turn it into another error. So this class remembers the
    signal and raises `KeyboardInterrupt` again, at the latest at the end of the `with` block.

    During an import the process ends at once, with exit code 130, because a C++ library may crash
    if its import is interrupted.

    Args:
      farewell: line to print if the process ends during an import.

    Raises:
      KeyboardInterrupt: SIGINT came.
    """

    def __init__(self, farewell: str) -> None:
        self._farewell = farewell
        self._was_interrupted = False

    def __enter__(self) -> Self:
        self._previous_hook = sys.unraisablehook
        sys.unraisablehook = self._on_unraisable
        self._previous_handler = None
        if threading.current_thread() is threading.main_thread():
            # A shell script starts background commands with SIGINT ignored; keep it ignored.
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                self._previous_handler = signal.signal(signal.SIGINT, self._on_signal)
            unblock_interrupts()
        return self

    def __exit__(
        self, error_type: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        sys.unraisablehook = self._previous_hook
        if self._was_interrupted and not isinstance(error, KeyboardInterrupt | Interrupted):
            raise KeyboardInterrupt from error

    def _on_signal(self, signal_number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            self._end_process()
        self._was_interrupted = True
        raise KeyboardInterrupt

    def _end_process(self) -> None:
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"{self._farewell}\n".encode())
        os._exit(_EXIT_CODE)

    def _on_unraisable(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            return self._previous_hook(unraisable)
        # Python would drop an exception that is raised here, too.
        try:
            _interrupt_main_thread_soon()
        except RuntimeError:  # the system starts no more threads
            self._end_process()


def _interrupt_main_thread_soon() -> None:
    timer = threading.Timer(_SECONDS_UNTIL_RAISED_AGAIN, _interrupt_main_thread)
    timer.daemon = True
    timer.start()


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):  # also interrupts a blocking call such as `time.sleep`
        main_thread = threading.main_thread().ident
        assert main_thread is not None  # the main thread has always been started
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:  # on Windows
        _thread.interrupt_main()


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a stack frame or one of its callers is importing a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def block_interrupts() -> None:
    """Block SIGINT (Ctrl-C), also for a program that `os.execv` starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def unblock_interrupts() -> None:
    """Unblock SIGINT (Ctrl-C); a SIGINT that came while it was blocked is delivered now."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def stop_signal(console: Console) -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one interrupts at once.

    An exception in the middle of a training step could destroy the arrays of the training state. So
    training checks the event between steps instead.

    Args:
      console: where to print that the signal has been received.
    """
    stop_event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop_event  # only the main thread may set handlers
        return
    handled_signals = (signal.SIGINT, signal.SIGTERM)
    previous_handlers = {number: signal.getsignal(number) for number in handled_signals}
    second_handler = previous_handlers[signal.SIGINT]
    if not callable(second_handler):  # SIGINT is ignored, as in the background of a script
        second_handler = signal.default_int_handler

    def on_signal(signal_number: int, frame: FrameType | None) -> None:
        stop_event.set()
        for handled_signal in handled_signals:
            signal.signal(handled_signal, second_handler)
        # The signal may arrive while another line is printed; printing then fails.
        with contextlib.suppress(OSError, RuntimeError):
            line_printer(console)(
                "stopping after the step or compilation under way; once more to stop at once"
            )

    for signal_number in handled_signals:
        signal.signal(signal_number, on_signal)
    try:
        yield stop_event
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)


# A function like `stop_signal`: takes a console, and returns a context with the stop event.
Stopper = Callable[[Console], AbstractContextManager[threading.Event]]
