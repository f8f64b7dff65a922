"""Choose the column of labels in a table by comparing the cells of its columns."""

from collections.abc import Sequence

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
    column_of_title = {title.casefold(): column for column, title in enumerate(titles or ())}
    for title in _LABEL_TITLES:
        if column_of_title.get(title) in columns_like_labels:
            return column_of_title[title]
    one_hot_columns = _one_hot_columns(rows, candidates)
    if titles and one_hot_columns and set(columns_like_labels) <= set(one_hot_columns):
        shown_titles = ", ".join(column_title(column, titles) for column in one_hot_columns)
        raise RunError(
            f"{table.path}: the columns {shown_titles} are 0 and 1, with one 1 in each row "
            "(one-hot); write one column with the name of each image's class instead"
        )
    distinct_columns = _drop_equivalent_columns(rows, columns_like_labels)
    if len(distinct_columns) == 1:
        return distinct_columns[0]
    problem = "no column looks like labels"
    columns_to_choose = candidates
    if distinct_columns:
        problem = "several columns may be the labels"
        columns_to_choose = distinct_columns
    titles_to_choose = [column_title(column, titles) for column in columns_to_choose]
    example = titles_to_choose[0] if titles_to_choose else column_title(0, titles)
    raise RunError(
        f"{table.path}: {problem} ({', '.join(titles_to_choose)}); name the right one, such as "
        f"--dataset {table.path}:{example}, or the columns of file names and labels, as "
        f"{table.path}:FILES:LABELS"
    )


def _has_repeated_values(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Return True for two or more different values, each in two rows on average."""
    distinct_values = {row[column] for row in rows} - {""}
    return 2 <= len(distinct_values) <= len(rows) / 2


def _one_hot_columns(rows: Sequence[Sequence[str]], candidates: Sequence[int]) -> list[int]:
    """Return the columns of zeros and ones if each row has exactly one 1 in them; else []."""
    binary_columns = [
        column for column in candidates if all(row[column] in _ZERO_OR_ONE for row in rows)
    ]
    if len(binary_columns) < 2:
        return []
    for row in rows:
        ones = [column for column in binary_columns if _ZERO_OR_ONE[row[column]] == 1]
        if len(ones) != 1:
            return []
    return binary_columns


def _drop_equivalent_columns(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """Return `columns` without columns that only repeat, in other words, what another column says.

    For example, class numbers repeat class names; then only the column of names is returned.
    """

    def has_only_numbers(column: int) -> bool:
        return all(row[column].isdecimal() for row in rows)

    names_before_numbers = sorted(columns, key=has_only_numbers)
    kept_columns: list[int] = []
    for column in names_before_numbers:
        if not any(_are_equivalent(rows, column, kept_column) for kept_column in kept_columns):
            kept_columns.append(column)
    return sorted(kept_columns)


def _are_equivalent(rows: Sequence[Sequence[str]], column: int, other_column: int) -> bool:
    """Return True if two columns say the same: equal cells in one mean equal cells in the other."""
    pairs_of_cells = {(row[column], row[other_column]) for row in rows}
    cells = {cell for cell, _ in pairs_of_cells}
    other_cells = {other_cell for _, other_cell in pairs_of_cells}
    return len(cells) == len(pairs_of_cells) and len(other_cells) == len(pairs_of_cells)
