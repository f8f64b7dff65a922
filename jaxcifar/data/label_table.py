"""Read a table of file names and labels, without trusting it."""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.folder_listing import normal_form
from jaxcifar.errors import RunError, printable
from jaxcifar.machine.reading import Remedy, open_regular_file, report_errors

MAX_TABLE_BYTES = 2**26
_MAX_COLUMNS = 200
_MAX_ROWS = 2 * 10**6
_MAX_LINE_LENGTH = 2**16  # characters
_DELIMITERS = (",", ";", "\t", "|")
_LINES_TO_COMPARE = 20
_LINES_TO_SEARCH = 40  # for lines to compare that are not empty
_MAX_DIGITS = 9  # of a column's number
_MAX_TITLE_LENGTH = 40  # characters of a title in a message
_TABLE_ADVICE = Remedy("save it as UTF-8 text with a row for each image: file name, label")


class LabelTable(NamedTuple):
    """The cells of a table of labels, such as a CSV file.

    Attributes:
      path: the file.
      rows: the cells of each row that is not empty; all rows have the same number of cells.
      sha256: SHA-256 of the file.
    """

    path: Path
    rows: list[list[str]]
    sha256: str


def read_table(path: Path) -> LabelTable:
    """Read an untrusted text file with a table of labels.

    The table's cells are separated by commas, semicolons, tabs or bars.

    Raises:
      RunError: the file can't be read, is too large, or is no table.
    """
    with report_errors(path, _TABLE_ADVICE):
        with open_regular_file(path, follow_links=True) as file:
            content = file.read(MAX_TABLE_BYTES + 1)
        if len(content) > MAX_TABLE_BYTES:
            raise ValueError(
                f"the table is larger than {MAX_TABLE_BYTES // 2**20} MiB (keep only the columns "
                "of file names and labels)"
            )
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start:,} is not UTF-8 text") from None
        lines = text.splitlines()
        for line_number, line in enumerate(lines, start=1):
            if len(line) > _MAX_LINE_LENGTH:
                raise ValueError(
                    f"line {line_number:,} of the table has more than {_MAX_LINE_LENGTH:,} "
                    "characters (make this line shorter)"
                )
        rows = _read_rows(lines)
    return LabelTable(path, rows, hashlib.sha256(content).hexdigest())


def _read_rows(lines: Sequence[str]) -> list[list[str]]:
    """Return the cells of each row of a table; all rows must have the same number of cells."""
    filled_lines = [line for line in lines[:_LINES_TO_SEARCH] if line.strip()]
    delimiter = _guess_delimiter(filled_lines[:_LINES_TO_COMPARE])
    rows: list[list[str]] = []
    try:
        for line_number, cells in _numbered_rows(lines, delimiter):
            if rows and len(cells) != len(rows[0]):
                raise ValueError(
                    f"line {line_number:,} has {len(cells)} cells, but the earlier lines have "
                    f"{len(rows[0])}; give each line the same number of cells"
                )
            if len(cells) > _MAX_COLUMNS:
                raise ValueError(
                    f"line {line_number:,} has more than {_MAX_COLUMNS} cells (keep only the "
                    "columns of file names and labels)"
                )
            if len(rows) == _MAX_ROWS:
                raise ValueError(f"the table has more than {_MAX_ROWS:,} rows")
            rows.append(cells)
    except csv.Error as error:
        raise ValueError(f"the file is not a table ({error})") from None
    if not rows or len(rows[0]) < 2:
        raise ValueError(
            "the table needs two columns or more, separated by commas, semicolons or tabs"
        )
    return rows


def _numbered_rows(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number, counted from 1, and the cells of each row that is not empty."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        cells = [normal_form(cell.strip()) for cell in row]
        if any(cells):
            yield reader.line_num, cells


def _guess_delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that divides all lines into the same number of cells, at least two.

    If there is no such delimiter, return the most frequent delimiter of the first line.
    """

    def common_cell_count(delimiter: str) -> int:
        """Return the number of cells that every line has; 0 if the lines differ."""
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        cell_counts = {len(row) for row in reader}
        have_same_count = len(cell_counts) == 1
        return max(cell_counts) if have_same_count else 0

    if not lines:
        return ","
    column_counts = {delimiter: common_cell_count(delimiter) for delimiter in _DELIMITERS}
    best_delimiter = max(column_counts, key=lambda delimiter: column_counts[delimiter])
    if column_counts[best_delimiter] >= 2:
        return best_delimiter
    # The lines differ: read the table by its first line, so that the message names the other line.
    first_line = lines[0]
    return max(_DELIMITERS, key=first_line.count)


def column_title(column: int, header: Sequence[str] | None) -> str:
    """Return the name of a column for messages: its title, or else its number counted from 1.

    Args:
      column: number of the column, counted from 0.
      header: titles of all columns; None if the table has no titles.
    """
    title = header[column] if header else ""
    return printable(title, _MAX_TITLE_LENGTH) if title else str(column + 1)


def require_column(path: Path, user_name: str, rows: Sequence[Sequence[str]]) -> int:
    """Return the number, counted from 0, of the column that the user has named.

    Args:
      path: the table, for the error message.
      user_name: title of the column, or its number counted from 1.
      rows: the cells of each row; the first row may hold the titles.

    Raises:
      RunError: the table has no such column.
    """
    titles = rows[0]
    column = find_column(user_name, titles)
    if column is None:
        all_titles = ", ".join(column_title(column, titles) for column in range(len(titles)))
        raise RunError(
            f"{path}: has no column {user_name!r:.80}; name one of its columns: {all_titles}"
        )
    return column


def find_column(user_name: str, titles: Sequence[str]) -> int | None:
    """Return the number, counted from 0, of a column that the user has named.

    Return None if there is no such column.

    Args:
      user_name: title of the column, or its number counted from 1.
      titles: the cells of the table's first row.
    """
    title = normal_form(user_name)
    if title in titles:
        return titles.index(title)
    may_be_number = user_name.isdecimal() and len(user_name) <= _MAX_DIGITS
    if may_be_number and 1 <= int(user_name) <= len(titles):
        return int(user_name) - 1
    return None
