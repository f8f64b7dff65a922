"""List the labelled images in a folder: in a subfolder for each class, or with a table of labels.

No image is opened.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from jaxcifar.data.folder_layout import FolderLayout, describe_content, find_folder_layout
from jaxcifar.data.folder_listing import Folder, FolderListing, FoundFile, printable_name
from jaxcifar.data.labelled_files import LabelledFiles, label_files
from jaxcifar.data.table_search import describe_unusable_table, find_labelled_files
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import expand_home, parse_table_name


class ImageFile(NamedTuple):
    """A file that should be an image.

    Attributes:
      path: absolute path, with links resolved.
      printable_path: path inside the folder; unprintable characters are escaped.
      label: number of the class.
      byte_count: number of bytes.
      modified_ns: time of the last change, in nanoseconds.
    """

    path: str
    printable_path: str
    label: int
    byte_count: int
    modified_ns: int

    @classmethod
    def of_listed_file(cls, file: FoundFile, label: int) -> Self:
        """Return a listed file together with the number of its class, `label`."""
        printable_path = printable_name(file.relative_path)
        return cls(file.path, printable_path, label, file.byte_count, file.modified_ns)


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The classes and files of a folder.

    Attributes:
      path: absolute path of the folder.
      class_names: names of the classes, by label.
      files_of_split: "train", and "test" and "val" if the folder has them -> files.
      ignored_count: number of ignored files, such as hidden files.
      table_sha256: SHA-256 of the table of labels, such as a CSV file; "" without a table.
      notes: lines to print for the user about the table of labels.
    """

    path: Path
    class_names: tuple[str, ...]
    files_of_split: Mapping[str, Sequence[ImageFile]]
    ignored_count: int
    table_sha256: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def scan(cls, path: Path, needs_every_class: bool = True) -> Self:
        """List the labelled images in a folder; no image is opened.

        The images lie in folders `train/CLASS/`, `test/CLASS/` and `val/CLASS/`, or in folders
        `CLASS/`. Without such folders, a table of labels (a CSV file) in the folder or beside the
        folder gives each image its label.

        Args:
          path: the folder.
          needs_every_class: False if a class may have no training images, and there may be only
            one class, as for an evaluation.

        Raises:
          RunError: the folder can't be listed or has too many files, it has neither class folders
            nor a table of labels, or a class has no training images.
        """
        listing = FolderListing(path)
        layout = find_folder_layout(listing)
        if layout is not None:
            return cls._from_class_folders(listing, layout, needs_every_class)
        labelled = find_labelled_files(path)
        if labelled is not None:
            return cls._from_table(path, labelled, needs_every_class)
        if not needs_every_class:
            # `listing` may have problems from the search for several classes.
            new_listing = FolderListing(path)
            one_class_layout = find_folder_layout(new_listing, min_classes=1)
            if one_class_layout is not None:
                return cls._from_class_folders(new_listing, one_class_layout, needs_every_class)
        content = describe_content(listing)
        table_problem = describe_unusable_table(path)
        if table_problem:
            raise RunError(
                f"{listing.root}: needs a folder for each class, and at least two classes, but "
                f"has {content}; {table_problem}"
            )
        raise RunError(
            f"{listing.root}: has no folder for each class, and no table of labels; it has "
            f"{content}: move the images of each class into a folder with the "
            "name of the class (at least two classes), or put a table (.csv) with file names and "
            "labels beside the images"
        )

    @classmethod
    def scan_table(cls, path: Path, column: str | None, needs_every_class: bool = True) -> Self:
        """List the images to which a table gives labels, in the folder that contains the table.

        Args:
          path: the table.
          column: the column of labels (LABELS), or the columns of file names and of labels
            (FILES:LABELS), each by title or number; None to find both columns.
          needs_every_class: False if a class may have no training images, as for an evaluation.

        Raises:
          RunError: the table or the folder can't be used.
        """
        labelled = label_files(path, path.parent, column)
        return cls._from_table(path.parent, labelled, needs_every_class)

    @classmethod
    def _from_class_folders(
        cls, listing: FolderListing, layout: FolderLayout, needs_every_class: bool
    ) -> Self:
        listing.raise_problems()
        files_of_split = {
            split: list(_files_by_class(listing, layout.class_names, class_folders))
            for split, class_folders in layout.class_folders_of_split.items()
        }
        listing.raise_problems()
        _require_images(listing.root, layout.class_names, files_of_split, needs_every_class)
        return cls(listing.root, layout.class_names, files_of_split, listing.ignored_count)

    @classmethod
    def _from_table(cls, folder: Path, labelled: LabelledFiles, needs_every_class: bool) -> Self:
        files_of_split = {
            split: [ImageFile.of_listed_file(file, label) for file, label in labelled_files]
            for split, labelled_files in labelled.files_of_split.items()
        }
        _require_images(labelled.table, labelled.class_names, files_of_split, needs_every_class)
        return cls(
            folder,
            labelled.class_names,
            files_of_split,
            ignored_count=0,
            table_sha256=labelled.sha256,
            notes=labelled.notes,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of class names and table, and of each file's name, size and modification time."""
        classes_and_table = (self.class_names, self.table_sha256)
        digest = hashlib.sha256(repr(classes_and_table).encode())
        for split, files in self.files_of_split.items():
            for file in files:
                file_state = (split, file.printable_path, file.byte_count, file.modified_ns)
                digest.update(repr(file_state).encode())
        return digest.hexdigest()


def scan_images(name: str, needs_every_class: bool = True) -> ImageFolder | None:
    """List the labelled images of a folder or of a table of labels; no image is opened.

    Args:
      name: path of the user's data set.
      needs_every_class: False if a class may have no training images, as for an evaluation.

    Returns:
      the images; None if the path is neither a folder nor a table of labels, such as an `.npz`
      file.

    Raises:
      RunError: the folder or table can't be used.
    """
    path = expand_home(name).absolute()
    if path.is_dir():
        return ImageFolder.scan(path, needs_every_class)
    table = parse_table_name(name)
    if table is None:
        return None
    return ImageFolder.scan_table(table.path.absolute(), table.column, needs_every_class)


def _files_by_class(
    listing: FolderListing, class_names: Sequence[str], folder_of_class: Mapping[str, Folder]
) -> Iterator[ImageFile]:
    """Yield the image files of a split, class by class; a class without a folder is skipped.

    Args:
      listing: lists the files of the folders.
      class_names: names of the classes, by label.
      folder_of_class: class name -> folder of the class in this split.
    """
    for label, class_name in enumerate(class_names):
        if class_name in folder_of_class:
            for file in listing.files_below(folder_of_class[class_name]):
                yield ImageFile.of_listed_file(file, label)


def _require_images(
    path: Path,
    class_names: Sequence[str],
    files_of_split: Mapping[str, Sequence[ImageFile]],
    needs_every_class: bool,
) -> None:
    """Raise an error if a split has no images, or if a class has no training images.

    A class may have none if `needs_every_class` is False. `path` begins the error message.
    """
    training_labels = [file.label for file in files_of_split["train"]]
    images_per_class = np.bincount(training_labels, minlength=len(class_names))
    empty_classes = np.flatnonzero(images_per_class == 0)
    if needs_every_class and len(empty_classes):
        name = class_names[empty_classes[0]]
        raise RunError(
            f"{path}: class {name!r} has no training images; add some, or remove this class"
        )
    for split, files in files_of_split.items():
        if not files:
            raise RunError(f"{path}: {split} holds no images; add some")
