"""Find the columns of a table by their content: file names, labels, and splits."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxcifar.data.file_names import FileNames
from jaxcifar.data.folder_listing import has_image_suffix
from jaxcifar.data.label_table import LabelTable, column_number, column_title, find_column
from jaxcifar.data.split_names import split_of
from jaxcifar.errors import RunError, printable

_SAMPLE = 2000  # rows in which file names are looked for
_LABEL_TITLES = ("label", "labels", "class", "class_name", "classname", "category", "target")
_MAX_COLONS = 20  # in the text that names two columns
_ZERO_OR_ONE = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
_SPLIT_TITLES = ("split", "set", "subset", "partition")


class NoImageNamedError(RunError):
    """No column of a table names an image of the folder: the table may be about other files."""


class Columns(NamedTuple):
    """The numbers of a table's columns.

    Attributes:
      files: column of file names.
      labels: column of labels.
      split: column of "train", "val" and "test"; None if there is no such column.
      header: titles of the columns; None if the first row already names an image.
    """

    files: int
    labels: int
    split: int | None
    header: list[str] | None

    def title(self, number: int) -> str:
        return column_title(number, self.header)


def find_columns(table: LabelTable, files: FileNames, named_columns: str | None) -> Columns:
    """Find the columns of file names, labels and splits in a table of labels.

    Args:
      table: the table.
      files: an index of the images that the table may name.
      named_columns: title or number of the column of labels, or those of the columns of file names
        and labels with a colon between; None to find both columns.

    Raises:
      RunError: no column names images, or the column of labels is ambiguous; the message says what
        to do.
    """
    pair = None if named_columns is None else _named_pair(table, named_columns)
    file_column = _file_column(table, files, pair[0] if pair else None)
    header = _header(table, files, file_column)
    rows = table.rows[1:] if header else table.rows
    if not rows:
        raise RunError(f"{table.path}: has no rows below its header; add a row for each image")
    split_column = _split_column(table, header, rows)
    if pair is not None:
        labels = pair[1]
    elif named_columns is not None:
        labels = find_column(table.path, named_columns, table.rows)
    else:
        candidates = [i for i in range(len(rows[0])) if i not in (file_column, split_column)]
        labels = _label_column(table, header, rows, candidates)
    return Columns(file_column, labels, split_column, header)


def _named_pair(table: LabelTable, named_columns: str) -> tuple[int, int] | None:
    """Return the columns of file names and of labels that the text FILES:LABELS names.

    It is None if the text does not name two columns. A title may have colons itself.
    """
    titles = table.rows[0]
    if column_number(named_columns, titles) is not None:
        return None
    parts = named_columns.split(":")
    for end in range(1, min(len(parts), _MAX_COLONS)):
        files = column_number(":".join(parts[:end]), titles)
        labels = column_number(":".join(parts[end:]), titles)
        if files is not None and labels is not None:
            return files, labels
    return None


def _file_column(table: LabelTable, files: FileNames, named_column: int | None) -> int:
    """Return the column of a table that names the largest number of different images.

    If two columns name equally many images, a column with names is preferred to a column of
    numbers. `files` is an index of the images that the table may name. If the user has named a
    column, that column is returned, and must name an image.
    """
    step = math.ceil(len(table.rows) / _SAMPLE)
    sample = table.rows[::step]
    scores = []
    columns = range(len(sample[0])) if named_column is None else [named_column]
    for column in columns:
        cells = {row[column] for row in sample}
        images_of_cell = {cell: files.find(cell) for cell in cells}
        distinct_images = {images[0].path for images in images_of_cell.values() if images}
        has_names = any(images and not cell.isdecimal() for cell, images in images_of_cell.items())
        scores.append((len(distinct_images), has_names))
    best_score = max(scores)
    if best_score[0] == 0:
        example_row = table.rows[1] if len(table.rows) > 1 else table.rows[0]
        cell = printable(example_row[named_column or 0], 60)
        problem = f"no column names images of its folder (one row begins with {cell!r})"
        if named_column is not None:
            title = column_title(named_column, table.rows[0])
            problem = f"column {title} names no image of its folder (one row has {cell!r})"
        raise NoImageNamedError(
            f"{table.path}: {problem}; write the names of the files, or their paths, into a column"
        )
    return columns[scores.index(best_score)]


def _header(table: LabelTable, files: FileNames, file_column: int) -> list[str] | None:
    """Return the first row of a table if it holds titles; None if it names an image.

    `files` is an index of the images, and `file_column` the number of the column of file names.
    """
    cell = table.rows[0][file_column]
    if files.find(cell) or has_image_suffix(cell) or cell.isdecimal():
        return None
    return table.rows[0]


def _split_column(
    table: LabelTable, header: Sequence[str] | None, rows: Sequence[Sequence[str]]
) -> int | None:
    """Return the number of the column with the split of each image; None without such a column.

    The column is found by its title in `header`. `rows` has the cells of the table's other rows.
    """
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
    """Return the number of the column whose values look like labels.

    Such a column has at least two different values, and on average two images for each value.

    Args:
      table: the table, for error messages.
      header: titles of the columns; None if the table has no titles.
      rows: the cells of each row, without titles.
      candidates: numbers of the columns that may be the labels.

    Raises:
      RunError: several columns may be the labels, or none; the message says what to do.
    """
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
        titles = ", ".join(column_title(number, header) for number in one_hot)
        raise RunError(
            f"{table.path}: the columns {titles} are 0 and 1, with one 1 in each row (one-hot); "
            "write one column with the name of each image's class instead"
        )
    distinct = _without_equivalents(rows, repeated)
    if len(distinct) == 1:
        return distinct[0]
    problem = "several columns may be the labels" if distinct else "no column looks like labels"
    titles_to_choose = [column_title(number, header) for number in distinct or candidates]
    example = titles_to_choose[0] if titles_to_choose else column_title(0, header)
    raise RunError(
        f"{table.path}: {problem} ({', '.join(titles_to_choose)}); name the right one, such as "
        f"--dataset {table.path}:{example}, or the columns of file names and labels, as "
        f"{table.path}:FILES:LABELS"
    )


def _one_hot_columns(rows: Sequence[Sequence[str]], candidates: Sequence[int]) -> list[int]:
    """Return the columns of zeros and ones if each row has exactly one 1 in them; else []."""
    binary = [number for number in candidates if all(row[number] in _ZERO_OR_ONE for row in rows)]
    is_one_hot = len(binary) > 1 and all(
        sum(_ZERO_OR_ONE[row[number]] for number in binary) == 1 for row in rows
    )
    return binary if is_one_hot else []


def _without_equivalents(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """Return `columns` without each column that says the same as another column before.

    For example, class numbers say the same as class names, and the names are kept.
    """
    names_first = sorted(columns, key=lambda number: all(row[number].isdecimal() for row in rows))
    kept: list[int] = []
    for number in names_first:
        if not any(_are_equivalent(rows, number, other) for other in kept):
            kept.append(number)
    return sorted(kept)


def _are_equivalent(rows: Sequence[Sequence[str]], column: int, other: int) -> bool:
    """Return True if two columns say the same: equal cells in one mean equal cells in the other."""
    pairs = {(row[column], row[other]) for row in rows}
    values = {value for value, _ in pairs}
    other_values = {other_value for _, other_value in pairs}
    return len(values) == len(pairs) and len(other_values) == len(pairs)
