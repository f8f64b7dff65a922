"""Printing lines and a changing status on terminals, in notebooks and in logs."""

import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from jaxcifar.errors import RunError, printable

PrintLine = Callable[[str], None]
RankedText = tuple[int, str]  # texts with the highest rank are left out of a short line first
ALWAYS_SHOWN = 0  # rank of texts that are never left out
REFRESH_SECONDS = 0.5  # between two updates of a status line
SILENCE_SECONDS = 25.0  # a log without new lines for longer looks like a program that hangs
_MIN_WAIT_SECONDS = 0.01
_VALUE_COLUMN = 16  # of a line such as "data set:      cifar10"
_MIN_SHORTENED_LENGTH = 8  # characters of a text that is shortened to fit into a line
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def line_printer(console: Console, wrap: bool = True) -> PrintLine:
    """Return a function that prints a line to a console, with control characters escaped.

    In a notebook it uses Python's `print`, because rich would make a separate output of each line.

    Args:
      console: where to print. A console is as wide as its terminal, or 80 columns for a file.
      wrap: wrap a long line between words. Error messages are not wrapped in a file.
    """

    def print_line(line: str) -> None:
        text = printable(line)
        if wrap:
            text = "\n".join(wrap_line(text, console.width))
        if console.is_jupyter:
            print(text, file=console.file)
            return
        console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    return print_line


def wrap_line(line: str, width: int) -> list[str]:
    """Wrap a text between words, and return its lines of up to `width` columns.

    Words longer than a line are not divided. Continuation lines are indented by 2 columns. If the
    text begins with a label, and a value follows in column 16, continuation lines are indented to
    the value.
    """
    if len(line) <= width:
        return [line]
    gap_before_value = line[_VALUE_COLUMN - 2 : _VALUE_COLUMN]
    value = line[_VALUE_COLUMN:]
    has_label = gap_before_value == "  " and value != "" and not value.startswith(" ")
    indent_columns = _VALUE_COLUMN if has_label else 2
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent_columns,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def texts_that_fit(ranked_texts: Sequence[RankedText], width: int) -> list[str]:
    """Return the texts of a status line that fit into `width` columns, with two spaces between.

    If the line is too short, the texts with the highest rank are left out first. Texts with the
    rank `ALWAYS_SHOWN` stay; as the last resort, the longest of them is shortened.

    Args:
      ranked_texts: (rank, text) for each text, in the order of the line; empty texts are ignored.
      width: columns of the line.
    """
    remaining = [(rank, text) for rank, text in ranked_texts if text]
    while True:
        texts = [text for _, text in remaining]
        excess = len("  ".join(texts)) - width
        if excess <= 0:
            return texts
        highest_rank = max(rank for rank, _ in remaining)
        if highest_rank == ALWAYS_SHOWN:
            longest = max(texts, key=len)
            max_length = max(_MIN_SHORTENED_LENGTH, len(longest) - excess)
            texts[texts.index(longest)] = printable(longest, max_length)
            return texts
        remaining = [(rank, text) for rank, text in remaining if rank != highest_rank]


def pluralize(number: int, noun: str) -> str:
    """Return a number with a noun in singular or plural, such as "1 epoch" or "5 epochs"."""
    ending = "" if number == 1 else "s"
    return f"{number:,} {noun}{ending}"


def format_bytes(byte_count: float) -> str:
    """Return a number of bytes as text, such as "340 MB" or "4.1 GB"."""
    if byte_count < 1e9:
        return f"{max(1, round(byte_count / 1e6)):,} MB"
    return f"{byte_count / 1e9:,.1f} GB"


def duration(seconds: float) -> str:
    """Return a duration as text, such as "48 s", "101 s", "12 min", "2 h 5 min" or "3 days"."""
    if seconds < 200:
        return f"{seconds:.0f} s"
    if seconds < 100 * _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        hours, minutes = divmod(round(seconds / _MINUTE), 60)
        are_minutes_shown = minutes > 0 and hours < 10
        return f"{hours} h {minutes} min" if are_minutes_shown else f"{hours} h"
    return f"{seconds / _DAY:.0f} days"


@contextmanager
def print_after_silence(
    print_line: PrintLine, status: Callable[[], str], silence_seconds: float = SILENCE_SECONDS
) -> Iterator[PrintLine]:
    """Print a status line whenever the `with` block has printed nothing for a long time.

    Args:
      print_line: prints a line.
      status: returns the status as text; called in another thread.
      silence_seconds: time without a printed line after which the status is printed.

    Yields:
      the function that the block must use to print lines.
    """
    block_ended = threading.Event()
    last_printed_at = time.monotonic()

    def print_and_note_time(line: str) -> None:
        nonlocal last_printed_at
        last_printed_at = time.monotonic()
        print_line(line)

    def print_status_when_silent() -> None:
        while True:
            seconds_left = last_printed_at + silence_seconds - time.monotonic()
            if block_ended.wait(max(_MIN_WAIT_SECONDS, seconds_left)):
                return
            if time.monotonic() - last_printed_at >= silence_seconds:
                try:
                    print_and_note_time(status())
                except (OSError, RunError):  # the block's next line raises this error too
                    return

    thread = threading.Thread(target=print_status_when_silent, daemon=True)
    thread.start()
    try:
        yield print_and_note_time
    finally:
        block_ended.set()
        thread.join()


@contextmanager
def show_notebook_line(
    status: Callable[[], str], seconds_between_updates: float = REFRESH_SECONDS
) -> Iterator[None]:
    """Show the status as one line in a notebook until the block ends; keep it up to date.

    Args:
      status: returns the text to show; called in another thread.
      seconds_between_updates: seconds between two calls of `status`.
    """
    from IPython.display import display  # every notebook has IPython, other Pythons may not

    block_ended = threading.Event()
    shown_text = status()
    output = display({"text/plain": shown_text}, raw=True, display_id=True)

    def replace_line(new_text: str) -> None:
        output.update({"text/plain": new_text}, raw=True)

    def keep_line_up_to_date() -> None:
        nonlocal shown_text
        while not block_ended.wait(seconds_between_updates):
            new_text = status()
            if new_text != shown_text:
                shown_text = new_text
                replace_line(new_text)

    thread = threading.Thread(target=keep_line_up_to_date, daemon=True)
    thread.start()
    try:
        yield
    finally:
        block_ended.set()
        thread.join()
        replace_line("")


@contextmanager
def show_activity(activity: str) -> Iterator[None]:
    """Show the current activity on a terminal while the block runs.

    The line goes to standard error, because standard output is for results. It is cleared at the
    end. If standard error is not a terminal, nothing is shown.

    Args:
      activity: the text to show.
    """
    if not sys.stderr.isatty():
        yield
        return
    line = f"{activity} ..."
    print(line, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(" " * len(line), end="\r", file=sys.stderr, flush=True)


@contextmanager
def report_elapsed_time(
    console: Console, print_line: PrintLine, activity: str
) -> Iterator[PrintLine]:
    """Print how long an activity has lasted whenever nothing else was printed for a long time.

    Use it for activities whose end can't be estimated. On a terminal nothing is printed.

    Args:
      console: the console that `print_line` prints to.
      print_line: prints a line.
      activity: the activity's name; begins the printed line.

    Yields:
      the function that the block must use to print lines.
    """
    if console.is_terminal:
        yield print_line
        return
    began = time.monotonic()

    def status() -> str:
        return f"{activity}, {duration(time.monotonic() - began)} so far"

    with print_after_silence(print_line, status) as print_in_log:
        yield print_in_log
