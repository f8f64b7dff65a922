"""A status line on a terminal, in a notebook or in a log: what is done now, and how far it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxcifar.machine.terminal import (
    REFRESH_SECONDS,
    PrintLine,
    notebook_line,
    report_in_silence,
    texts_that_fit,
)

_BAR = " " * 10  # stands for the bar, which is at least that wide


class Status(NamedTuple):
    """The content of a status line.

    Attributes:
      before: texts on the left of the bar, with ranks as `fitted` takes them.
      after: texts on the right of the bar, likewise.
      done: the part of the work that is done, from 0 to 1.
    """

    before: Sequence[tuple[int, str]]
    after: Sequence[tuple[int, str]]
    done: float

    def line(self, width: int) -> str:
        """Return the texts as one line, without a bar."""
        return "  ".join(texts_that_fit([*self.before, *self.after], width))

    def around_a_bar(self, width: int) -> Table:
        """Return the texts around a bar, which takes the room that they leave."""
        texts = texts_that_fit([*self.before, (0, _BAR), *self.after], width - 1)
        bar = ProgressBar(total=1.0, completed=self.done)
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for text in texts:
            line.add_column(no_wrap=True, ratio=1 if text == _BAR else None)
        line.add_row(*(bar if text == _BAR else Text(text) for text in texts))
        return line


@contextmanager
def show_status(
    console: Console, say: PrintLine, status: Callable[[], Status]
) -> Iterator[PrintLine]:
    """Show the status until the block ends.

    A terminal has a bar. A notebook has a line that is replaced. Elsewhere a line is printed
    whenever nothing else was for long.

    Args:
      console: what `say` prints to.
      say: prints a line.
      status: what to show; called in another thread.

    Yields:
      the `say` to be used in the block.
    """
    if console.is_jupyter:
        with notebook_line(lambda: status().line(console.width)):
            yield say
    elif console.is_terminal:
        with Live(
            get_renderable=lambda: status().around_a_bar(console.width),
            console=console,
            refresh_per_second=1 / REFRESH_SECONDS,
            transient=True,
        ):
            yield say
    else:
        with report_in_silence(say, lambda: status().line(console.width)) as told:
            yield told
