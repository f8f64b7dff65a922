"""Lines on the screen: as wide as it is, broken between words, never within a number."""

import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from jaxcifar.errors import RunError, printable

PrintLine = Callable[[str], None]
REFRESH_SECONDS = 0.5  # between two pictures of what is done now
SILENCE_SECONDS = 25.0  # that a log is without a line; CI and people give up on longer ones
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def line_printer(console: Console, fold: bool = True) -> PrintLine:
    """What prints a line; text from outside in it is shown and not obeyed (`printable`).

    In a notebook lines are text that goes on, where rich would make an output of each.

    Args:
      console: where to print; it is as wide as the terminal, or 80 columns for a file.
      fold: break a longer line between words, and indent what follows. Without, it stays one line,
        as the message of an error must.
    """

    def say(line: str) -> None:
        text = printable(line)
        text = "\n".join(wrap_line(text, console.width)) if fold else text
        if console.is_jupyter:
            print(text, file=console.file)
            return
        console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    return say


def wrap_line(line: str, width: int) -> list[str]:
    """A line broken between words; a word that is longer than the width, such as a path, is not.

    What follows is indented below the value, where a label of 16 columns begins the line, or by 2.
    """
    if len(line) <= width:
        return [line]
    label = len(line) > 16 and line[14:16] == "  " and line[16] != " "
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * (16 if label else 2),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def texts_that_fit(parts: Sequence[tuple[int, str]], width: int) -> list[str]:
    """Those texts that fit into a line, with two spaces between them.

    Args:
      parts: rank and text, in the order in which they are shown; the highest rank is left out
        first, and of what has rank 0 the longest is shortened at last.
      width: columns of the line.
    """
    kept = [(rank, text) for rank, text in parts if text]
    while (over := sum(len(text) + 2 for _, text in kept) - 2 - width) > 0:
        last = max(rank for rank, _ in kept)
        if last == 0:
            texts = [text for _, text in kept]
            long = texts.index(max(texts, key=len))
            texts[long] = printable(texts[long], max(8, len(texts[long]) - over))
            return texts
        kept = [(rank, text) for rank, text in kept if rank != last]
    return [text for _, text in kept]


def pluralize(number: int, what: str) -> str:
    """A number of things: 1 epoch, 5 epochs."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def format_bytes(count: float) -> str:
    """A number of bytes as people say it: 340 MB, 4.1 GB."""
    if count < 1e9:
        return f"{max(1, round(count / 1e6)):,} MB"
    return f"{count / 1e9:,.1f} GB"


def duration(seconds: float) -> str:
    """A time as people say it: 48 s, 101 s, 12 min, 2 h 5 min, 3 days."""
    if seconds < 200:
        return f"{seconds:.0f} s"
    if seconds < 100 * _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        hours, minutes = divmod(round(seconds / _MINUTE), 60)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    return f"{seconds / _DAY:.0f} days"


@contextmanager
def report_in_silence(
    say: PrintLine, status: Callable[[], str], seconds: float = SILENCE_SECONDS
) -> Iterator[PrintLine]:
    """Yield a `say`; a thread prints the status after every long silence.

    Args:
      say: prints a line.
      status: returns the status as text; called in another thread.
      seconds: how long the silence may last.
    """
    over, last = threading.Event(), time.monotonic()

    def told(line: str) -> None:
        nonlocal last
        last = time.monotonic()
        say(line)

    def watch() -> None:
        while not over.wait(max(0.01, last + seconds - time.monotonic())):
            if time.monotonic() - last >= seconds:
                try:
                    told(status())
                except (OSError, RunError):  # told by the thread that does the work
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


@contextmanager
def notebook_line(status: Callable[[], str], seconds: float = REFRESH_SECONDS) -> Iterator[None]:
    """In a notebook: the status as one output, which is replaced whenever it changes, then empty.

    Args:
      status: returns the text to show; called in another thread.
      seconds: seconds between two calls of `status`.
    """
    from IPython.display import display  # there, for this is a notebook

    said, over = status(), threading.Event()
    output = display({"text/plain": said}, raw=True, display_id=True)

    def watch() -> None:
        nonlocal said
        while not over.wait(seconds):
            before, said = said, status()
            if said != before:
                output.update({"text/plain": said}, raw=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        output.update({"text/plain": ""}, raw=True)


@contextmanager
def show_activity(what: str) -> Iterator[None]:
    """Show the current activity on a terminal; standard output is kept for results.

    Args:
      what: the activity. Its line is on standard error and is cleared at the end.
    """
    if not sys.stderr.isatty():
        yield
        return
    line = f"{what} ..."
    print(line, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(" " * len(line), end="\r", file=sys.stderr, flush=True)


@contextmanager
def report_elapsed_time(console: Console, say: PrintLine, what: str) -> Iterator[PrintLine]:
    """Like `never_silent`, for an activity whose end can't be estimated: report the time so far.

    Args:
      console: what `say` prints to; on a terminal nothing is added.
      say: prints a line.
      what: the activity, for the lines.
    """
    if console.is_terminal:
        yield say
        return
    began = time.monotonic()
    status = lambda: f"{what}, {duration(time.monotonic() - began)} so far"  # noqa: E731
    with report_in_silence(say, status) as told:
        yield told
