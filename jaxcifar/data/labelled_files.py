"""Give the images of a folder the labels in a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.data.file_names import FileNames
from jaxcifar.data.folder_layout import split_of
from jaxcifar.data.folder_listing import (
    FolderListing,
    FoundFile,
    has_image_suffix,
)
from jaxcifar.data.label_table import LabelTable, read_table
from jaxcifar.data.table_columns import Columns, find_columns
from jaxcifar.errors import RunError, printable
from jaxcifar.machine.paths import TABLE_SUFFIXES
from jaxcifar.machine.terminal import pluralize

_MAX_TABLES = 20  # that are tried in a folder
_MAX_CLASS_NAME = 200


class LabelledFiles(NamedTuple):
    """Image files with labels from a table.

    Attributes:
      table: path of the table.
      sha256: SHA-256 of the table and the name of its column of labels.
      class_names: names of the classes, by label.
      splits: "train", and "val" and "test" if the table has them -> files and the label of each.
      notes: lines for the user: the columns that are read, and images and rows that are left out.
    """

    table: Path
    sha256: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[tuple[FoundFile, int]]]
    notes: tuple[str, ...]


def find_labelled_files(folder: Path) -> LabelledFiles | None:
    """Look for a table of labels in a folder of images, and beside the folder.

    Returns:
      the images with their labels; None if there is no table.

    Raises:
      RunError: no table can be used, or several can; the message says what to do.
    """
    for place in (folder, folder.parent):
        tables = _tables_in(place)
        usable: list[LabelledFiles] = []
        errors: list[RunError] = []
        for table in tables:
            try:
                usable.append(label_files(table, folder))
            except RunError as error:
                errors.append(error)
        if len(usable) > 1:
            names = ", ".join(files.table.name for files in usable)
            usable.sort(key=lambda files: "train" not in files.table.name.lower())
            raise RunError(
                f"{folder}: has several tables of labels ({names}); name the right one, such as "
                f"--dataset {usable[0].table}"
            )
        if usable:
            return usable[0]
        if errors and place == folder:  # other tables may lie beside the folder
            raise errors[0]
    return None


def _tables_in(folder: Path) -> list[Path]:
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in TABLE_SUFFIXES
            and not path.name.startswith(".")
            and "submission" not in path.name.lower()  # Kaggle's example has made-up labels
            and path.is_file()
        )
    except OSError:
        return []
    return found[:_MAX_TABLES]


def label_files(path: Path, folder: Path, label_column: str | None = None) -> LabelledFiles:
    """Give the images in a folder the labels in a table.

    Args:
      path: the table.
      folder: the folder of the images.
      label_column: title or number of the column of labels; None to find it.

    Raises:
      RunError: the table can't be read, its columns are ambiguous, two rows give an image different
        labels, or there are too few or too many classes.
    """
    table = read_table(path)
    listing = FolderListing(folder)
    every = [file for file in listing.files(listing.top) if Path(file.path) != path.resolve()]
    images = [file for file in every if has_image_suffix(file.name)] or every
    is_beside = not path.absolute().is_relative_to(folder.absolute())
    names = FileNames(images, folder.absolute().name if is_beside else "")
    columns = find_columns(table, names, label_column)
    matched = _match(table, columns, names)
    class_names = _class_names(path, columns, matched.labels)
    numbers = {name: label for label, name in enumerate(class_names)}
    splits: dict[str, list[tuple[FoundFile, int]]] = {"train": []}
    for file in images:
        if file.path in matched.labels:
            label = numbers[matched.labels[file.path]]
            splits.setdefault(matched.splits[file.path], []).append((file, label))
    notes = [
        f"{path.name}: labels from column {columns.title(columns.labels)}, file names from column "
        f"{columns.title(columns.files)}.",
        *matched.notes,
    ]
    unlabelled = [file.name for file in images if file.path not in matched.labels]
    if unlabelled:
        notes.append(_left_out(path, len(unlabelled), "image", "without a label", unlabelled[0]))
    if matched.notes and listing.problems:
        notes.append(f"{path.name}: {listing.problems[0]}.")
    sha256 = f"{table.sha256} {columns.labels}"
    return LabelledFiles(path, sha256, class_names, splits, tuple(notes))


class _Matched(NamedTuple):
    """Path of an image -> label, and -> split; and lines about rows that are left out."""

    labels: dict[str, str]
    splits: dict[str, str]
    notes: list[str]


def _match(table: LabelTable, columns: Columns, names: FileNames) -> _Matched:
    labels: dict[str, str] = {}
    splits: dict[str, str] = {}
    missing: list[str] = []
    blank: list[str] = []
    folder_splits: dict[str, str] = {}
    for row in table.rows[1:] if columns.header else table.rows:
        cell, label = row[columns.files], row[columns.labels]
        found = names.find(cell)
        if not found:
            missing.append(cell)
            continue
        if len(found) > 1:
            raise RunError(
                f"{table.path}: {printable(cell, 60)} may be {printable(found[0].name, 60)} or "
                f"{printable(found[1].name, 60)}; write the folders into the table too"
            )
        if not label:
            blank.append(cell)
            continue
        [file] = found
        if labels.setdefault(file.path, label) != label:
            raise RunError(
                f"{table.path}: {printable(file.name, 60)} has two labels, "
                f"{printable(labels[file.path], 40)} and {printable(label, 40)}; keep one row for "
                "each image"
            )
        if columns.split is not None:
            splits[file.path] = split_of(row[columns.split]) or "train"
        else:
            folders = file.name.split("/")[:-1]
            in_folders = [split for folder in folders if (split := split_of(folder))]
            folder_splits[file.path] = in_folders[0] if in_folders else "train"
    if columns.split is None:
        # Images that a folder keeps for testing must not be trained on.
        is_divided = "train" in folder_splits.values()
        splits = folder_splits if is_divided else dict.fromkeys(labels, "train")
    notes = []
    if missing:
        notes.append(_left_out(table.path, len(missing), "row", "without an image", missing[0]))
    if blank:
        notes.append(_left_out(table.path, len(blank), "row", "without a label", blank[0]))
    return _Matched(labels, splits, notes)


def _left_out(path: Path, count: int, noun: str, reason: str, example: str) -> str:
    verb = "is" if count == 1 else "are"
    example = printable(example, 60)
    return f"{path.name}: {pluralize(count, noun)} {reason} {verb} left out ({example})."


def _class_names(path: Path, columns: Columns, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sorted labels; numbers are sorted by value."""
    names = set(labels.values())
    if not 2 <= len(names) <= MAX_CLASSES:
        raise RunError(
            f"{path}: column {columns.title(columns.labels)} has {pluralize(len(names), 'label')} "
            f"of images; give images of 2 to {MAX_CLASSES:,} classes, or name another column, as "
            f"--dataset {path}:COLUMN"
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
