"""Progress of the benchmark on the screen: current contestant and round, and the time left."""

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
    """Shows the progress of the benchmark, inside a `with` statement.

    On a terminal and in a notebook it is a status line. Elsewhere, as in a log, a line is printed
    after a long silence.
    """

    def __init__(
        self, console: Console, title: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create the progress without showing anything.

        Args:
          console: where to show the progress.
          title: what is measured, such as a network's name; begins each line.
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
        """Print a line that stays on the screen."""
        self._print(f"{self._title}: {line}")

    def doing(self, activity: str) -> None:
        """Set the text of the current activity, which has just begun."""
        self._activity, self._activity_began = printable(activity), self._clock()

    def expect(self, seconds: float, afterwards: float = 0.0) -> None:
        """Set a new estimate of the time left.

        Args:
          seconds: seconds that the current activity takes from now on.
          afterwards: seconds that all later activities take.
        """
        self._seconds, self._afterwards, self._expected_at = seconds, afterwards, self._clock()

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the benchmark ends; None before the first estimate."""
        if self._seconds is None:
            return None
        spent = self._clock() - self._expected_at
        return max(0.0, self._seconds - spent) + self._afterwards

    def status(self) -> Status:
        """Return the content of the status line: activity, time since it began, and time left."""
        now, left = self._clock(), self.seconds_left
        before = [
            (1, self._title),
            (0, self._activity),
            (2, f"{duration(now - self._activity_began)} so far"),
        ]
        if left is None:
            return Status(before, texts_after_bar=[], fraction_done=0.0)
        if left == 0:  # the benchmark takes longer than estimated
            return Status(before, texts_after_bar=[], fraction_done=1.0)
        spent = now - self._began
        after = [(0, f"{duration(left)} left")]
        return Status(before, after, fraction_done=spent / (spent + left))
