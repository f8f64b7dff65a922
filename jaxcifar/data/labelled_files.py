"""Give the images of a folder the labels in a table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.data.file_names import FileIndex
from jaxcifar.data.folder_listing import FolderListing, FoundFile, has_image_suffix
from jaxcifar.data.label_table import LabelTable, read_table
from jaxcifar.data.split_names import split_of_name, split_of_name_part
from jaxcifar.data.table_columns import TableColumns, find_columns
from jaxcifar.errors import RunError, printable
from jaxcifar.machine.terminal import pluralize

_MAX_CLASS_NAME_LENGTH = 200
_MISSING_VALUES = {"na", "n/a", "#n/a", "nan", "null", "none"}  # as R, Excel and pandas write them
_MAX_DIGITS = 20  # of a label, by which labels that are numbers are sorted


class LabelledFiles(NamedTuple):
    """Image files with labels from a table.

    Attributes:
      table: path of the table.
      sha256: SHA-256 of the table's content, and the numbers of the columns that the user named.
      class_names: names of the classes, by label.
      files_of_split: "train", and "val" and "test" if the table has them -> (file, label) of each
        image.
      notes: lines for the user: the columns that are read, and images and rows that are left out.
    """

    table: Path
    sha256: str
    class_names: tuple[str, ...]
    files_of_split: Mapping[str, Sequence[tuple[FoundFile, int]]]
    notes: tuple[str, ...]


def label_files(path: Path, folder: Path, named_columns: str | None = None) -> LabelledFiles:
    """Match the images in a folder with the rows of a table that has their labels.

    Args:
      path: the table.
      folder: the folder of the images.
      named_columns: the column of labels (LABELS), or the columns of file names and of labels
        (FILES:LABELS), each by title or number; None to find both columns.

    Raises:
      RunError: the table can't be read, its columns are ambiguous, an image has different labels
        in two rows, or there are too few or too many classes.
    """
    table = read_table(path)
    listing = FolderListing(folder)
    image_files = _image_files(listing, path.resolve())
    table_is_inside = path.absolute().is_relative_to(folder.absolute())
    outer_folder = "" if table_is_inside else folder.absolute().name
    index = FileIndex(image_files, outer_folder, (folder.absolute(), folder.resolve()))
    columns = find_columns(table, index, named_columns)
    matches = _match_rows(table, columns, index)
    class_names = _class_names(path, columns, matches.label_of_path)
    number_of_class = {name: number for number, name in enumerate(class_names)}
    files_of_split: dict[str, list[tuple[FoundFile, int]]] = {"train": []}
    unlabelled_files: list[str] = []
    for file in image_files:
        label = matches.label_of_path.get(file.path)
        if label is None:
            unlabelled_files.append(file.relative_path)
        else:
            split = matches.split_of_path[file.path]
            files_of_split.setdefault(split, []).append((file, number_of_class[label]))
    notes = [_describe_columns(path, columns), *matches.notes]
    missing_values = [name for name in class_names if name.casefold() in _MISSING_VALUES]
    if missing_values:
        notes.append(
            f"{path.name}: {missing_values[0]!r} is one of the classes; if it means that an image "
            "has no label, leave these cells empty."
        )
    if unlabelled_files:
        notes.append(_describe_left_out(path, unlabelled_files, "image", "without a label"))
    if matches.notes and listing.problems:
        notes.append(f"{path.name}: {listing.problems[0]}.")
    sha256 = f"{table.sha256} {columns.label_column}"
    user_names_file_column = named_columns is not None and ":" in named_columns
    if user_names_file_column:
        sha256 += f" {columns.file_column}"
    return LabelledFiles(path, sha256, class_names, files_of_split, tuple(notes))


def _describe_columns(path: Path, columns: TableColumns) -> str:
    """Return a line that says which columns of a table are read."""
    line = (
        f"{path.name}: labels from column {columns.title(columns.label_column)}, file names from "
        f"column {columns.title(columns.file_column)}"
    )
    if columns.split_column is not None:
        line += f", splits from column {columns.title(columns.split_column)}"
    return f"{line}."


def _image_files(listing: FolderListing, table_path: Path) -> list[FoundFile]:
    """Return the files with an image suffix; if there are none, all files except the table."""
    files = listing.files_below(listing.root_folder)
    other_files = [file for file in files if Path(file.path) != table_path]
    image_files = [file for file in other_files if has_image_suffix(file.relative_path)]
    return image_files or other_files


class _MatchedRows(NamedTuple):
    """The labels and splits that a table gives to images.

    Attributes:
      label_of_path: path of an image -> its label in the table.
      split_of_path: path of an image -> its split: "train", "val" or "test".
      notes: lines for the user about rows that are left out.
    """

    label_of_path: dict[str, str]
    split_of_path: dict[str, str]
    notes: list[str]


def _match_rows(table: LabelTable, columns: TableColumns, index: FileIndex) -> _MatchedRows:
    """Return the labels and splits of images from the rows of a table.

    `columns` has the numbers of the columns to read; `index` finds the images that cells name.
    If there is no column of splits, the folder of an image says its split.
    """
    label_of_path: dict[str, str] = {}
    split_of_path: dict[str, str] = {}
    files: list[FoundFile] = []
    cells_without_image: list[str] = []
    cells_without_label: list[str] = []
    for row in table.rows[1:] if columns.titles else table.rows:
        file_cell, label = row[columns.file_column], row[columns.label_column]
        file = _find_image(table, index, file_cell)
        if file is None:
            cells_without_image.append(file_cell)
            continue
        if not label:
            cells_without_label.append(file_cell)
            continue
        earlier_label = label_of_path.setdefault(file.path, label)
        if label != earlier_label:
            raise RunError(
                f"{table.path}: {printable(file.relative_path, 60)} has two labels, "
                f"{printable(earlier_label, 40)} and {printable(label, 40)}; keep one row for "
                "each image"
            )
        files.append(file)
        if columns.split_column is not None:
            split = split_of_name(row[columns.split_column]) or "train"
            earlier_split = split_of_path.setdefault(file.path, split)
            if split != earlier_split:
                raise RunError(
                    f"{table.path}: {printable(file.relative_path, 60)} is in two splits, "
                    f"{earlier_split} and {split}; keep one row for each image"
                )
    if columns.split_column is None:
        split_of_path = _splits_of_folders(files)
    notes = []
    if cells_without_image:
        notes.append(_describe_left_out(table.path, cells_without_image, "row", "without an image"))
    if cells_without_label:
        notes.append(_describe_left_out(table.path, cells_without_label, "row", "without a label"))
    return _MatchedRows(label_of_path, split_of_path, notes)


def _find_image(table: LabelTable, index: FileIndex, cell: str) -> FoundFile | None:
    """Return the image in `index` that a cell of a table names; None if there is no such image."""
    files = index.find(cell)
    if len(files) > 1:
        first, second = (printable(file.relative_path, 60) for file in files[:2])
        raise RunError(
            f"{table.path}: {printable(cell, 60)} is the name of several files, such as {first} "
            f"and {second}; write the folder before each file name in the table"
        )
    return files[0] if files else None


def _splits_of_folders(files: Sequence[FoundFile]) -> dict[str, str]:
    """Return the split of each file, by path, from the names of the folders around the file.

    Files without such a folder are in the split "train", and so are all files if no file is for
    training. Names that only contain the name of a split, such as "test_set", count if they name
    "train" and at least one other split.
    """
    found_splits = {file.path: _find_split_in_path(file, split_of_name_part) for file in files}
    named_splits = set(found_splits.values()) - {None}
    parts_of_names_count = "train" in named_splits and len(named_splits) > 1
    if not parts_of_names_count:
        found_splits = {file.path: _find_split_in_path(file, split_of_name) for file in files}
    split_of_path = {path: split or "train" for path, split in found_splits.items()}
    if "train" not in split_of_path.values():
        return dict.fromkeys(split_of_path, "train")
    return split_of_path


def _find_split_in_path(file: FoundFile, find_split: Callable[[str], str | None]) -> str | None:
    """Return the split of the outermost folder that names one; None if no folder does.

    `find_split` returns the split that the name of a folder says, or None.
    """
    folder_names = file.relative_path.split("/")[:-1]
    for folder_name in folder_names:
        split = find_split(folder_name)
        if split is not None:
            return split
    return None


def _describe_left_out(path: Path, left_out: Sequence[str], noun: str, reason: str) -> str:
    """Return a line such as "labels.csv: 2 rows without a label are left out"."""
    verb = "is" if len(left_out) == 1 else "are"
    example = printable(left_out[0], 60)
    return f"{path.name}: {pluralize(len(left_out), noun)} {reason} {verb} left out ({example})."


def _class_names(
    path: Path, columns: TableColumns, label_of_path: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the class names: the different labels in sorted order, where numbers sort by value.

    Args:
      path: the table, for error messages.
      columns: the columns of the table.
      label_of_path: path of an image -> its label in the table.
    """
    names = set(label_of_path.values())
    if not 2 <= len(names) <= MAX_CLASSES:
        raise RunError(
            f"{path}: column {columns.title(columns.label_column)} has "
            f"{pluralize(len(names), 'label')} of images; give images of 2 to {MAX_CLASSES:,} "
            f"classes, or name another column, as --dataset {path}:COLUMN, or {path}:FILES:LABELS"
        )
    for name in names:
        problem = ""
        if not name.isprintable():
            problem = "has characters that can't be printed"
        elif len(name) > _MAX_CLASS_NAME_LENGTH:
            problem = f"has more than {_MAX_CLASS_NAME_LENGTH} characters"
        if problem:
            raise RunError(
                f"{path}: the label {printable(name, 60)!r} {problem}; rename this class"
            )
    are_numbers = all(name.isdecimal() and name.isascii() for name in names)
    if not are_numbers:
        return tuple(sorted(names))
    number_of_name = {name: int(name[:_MAX_DIGITS]) for name in names}
    return tuple(sorted(names, key=lambda name: (number_of_name[name], name)))
