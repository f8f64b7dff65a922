"""Progress of the benchmark on the screen: current contestant and round, and the time left."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console

from jaxcifar.errors import printable
from jaxcifar.machine.status import Status, show_status
from jaxcifar.machine.terminal import ALWAYS_SHOWN, duration, line_printer

# Ranks of texts in the status line: if the line is too short, the highest rank is left out first.
_TITLE_RANK, _DURATION_RANK = 1, 2


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
        self._print_line = line_printer(console)
        self._exit_stack = ExitStack()
        self._activity = "starting"
        now = clock()
        self._start_time = now
        self._activity_start_time = now
        self._time_of_estimate = now
        self._estimated_activity_seconds: float | None = None
        self._estimated_later_seconds = 0.0

    def __enter__(self) -> Self:
        status_line = show_status(self._console, self._print_line, self.status)
        self._print_line = self._exit_stack.enter_context(status_line)
        return self

    def __exit__(
        self,
        error_type: type | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit_stack.__exit__(error_type, error, traceback)

    def print_line_above_status(self, line: str) -> None:
        """Print a line above the status line, where it stays."""
        self._print_line(f"{self._title}: {line}")

    def set_activity(self, activity: str) -> None:
        """Set the text of the current activity, which has just begun."""
        self._activity, self._activity_start_time = printable(activity), self._clock()

    def set_estimate(self, activity_seconds: float, later_seconds: float = 0.0) -> None:
        """Set a new estimate of the time left.

        Args:
          activity_seconds: seconds that the current activity takes from now on.
          later_seconds: seconds that all later activities take.
        """
        self._estimated_activity_seconds = activity_seconds
        self._estimated_later_seconds = later_seconds
        self._time_of_estimate = self._clock()

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the benchmark ends; None before the first estimate."""
        if self._estimated_activity_seconds is None:
            return None
        seconds_since_estimate = self._clock() - self._time_of_estimate
        rest_of_activity = max(0.0, self._estimated_activity_seconds - seconds_since_estimate)
        return rest_of_activity + self._estimated_later_seconds

    def status(self) -> Status:
        """Return the content of the status line: activity, time since it began, and time left."""
        now, seconds_left = self._clock(), self.seconds_left
        activity_seconds = now - self._activity_start_time
        texts_before_bar = [
            (_TITLE_RANK, self._title),
            (ALWAYS_SHOWN, self._activity),
            (_DURATION_RANK, f"{duration(activity_seconds)} so far"),
        ]
        texts_after_bar = []
        if seconds_left is None:
            fraction_done = 0.0
        elif seconds_left == 0:  # the benchmark takes longer than estimated
            fraction_done = 1.0
        else:
            texts_after_bar.append((ALWAYS_SHOWN, f"{duration(seconds_left)} left"))
            seconds_spent = now - self._start_time
            fraction_done = seconds_spent / (seconds_spent + seconds_left)
        return Status(texts_before_bar, texts_after_bar, fraction_done)
