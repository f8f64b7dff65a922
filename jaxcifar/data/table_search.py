"""Find the table that has the labels of the images in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jaxcifar.data.labelled_files import LabelledFiles, label_files
from jaxcifar.data.table_columns import NoImageNamedError
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import TABLE_SUFFIXES

_MAX_TABLES = 20  # that are tried in a folder


def find_labelled_files(folder: Path) -> LabelledFiles | None:
    """Find the table that labels the images in a folder, in the folder itself or beside it.

    Returns:
      the images with their labels; None if there is no table.

    Raises:
      RunError: no table can be used, or several can; the message says what to do.
    """
    for table_folder in (folder, folder.parent):
        labelled_by_table: list[LabelledFiles] = []
        errors: list[RunError] = []
        for table in _tables_in(table_folder):
            try:
                labelled_by_table.append(label_files(table, folder))
            except RunError as error:
                errors.append(error)
        if len(labelled_by_table) > 1:
            _refuse_several_tables(folder, [labelled.table for labelled in labelled_by_table])
        if labelled_by_table:
            return labelled_by_table[0]
        tables_are_meant_for_folder = table_folder == folder  # tables beside it may not be
        if tables_are_meant_for_folder and errors:
            raise errors[0]
    return None


def _refuse_several_tables(folder: Path, tables: Sequence[Path]) -> NoReturn:
    training_tables = [table for table in tables if "train" in table.name.lower()]
    example = training_tables[0] if training_tables else tables[0]
    names = ", ".join(table.name for table in tables)
    raise RunError(
        f"{folder}: has several tables of labels ({names}); name the right one, such as "
        f"--dataset {example}"
    )


def _tables_in(folder: Path) -> list[Path]:
    """Return the first `_MAX_TABLES` .csv and .tsv files of a folder by name; [] if unreadable.

    Hidden files, and Kaggle's example of a submission with made-up labels, are left out.
    """
    try:
        tables = sorted(path for path in folder.iterdir() if _may_be_table_of_labels(path))
    except OSError:
        return []
    return tables[:_MAX_TABLES]


def _may_be_table_of_labels(path: Path) -> bool:
    has_table_suffix = path.suffix.lower() in TABLE_SUFFIXES
    is_hidden = path.name.startswith(".")
    is_kaggle_submission = "submission" in path.name.lower()
    return has_table_suffix and not is_hidden and not is_kaggle_submission and path.is_file()


def describe_unusable_table(folder: Path) -> str:
    """Return the reason why a table of labels beside a folder can't be used; "" without a table.

    If several tables can't be used, the reason of the first one is returned. Tables that name
    images of the folder come before tables that do not.
    """
    problems_of_tables_with_images: list[str] = []
    problems_of_other_tables: list[str] = []
    for table in _tables_in(folder.parent):
        try:
            label_files(table, folder)
        except RunError as error:
            reason = str(error).removeprefix(f"{table}: ")
            problem = f"{table.name} beside it can't be used: {reason}"
            if isinstance(error, NoImageNamedError):
                problems_of_other_tables.append(problem)
            else:
                problems_of_tables_with_images.append(problem)
    problems = [*problems_of_tables_with_images, *problems_of_other_tables]
    return problems[0] if problems else ""
