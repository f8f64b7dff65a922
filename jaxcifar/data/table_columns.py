"""Find the columns of a table by their content: file names, labels, and splits."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from jaxcifar.data.file_names import FileIndex
from jaxcifar.data.folder_listing import has_image_suffix
from jaxcifar.data.label_columns import choose_label_column
from jaxcifar.data.label_table import LabelTable, column_title, find_column, require_column
from jaxcifar.data.split_names import split_of_name
from jaxcifar.errors import RunError, printable

_MAX_SAMPLED_ROWS = 2000  # rows in which file names are looked for
_MAX_COLONS = 20  # in the text that names two columns
_SPLIT_TITLES = ("split", "set", "subset", "partition")


class NoImageNamedError(RunError):
    """No column of a table names an image of the folder: the table may be about other files."""


class TableColumns(NamedTuple):
    """The numbers of a table's columns.

    Attributes:
      file_column: column of file names.
      label_column: column of labels.
      split_column: column of "train", "val" and "test"; None if there is no such column.
      titles: titles of the columns; None if the first row already names an image.
    """

    file_column: int
    label_column: int
    split_column: int | None
    titles: list[str] | None

    def title(self, column: int) -> str:
        return column_title(column, self.titles)


def find_columns(table: LabelTable, index: FileIndex, named_columns: str | None) -> TableColumns:
    """Find the columns of file names, labels and splits in a table of labels.

    Args:
      table: the table.
      index: finds the images that the table may name.
      named_columns: the column of labels (LABELS), or the columns of file names and of labels
        (FILES:LABELS), each by title or number; None to find both columns.

    Raises:
      RunError: no column names images, or the column of labels is ambiguous; the message says what
        to do.
    """
    file_column_of_user, label_column_of_user = _columns_of_user(table, named_columns)
    file_column = _find_file_column(table, index, file_column_of_user)
    titles = _find_titles(table, index, file_column)
    rows = table.rows[1:] if titles else table.rows
    if not rows:
        raise RunError(f"{table.path}: has no rows below its header; add a row for each image")
    used_columns = {file_column, label_column_of_user}
    split_column = _find_split_column(table, titles, rows, used_columns)
    if label_column_of_user is not None:
        label_column = label_column_of_user
    else:
        candidates = [
            column for column in range(len(rows[0])) if column not in (file_column, split_column)
        ]
        label_column = choose_label_column(table, titles, rows, candidates)
    return TableColumns(file_column, label_column, split_column, titles)


def _columns_of_user(table: LabelTable, named_columns: str | None) -> tuple[int | None, int | None]:
    """Return the columns of file names and of labels that the user has named; None if not named.

    `named_columns` is LABELS or FILES:LABELS, or None if the user has named no column.
    """
    if named_columns is None:
        return None, None
    file_and_label_columns = _find_two_columns(table, named_columns)
    if file_and_label_columns is not None:
        return file_and_label_columns
    return None, require_column(table.path, named_columns, table.rows)


def _find_two_columns(table: LabelTable, named_columns: str) -> tuple[int, int] | None:
    """Return the columns of file names and of labels that the text FILES:LABELS names.

    Return None if the text does not name two columns. Titles can contain colons, so each colon of
    the text is tried as the separator.
    """
    titles = table.rows[0]
    is_title_of_one_column = find_column(named_columns, titles) is not None
    if is_title_of_one_column:
        return None
    parts_between_colons = named_columns.split(":")
    for file_part_count in range(1, min(len(parts_between_colons), _MAX_COLONS)):
        file_title = ":".join(parts_between_colons[:file_part_count])
        label_title = ":".join(parts_between_colons[file_part_count:])
        file_column = find_column(file_title, titles)
        label_column = find_column(label_title, titles)
        if file_column is not None and label_column is not None:
            return file_column, label_column
    return None


def _find_file_column(table: LabelTable, index: FileIndex, named_column: int | None) -> int:
    """Return the column of a table that names the largest number of different images.

    If two columns name equally many images, a column with names is preferred to a column of
    numbers. `index` finds the images that the table may name. If the user has named a column,
    `named_column`, it is returned.

    Raises:
      NoImageNamedError: no column names an image, or the column that the user has named does not.
    """
    sampling_interval = math.ceil(len(table.rows) / _MAX_SAMPLED_ROWS)
    sampled_rows = table.rows[::sampling_interval]
    columns = range(len(sampled_rows[0])) if named_column is None else [named_column]
    score_of_column: dict[int, _FileColumnScore] = {}
    for column in columns:
        sampled_cells = {row[column] for row in sampled_rows}
        score_of_column[column] = _score_file_column(index, sampled_cells)
    best_column = max(score_of_column, key=lambda column: score_of_column[column])
    if score_of_column[best_column].image_count == 0:
        problem = _describe_missing_images(table, named_column)
        raise NoImageNamedError(
            f"{table.path}: {problem}; write the names of the files, or their paths, into a column"
        )
    return best_column


def _describe_missing_images(table: LabelTable, named_column: int | None) -> str:
    """Return a text for the error that no column names an image.

    If the user has named a column, `named_column`, the text is about this column only.
    """
    example_row = table.rows[1] if len(table.rows) > 1 else table.rows[0]
    if named_column is None:
        cell = printable(example_row[0], 60)
        return f"no column names images of its folder (one row begins with {cell!r})"
    cell = printable(example_row[named_column], 60)
    title = column_title(named_column, table.rows[0])
    return f"column {title} names no image of its folder (one row has {cell!r})"


class _FileColumnScore(NamedTuple):
    """How well a column names images; the larger of two scores is the better column."""

    image_count: int
    has_names: bool


def _score_file_column(index: FileIndex, cells: Collection[str]) -> _FileColumnScore:
    """Return how many images have their names or numbers in the cells of a column."""
    files_of_cell = {cell: index.find(cell) for cell in cells}
    cells_with_image = [cell for cell, files in files_of_cell.items() if files]
    named_images = {files_of_cell[cell][0].path for cell in cells_with_image}
    has_names = not all(cell.isdecimal() for cell in cells_with_image)
    return _FileColumnScore(len(named_images), has_names)


def _find_titles(table: LabelTable, index: FileIndex, file_column: int) -> list[str] | None:
    """Return the first row of a table if it holds titles; None if this row names an image.

    `index` finds the images, and `file_column` is the number of the column of file names.
    """
    cell = table.rows[0][file_column]
    if index.find(cell) or has_image_suffix(cell) or cell.isdecimal():
        return None
    return table.rows[0]


def _find_split_column(
    table: LabelTable,
    titles: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    used_columns: Collection[int | None],
) -> int | None:
    """Return the number of the column with the split of each image; None without such a column.

    The column has a title such as "split". Without such a title, it is the first column whose cells
    are all "train", "val" or "test", with "train" and at least one other among them.

    Args:
      table: the table, for error messages.
      titles: titles of the columns; None if the table has no titles.
      rows: the cells of each row, without titles.
      used_columns: columns that are not searched: the file names, and the column that the user has
        named.

    Raises:
      RunError: the column has a cell that is not a split.
    """
    columns_recognised_by_cells: list[int] = []
    for column, title in enumerate(titles or ()):
        if column in used_columns:
            continue
        cells = {row[column] for row in rows}
        other_cells = {cell for cell in cells if split_of_name(cell) is None}
        splits = {split_of_name(cell) for cell in cells - other_cells}
        has_only_splits = not other_cells
        has_split_title = title.casefold() in _SPLIT_TITLES
        if has_split_title and has_only_splits:
            return column
        must_be_for_splits = title.casefold() == "split" or (has_split_title and len(splits) > 0)
        if must_be_for_splits:  # without this error, test images would be trained on
            raise RunError(
                f"{table.path}: column {printable(title)} has the value "
                f"{printable(min(other_cells), 60)!r}; write train, val or test in each row"
            )
        has_train_and_another_split = "train" in splits and len(splits) > 1
        if has_only_splits and has_train_and_another_split:
            columns_recognised_by_cells.append(column)
    return columns_recognised_by_cells[0] if columns_recognised_by_cells else None
