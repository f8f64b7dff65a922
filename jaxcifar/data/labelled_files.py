"""Give the images of a folder the labels in a table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.data.file_names import FileNames
from jaxcifar.data.folder_listing import (
    FolderListing,
    FoundFile,
    has_image_suffix,
)
from jaxcifar.data.label_table import LabelTable, read_table
from jaxcifar.data.split_names import split_of, split_within
from jaxcifar.data.table_columns import Columns, find_columns
from jaxcifar.errors import RunError, printable
from jaxcifar.machine.terminal import pluralize

_MAX_CLASS_NAME = 200


class LabelledFiles(NamedTuple):
    """Image files with labels from a table.

    Attributes:
      table: path of the table.
      sha256: SHA-256 of the table's content, and the numbers of the columns that the user named.
      class_names: names of the classes, by label.
      splits: "train", and "val" and "test" if the table has them -> (file, label) of each image.
      notes: lines for the user: the columns that are read, and images and rows that are left out.
    """

    table: Path
    sha256: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[tuple[FoundFile, int]]]
    notes: tuple[str, ...]


def label_files(path: Path, folder: Path, named_columns: str | None = None) -> LabelledFiles:
    """Match the images in a folder with the rows of a table that has their labels.

    Args:
      path: the table.
      folder: the folder of the images.
      named_columns: title or number of the column of labels, or those of the columns of file names
        and labels with a colon between; None to find both columns.

    Raises:
      RunError: the table can't be read, its columns are ambiguous, an image has different labels
        in two rows, or there are too few or too many classes.
    """
    table = read_table(path)
    listing = FolderListing(folder)
    table_path = path.resolve()
    files = [file for file in listing.files(listing.top) if Path(file.path) != table_path]
    images = [file for file in files if has_image_suffix(file.name)]
    if not images:
        images = files
    table_is_inside = path.absolute().is_relative_to(folder.absolute())
    outer_folder = "" if table_is_inside else folder.absolute().name
    index = FileNames(images, outer_folder, (folder.absolute(), folder.resolve()))
    columns = find_columns(table, index, named_columns)
    matched = _match(table, columns, index)
    class_names = _class_names(path, columns, matched.labels)
    label_of_class = {name: label for label, name in enumerate(class_names)}
    splits: dict[str, list[tuple[FoundFile, int]]] = {"train": []}
    for file in images:
        if file.path in matched.labels:
            label = label_of_class[matched.labels[file.path]]
            splits.setdefault(matched.splits[file.path], []).append((file, label))
    notes = [
        f"{path.name}: labels from column {columns.title(columns.labels)}, file names from column "
        f"{columns.title(columns.files)}.",
        *matched.notes,
    ]
    unlabelled = [file.name for file in images if file.path not in matched.labels]
    if unlabelled:
        notes.append(_describe_left_out(path, unlabelled, "image", "without a label"))
    if matched.notes and listing.problems:
        notes.append(f"{path.name}: {listing.problems[0]}.")
    sha256 = f"{table.sha256} {columns.labels}"
    if named_columns is not None and ":" in named_columns:
        sha256 += f" {columns.files}"
    return LabelledFiles(path, sha256, class_names, splits, tuple(notes))


class _Matched(NamedTuple):
    """The labels and splits that a table gives to images.

    Attributes:
      labels: path of an image -> its label in the table.
      splits: path of an image -> its split: "train", "val" or "test".
      notes: lines for the user about rows that are left out.
    """

    labels: dict[str, str]
    splits: dict[str, str]
    notes: list[str]


def _match(table: LabelTable, columns: Columns, index: FileNames) -> _Matched:
    """Find the image, label and split of each row of a table.

    `columns` has the numbers of the columns to read; `index` finds the images that cells name.
    If there is no column of splits, the folder of an image says its split.
    """
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    files: list[FoundFile] = []
    cells_without_image: list[str] = []
    cells_without_label: list[str] = []
    for row in table.rows[1:] if columns.header else table.rows:
        cell, label = row[columns.files], row[columns.labels]
        file = _find_image(table, index, cell)
        if file is None:
            cells_without_image.append(cell)
            continue
        if not label:
            cells_without_label.append(cell)
            continue
        if labels.setdefault(file.path, label) != label:
            raise RunError(
                f"{table.path}: {printable(file.name, 60)} has two labels, "
                f"{printable(labels[file.path], 40)} and {printable(label, 40)}; keep one row for "
                "each image"
            )
        files.append(file)
        if columns.split is not None:
            splits[file.path] = split_of(row[columns.split]) or "train"
    if columns.split is None:
        splits = _splits_of_folders(files)
    notes = []
    if cells_without_image:
        notes.append(_describe_left_out(table.path, cells_without_image, "row", "without an image"))
    if cells_without_label:
        notes.append(_describe_left_out(table.path, cells_without_label, "row", "without a label"))
    return _Matched(labels, splits, notes)


def _find_image(table: LabelTable, index: FileNames, cell: str) -> FoundFile | None:
    """Return the image in `index` that a cell of a table names; None if there is no such image."""
    files = index.find(cell)
    if len(files) > 1:
        raise RunError(
            f"{table.path}: {printable(cell, 60)} may be {printable(files[0].name, 60)} or "
            f"{printable(files[1].name, 60)}; write the folders into the table too"
        )
    return files[0] if files else None


def _splits_of_folders(files: Sequence[FoundFile]) -> dict[str, str]:
    """Return path -> split of each file by the names of the folders around it, by default "train".

    So images that a folder keeps for testing are not trained on. A split that is only a part of a
    name, as in "test_set", counts if such names say "train" and another split.
    """
    by_whole_name = {file.path: _split_of_folders(file, split_of) for file in files}
    by_part = {file.path: _split_of_folders(file, split_within) for file in files}
    splits_by_part = set(by_part.values()) - {None}
    are_splits = "train" in splits_by_part and len(splits_by_part) > 1
    found = by_part if are_splits else by_whole_name
    splits = {path: split or "train" for path, split in found.items()}
    is_divided = "train" in splits.values()
    return splits if is_divided else dict.fromkeys(splits, "train")


def _split_of_folders(file: FoundFile, split_of_name: Callable[[str], str | None]) -> str | None:
    """Return the split that the first folder around a file with a split's name says, or None."""
    folders = file.name.split("/")[:-1]
    return next((split for split in map(split_of_name, folders) if split is not None), None)


