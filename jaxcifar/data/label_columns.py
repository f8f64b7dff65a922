"""Choose the column of labels in a table by comparing the cells of its columns."""

from collections.abc import Sequence
from typing import NoReturn

from jaxcifar.data.label_table import LabelTable, column_title
from jaxcifar.errors import RunError

_LABEL_TITLES = ("label", "labels", "class", "class_name", "classname", "category", "target")
_ZERO_OR_ONE = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}


def choose_label_column(
    table: LabelTable,
    titles: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    candidates: Sequence[int],
) -> int:
    """Return the number of the column whose values look like labels.

    Such a column has at least two different values, and on average two images for each value.

    Args:
      table: the table, for error messages.
      titles: titles of the columns; None if the table has no titles.
      rows: the cells of each row, without titles.
      candidates: numbers of the columns that may be the labels.

    Raises:
      RunError: several columns may be the labels, or none; the message says what to do.
    """
    if len(candidates) == 1:
        return candidates[0]
    columns_like_labels = [column for column in candidates if _has_repeated_values(rows, column)]
    titled_column = _column_with_label_title(titles or (), columns_like_labels)
    if titled_column is not None:
        return titled_column
    one_hot_columns = _one_hot_columns(rows, candidates)
    only_one_hot_columns_fit = set(columns_like_labels).issubset(one_hot_columns)
    if titles and one_hot_columns and only_one_hot_columns_fit:
        shown_titles = ", ".join(column_title(column, titles) for column in one_hot_columns)
        raise RunError(
            f"{table.path}: the columns {shown_titles} hold only 0 and 1, with one 1 in each row "
            "(one-hot); write one column with the name of each image's class instead"
        )
    distinct_columns = _drop_equivalent_columns(rows, columns_like_labels)
    if len(distinct_columns) == 1:
        return distinct_columns[0]
    if distinct_columns:
        _refuse_unclear_columns(
            "several columns may be the labels", table, titles, distinct_columns
        )
    _refuse_unclear_columns("no column looks like labels", table, titles, candidates)


def _refuse_unclear_columns(
    problem: str, table: LabelTable, titles: Sequence[str] | None, columns: Sequence[int]
) -> NoReturn:
    """Raise an error that asks the user to name one of `columns`."""
    titles_to_choose = [column_title(column, titles) for column in columns]
    example = titles_to_choose[0] if titles_to_choose else column_title(0, titles)
    raise RunError(
        f"{table.path}: {problem} ({', '.join(titles_to_choose)}); name the right one, such as "
        f"--dataset {table.path}:{example}, or the columns of file names and labels, as "
        f"{table.path}:FILES:LABELS"
    )


def _column_with_label_title(titles: Sequence[str], columns: Sequence[int]) -> int | None:
    """Return the column, one of `columns`, with a title such as "label"; None without one."""
    column_of_title = {title.casefold(): column for column, title in enumerate(titles)}
    for title in _LABEL_TITLES:
        column = column_of_title.get(title)
        if column in columns:
            return column
    return None


def _has_repeated_values(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Return True if a column has two values or more, each in at least two rows on average."""
    distinct_values = {row[column] for row in rows} - {""}
    has_several_values = len(distinct_values) >= 2
    are_repeated = len(distinct_values) <= len(rows) / 2
    return has_several_values and are_repeated


def _one_hot_columns(rows: Sequence[Sequence[str]], candidates: Sequence[int]) -> list[int]:
    """Return the columns that hold only 0 and 1; [] unless each row has exactly one 1 in them."""
    binary_columns = [
        column for column in candidates if all(row[column] in _ZERO_OR_ONE for row in rows)
    ]
    if len(binary_columns) < 2:
        return []
    for row in rows:
        columns_with_one = [column for column in binary_columns if _ZERO_OR_ONE[row[column]] == 1]
        if len(columns_with_one) != 1:
            return []
    return binary_columns


def _drop_equivalent_columns(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """Return `columns`, but only one of several columns that divide the rows into the same classes.

    For example, class numbers and class names do so; then only the column of names is returned.
    """
    columns_of_names: list[int] = []
    columns_of_numbers: list[int] = []
    for column in columns:
        are_numbers = all(row[column].isdecimal() for row in rows)
        if are_numbers:
            columns_of_numbers.append(column)
        else:
            columns_of_names.append(column)
    columns_by_preference = [*columns_of_names, *columns_of_numbers]
    kept_columns: list[int] = []
    for column in columns_by_preference:
        is_repetition = any(_are_equivalent(rows, column, kept) for kept in kept_columns)
        if not is_repetition:
            kept_columns.append(column)
    return sorted(kept_columns)


def _are_equivalent(rows: Sequence[Sequence[str]], column: int, other_column: int) -> bool:
    """Return True if two columns divide the rows into the same classes, whatever their names."""
    pairs_of_cells = {(row[column], row[other_column]) for row in rows}
    cells = {cell for cell, _ in pairs_of_cells}
    other_cells = {other_cell for _, other_cell in pairs_of_cells}
    return len(cells) == len(pairs_of_cells) and len(other_cells) == len(pairs_of_cells)
