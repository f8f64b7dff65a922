"""Paths that users write: expanding `~`, and early checks of files and folders."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jaxcifar.errors import UsageError

TABLE_SUFFIXES = (".csv", ".tsv")
_TABLE_NAME_PATTERN = re.compile(
    r"(?P<path>.*\.(?:csv|tsv))(?::(?P<column>.+))?", re.IGNORECASE | re.DOTALL
)


class TableName(NamedTuple):
    """The name of a table of labels (a CSV file) with a row for each image, as a user gives it.

    Attributes:
      path: path of the table.
      column: name of the column of labels; or "FILES:LABELS", the names of the column of file names
        and of the column of labels; None if the user has named no column.
    """

    path: Path
    column: str | None


def expand_home(path: str) -> Path:
    """Return a path with the home folder in place of a leading `~` or `~name`.

    If the system knows no such home folder, return the path unchanged. `Path.expanduser` would
    raise an error.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def parse_table_name(dataset: str) -> TableName | None:
    """Parse the name of a table of labels, such as `FILE.csv` or `FILE.csv:COLUMN`.

    Returns:
      the path and the column; None if `dataset` does not name a table, or is a folder's path.
    """
    match = _TABLE_NAME_PATTERN.fullmatch(dataset)
    if match is None or expand_home(dataset).is_dir():
        return None
    return TableName(expand_home(match["path"]), match["column"])


def short_dataset_name(dataset: str) -> str:
    """Return a short name of a data set, such as "cats" for the path `/data/cats.npz`.

    A table of labels (a CSV file) and its images lie in one folder, so for the path of a table the
    folder's name is returned: "cats" for `/data/cats/labels.csv`.
    """
    table = parse_table_name(dataset)
    if table is None:
        return Path(dataset).stem
    return table.path.absolute().parent.name or table.path.stem


def last_two_names(path: Path) -> str:
    """Return the last two names of a path, such as "lab2/photos"; fewer near the root folder.

    Many folders in different places have the same last name.
    """
    absolute_path = Path(os.path.abspath(path))  # noqa: PTH100 (follows no links)
    names = absolute_path.relative_to(absolute_path.anchor).parts
    return "/".join(names[-2:])


def is_same_path(path: str, other_path: str) -> bool:
    """Return True if two paths lead to the same place, whatever links and `~` they contain."""
    return os.path.realpath(expand_home(path)) == os.path.realpath(expand_home(other_path))


def require_image_path(dataset: str) -> None:
    """Check that a path can be a user's data set, without reading it.

    Args:
      dataset: the path that the option `--dataset` gives.

    Raises:
      UsageError: the path is neither a folder, nor a table of labels, nor an .npz or .parquet file.
    """
    table = parse_table_name(dataset)
    path = table.path if table else expand_home(dataset)
    is_data_file = table is not None or path.suffix in (".npz", ".parquet")
    if path.is_dir() or (path.is_file() and is_data_file):
        return
    problem = "no such folder or file"
    if path.exists():
        problem = "neither a folder nor an .npz, .parquet or .csv file"
    raise UsageError(
        f"--dataset {dataset}: {problem}; give a folder of images by class, a .csv of file names "
        "and labels, an .npz with x_train, y_train, x_test and y_test, or parquet files"
    )


def require_existing(paths: Iterable[Path]) -> None:
    """Check that all paths exist.

    Raises:
      UsageError: a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; check the path")


def require_folder_of(option: str, file: Path | None) -> None:
    """Check that the folder of an output file exists.

    Args:
      option: the command-line option that gives the file; begins the message.
      file: the file to be written; None if the option was not given.

    Raises:
      UsageError: the folder does not exist.
    """
    if file is not None and not file.parent.is_dir():
        raise UsageError(
            f"{option} {file}: there is no folder {file.parent}; make it, or choose another folder"
        )
