"""Notices and tables on the screen, and files that commands write."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jaxcifar.errors import RunError, printable
from jaxcifar.machine.files import atomic_write, write_text

_MIN_NUMBER_WIDTH = 6  # characters of a number column with wrapped texts


def screen() -> Console:
    """Return a console on standard output that neither highlights text nor replaces emoji codes."""
    return Console(emoji=False, highlight=False)


def not_cifar10_notice(dataset_title: str) -> Panel:
    """Return a red notice that the images of the data set with this title are not CIFAR-10."""
    title_without_remark = dataset_title.partition(" (")[0]
    return Panel(
        f"NOT CIFAR-10: the images are {title_without_remark}, drawn by a program.",
        style="bold red",
        expand=False,
    )


def make_table(
    title: str,
    text_columns: Sequence[str],
    number_columns: Sequence[str],
    *,
    wrap_text: bool = True,
    wrap_numbers: bool = False,
) -> Table:
    """Return a table without rows.

    Args:
      title: title of the table; "" for no title.
      text_columns: headings of the columns that are aligned left.
      number_columns: headings of the columns that are aligned right, after the others.
      wrap_text: wrap long texts in the left columns.
      wrap_numbers: wrap long texts in the right columns and their headings.
    """
    table = Table(
        title=Text(printable(title)) if title else None, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for heading in text_columns:
        table.add_column(heading, overflow="fold", no_wrap=not wrap_text)
    for heading in number_columns:
        table.add_column(
            Text(heading),
            justify="right",
            overflow="fold",
            no_wrap=not wrap_numbers,
            min_width=_MIN_NUMBER_WIDTH if wrap_numbers else None,
        )
    return table


@contextmanager
def explain_write_errors(file_name: str) -> Iterator[None]:
    """Turn an `OSError` in the `with` block into a `RunError`: a file can't be written.

    Args:
      file_name: name of the file in the message, such as "--json FILE".
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"{file_name}: can't be written ({reason}); choose another place, or repair this one"
        ) from error


def draw_picture(option: str, path: Path, plot: Callable[..., None], *arguments: Any) -> None:
    """Draw a picture into the file of an option.

    Args:
      option: the option, such as "--plot".
      path: the file; its suffix chooses the format.
      plot: draws the picture; it is called with `arguments`, the open file and the format.
      arguments: the first arguments of `plot`.

    Raises:
      RunError: the file can't be written.
    """
    picture_format = path.suffix.removeprefix(".")
    with explain_write_errors(f"{option} {path}"), atomic_write(path) as file:
        plot(*arguments, file, picture_format)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write `content` to the file of the option `--json`; if `path` is None, write nothing."""
    if path is not None:
        with explain_write_errors(f"--json {path}"):
            write_text(path, json.dumps(content, indent=1) + "\n")
