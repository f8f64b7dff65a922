"""Find the columns of a table by their content: file names, labels, and splits."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxcifar.data.file_names import FileNames
from jaxcifar.data.folder_layout import split_of
from jaxcifar.data.folder_listing import has_image_suffix
from jaxcifar.data.label_table import LabelTable, column_title, find_column
from jaxcifar.errors import RunError, printable

_SAMPLE = 2000  # rows in which file names are looked for
_LABEL_TITLES = ("label", "labels", "class", "class_name", "classname", "category", "target")
_ZERO_OR_ONE = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
_SPLIT_TITLES = ("split", "set", "subset", "partition")


class Columns(NamedTuple):
    """The numbers of a table's columns.

    Attributes:
      files: column of file names.
      labels: column of labels.
      split: column of "train", "val" and "test"; None if there is no such column.
      header: titles of the columns; None if the first row is an image.
    """

    files: int
    labels: int
    split: int | None
    header: list[str] | None

    def title(self, number: int) -> str:
        return column_title(number, self.header)


def find_columns(table: LabelTable, files: FileNames, label_column: str | None) -> Columns:
    """Find the columns of file names, labels and splits.

    Args:
      table: the table.
      files: the images that the table may name.
      label_column: title or number of the column of labels; None to find it.

    Raises:
      RunError: no column names images, or the column of labels is ambiguous; the message says what
        to do.
    """
    file_column = _file_column(table, files)
    header = _header(table, files, file_column)
    rows = table.rows[1:] if header else table.rows
    if not rows:
        raise RunError(f"{table.path}: has no rows below its header; add a row for each image")
    split_column = _split_column(table, header, rows)
    if label_column is not None:
        labels = find_column(table.path, label_column, table.rows)
    else:
        left = [i for i in range(len(rows[0])) if i not in (file_column, split_column)]
        labels = _label_column(table, header, rows, left)
    return Columns(file_column, labels, split_column, header)


def _file_column(table: LabelTable, files: FileNames) -> int:
    """Return the column that names the largest number of different images."""
    step = -(-len(table.rows) // _SAMPLE)
    sample = table.rows[::step]
    scores = []
    for number in range(len(sample[0])):
        cells = {row[number] for row in sample}
        found = {file.path for cell in cells for file in files.find(cell)[:1]}
        has_names = any(not cell.isdecimal() for cell in cells if files.find(cell))
        scores.append((len(found), has_names))
    best = max(range(len(scores)), key=lambda number: scores[number])
    if scores[best][0] == 0:
        first = printable(table.rows[min(1, len(table.rows) - 1)][0], 60)
        raise RunError(
            f"{table.path}: no column names images of its folder (one row begins with {first!r}); "
            "write the names of the files, or their paths, into a column"
        )
    return best


def _header(table: LabelTable, files: FileNames, file_column: int) -> list[str] | None:
    """Return the first row if it holds titles: it names no image, unlike other rows."""
    cell = table.rows[0][file_column]
    if files.find(cell) or has_image_suffix(cell) or cell.isdecimal():
        return None
    return table.rows[0]


def _split_column(
    table: LabelTable, header: Sequence[str] | None, rows: Sequence[Sequence[str]]
) -> int | None:
    for number, title in enumerate(header or ()):
        if title.casefold() not in _SPLIT_TITLES:
            continue
        unknown = {row[number] for row in rows if split_of(row[number]) is None}
        if not unknown:
            return number
        if title.casefold() == "split":
            raise RunError(
                f"{table.path}: column {printable(title)} has the value "
                f"{printable(min(unknown), 60)!r}; write train, val or test in each row"
            )
    return None


def _label_column(
    table: LabelTable,
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    candidates: Sequence[int],
) -> int:
    """Return the column whose values look like labels: at least two, on average of two images."""
    if len(candidates) == 1:
        return candidates[0]
    values = {number: {row[number] for row in rows} - {""} for number in candidates}
    repeated = [number for number in candidates if 2 <= len(values[number]) <= len(rows) / 2]
    by_title = {title.casefold(): number for number, title in enumerate(header or ())}
    for title in _LABEL_TITLES:
        if by_title.get(title) in repeated:
            return by_title[title]
    one_hot = _one_hot_columns(rows, candidates)
    if header and one_hot and set(repeated) <= set(one_hot):
        shown = ", ".join(column_title(number, header) for number in one_hot)
        raise RunError(
            f"{table.path}: the columns {shown} are 0 and 1, with one 1 in each row (one-hot); "
            "write one column with the name of each image's class instead"
        )
    distinct = _without_equivalents(rows, repeated)
    if len(distinct) == 1:
        return distinct[0]
    shown = ", ".join(column_title(number, header) for number in distinct or candidates)
    example = column_title((distinct or candidates or [0])[0], header)
    problem = "several columns may be the labels" if distinct else "no column looks like labels"
    raise RunError(
        f"{table.path}: {problem} ({shown}); name the right one, such as --dataset "
        f"{table.path}:{example}"
    )


def _one_hot_columns(rows: Sequence[Sequence[str]], candidates: Sequence[int]) -> list[int]:
    """Return the columns of zeros and ones if every row has exactly one 1 in them; else none."""
    binary = [number for number in candidates if all(row[number] in _ZERO_OR_ONE for row in rows)]
    is_one_hot = len(binary) > 1 and all(
        sum(_ZERO_OR_ONE[row[number]] for number in binary) == 1 for row in rows
    )
    return binary if is_one_hot else []


def _without_equivalents(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """Leave out columns that say the same as another column, such as numbers beside class names."""
    names_first = sorted(columns, key=lambda number: all(row[number].isdecimal() for row in rows))
    kept: list[int] = []
    for number in names_first:
        if not any(_are_equivalent(rows, number, other) for other in kept):
            kept.append(number)
    return sorted(kept)


def _are_equivalent(rows: Sequence[Sequence[str]], one: int, other: int) -> bool:
    pairs = {(row[one], row[other]) for row in rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
