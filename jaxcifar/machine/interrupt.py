"""Stopping at the user's wish without losing anything."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from rich.console import Console

from jaxcifar.errors import OneLine
from jaxcifar.machine.terminal import teller


class Interrupted(OneLine):
    """The user asked to stop; everything done so far is saved."""


@contextmanager
def stop_signal(console: Console) -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second SIGINT interrupts at once.

    An exception raised just anywhere could hit while the arrays of a state are given away to the
    next step; an event is looked at between steps.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        teller(console)("stopping after this step; once more to stop at once")

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What gives, while it is entered, the event that asks to stop; the console tells that it was heard.
Stopper = Callable[[Console], AbstractContextManager[threading.Event]]
