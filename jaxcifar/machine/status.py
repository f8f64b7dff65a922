"""A status line with the current activity and its progress, for terminals, notebooks and logs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxcifar.machine.terminal import (
    ALWAYS_SHOWN,
    REFRESH_SECONDS,
    PrintLine,
    RankedText,
    print_after_silence,
    show_notebook_line,
    texts_that_fit,
)

_BAR_PLACEHOLDER = " " * 10  # the progress bar is at least as wide


class Status(NamedTuple):
    """The content of a status line.

    Attributes:
      texts_before_bar: (rank, text) of texts on the left of the bar. If the line is too short,
        texts of a high rank are left out first, and texts of the rank `ALWAYS_SHOWN` never.
      texts_after_bar: (rank, text) of texts on the right of the bar.
      fraction_done: finished fraction of the work, from 0 to 1.
    """

    texts_before_bar: Sequence[RankedText]
    texts_after_bar: Sequence[RankedText]
    fraction_done: float

    def line(self, width: int) -> str:
        """Return the texts of the status as one line of up to `width` columns, without a bar."""
        return "  ".join(texts_that_fit([*self.texts_before_bar, *self.texts_after_bar], width))

    def line_with_bar(self, width: int) -> Table:
        """Return the texts as one line; a progress bar fills the rest of `width` columns."""
        bar_text = (ALWAYS_SHOWN, _BAR_PLACEHOLDER)
        ranked_texts = [*self.texts_before_bar, bar_text, *self.texts_after_bar]
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        cells: list[ProgressBar | Text] = []
        for text in texts_that_fit(ranked_texts, width - 1):
            if text == _BAR_PLACEHOLDER:
                line.add_column(no_wrap=True, ratio=1)  # as wide as the other columns allow
                cells.append(ProgressBar(total=1.0, completed=self.fraction_done))
            else:
                line.add_column(no_wrap=True)
                cells.append(Text(text))
        line.add_row(*cells)
        return line


@contextmanager
def show_status(
    console: Console, print_line: PrintLine, status: Callable[[], Status]
) -> Iterator[PrintLine]:
    """Show a status line that changes, until the block ends.

    A terminal shows a progress bar. A notebook shows one line that is replaced. In a file, such as
    a log, the status is printed after `terminal.SILENCE_SECONDS` without other lines.

    Args:
      console: the console that `print_line` prints to.
      print_line: prints a line that stays.
      status: returns the current status; called in another thread.

    Yields:
      the function that the block must use to print lines.
    """
    if console.is_jupyter:
        with show_notebook_line(lambda: status().line(console.width)):
            yield print_line
    elif console.is_terminal:
        with Live(
            get_renderable=lambda: status().line_with_bar(console.width),
            console=console,
            refresh_per_second=1 / REFRESH_SECONDS,
            transient=True,
        ):
            yield print_line
    else:
        with print_after_silence(print_line, lambda: status().line(console.width)) as print_in_log:
            yield print_in_log
