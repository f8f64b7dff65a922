"""The bench on the screen: the contestant and round measured now, and the time left."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console

from jaxcifar.errors import printable
from jaxcifar.machine.status import Status, show_status
from jaxcifar.machine.terminal import duration, line_printer


class BenchProgress:
    """A status line on a terminal and in a notebook; elsewhere a line after a long silence."""

    def __init__(
        self, console: Console, title: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Show nothing yet: only a `with` statement does.

        Args:
          console: where to show it.
          title: what is measured, such as a network; each line begins with it.
          clock: returns the time in seconds.
        """
        self._console, self._title, self._clock = console, printable(title), clock
        self._print = line_printer(console)
        self._exit = ExitStack()
        self._activity = "starting"
        self._began = self._activity_began = self._expected_at = clock()
        self._seconds: float | None = None
        self._afterwards = 0.0

    def __enter__(self) -> Self:
        self._print = self._exit.enter_context(show_status(self._console, self._print, self.status))
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._print(f"{self._title}: {line}")

    def doing(self, activity: str) -> None:
        """Show another activity from now on."""
        self._activity, self._activity_began = printable(activity), self._clock()

    def expect(self, seconds: float, afterwards: float = 0.0) -> None:
        """Show how long everything will take, by a new estimate.

        Args:
          seconds: that the present activity takes from now on.
          afterwards: seconds that all activities after it take.
        """
        self._seconds, self._afterwards, self._expected_at = seconds, afterwards, self._clock()

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is measured; None before anything is known."""
        if self._seconds is None:
            return None
        spent = self._clock() - self._expected_at
        return max(0.0, self._seconds - spent) + self._afterwards

    def status(self) -> Status:
        """Return what is done now, and how long everything will take."""
        now, left = self._clock(), self.seconds_left
        before = [
            (1, self._title),
            (0, self._activity),
            (2, f"{duration(now - self._activity_began)} so far"),
        ]
        if not left:  # nothing is known, or it takes longer than was expected
            return Status(before, [], done=0.0 if left is None else 1.0)
        spent = now - self._began
        return Status(before, [(0, f"{duration(left)} left")], spent / (spent + left))