def _describe_left_out(path: Path, examples: Sequence[str], noun: str, reason: str) -> str:
    """Return a line such as "labels.csv: 2 rows without a label are left out"."""
    verb = "is" if len(examples) == 1 else "are"
    example = printable(examples[0], 60)
    return f"{path.name}: {pluralize(len(examples), noun)} {reason} {verb} left out ({example})."


def _class_names(path: Path, columns: Columns, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the class names: the different labels in sorted order, where numbers sort by value.

    Args:
      path: the table, for error messages.
      columns: the columns of the table.
      labels: path of an image -> its label in the table.
    """
    names = set(labels.values())
    if not 2 <= len(names) <= MAX_CLASSES:
        raise RunError(
            f"{path}: column {columns.title(columns.labels)} has {pluralize(len(names), 'label')} "
            f"of images; give images of 2 to {MAX_CLASSES:,} classes, or name another column, as "
            f"--dataset {path}:COLUMN, or {path}:FILES:LABELS"
        )
    for name in names:
        problem = ""
        if not name.isprintable():
            problem = "has characters that can't be printed"
        elif len(name) > _MAX_CLASS_NAME:
            problem = f"has more than {_MAX_CLASS_NAME} characters"
        if problem:
            raise RunError(
                f"{path}: the label {printable(name, 60)!r} {problem}; rename this class"
            )
    if all(name.isdecimal() and name.isascii() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name[:20]), name)))
    return tuple(sorted(names))
