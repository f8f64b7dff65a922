"""List the images in a folder with a subfolder for each class, without opening any file."""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from jaxcifar.data import binary_records
from jaxcifar.data.arrays import MAX_IMAGES
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import pluralize

_IGNORED_NAMES = {"Thumbs.db", "desktop.ini", "__MACOSX"}
_MAX_BYTES = 2**40  # of all files together


class ImageFile(NamedTuple):
    """A file that should be an image.

    Attributes:
      path: absolute path, with links resolved.
      name: path inside the folder, printable.
      label: number of the class.
      size: number of bytes.
      modified_ns: time of the last change, in nanoseconds.
    """

    path: str
    name: str
    label: int
    size: int
    modified_ns: int


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The classes and files of a folder.

    Attributes:
      path: absolute path of the folder.
      class_names: names of the classes, by label.
      splits: "train" and, if the folder has it, "test" -> files.
      hidden_count: number of ignored files, such as hidden files.
    """

    path: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[ImageFile]]
    hidden_count: int

    @classmethod
    def scan(cls, path: Path) -> Self:
        """List the images `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`, in a folder.

        Raises:
          RunError: the folder can't be listed, has too many files, has something else than class
            folders with files, or has a class without training images.
        """
        scanner = _FolderScanner(path.resolve())
        split_folders = scanner.split_folders()
        class_names = scanner.class_names(split_folders)
        splits = {
            split: list(scanner.files(folder, class_names))
            for split, folder in split_folders.items()
        }
        raise_problems(scanner.root, scanner.problems)
        _check_counts(scanner.root, class_names, splits)
        return cls(scanner.root, tuple(class_names), splits, scanner.hidden_count)

    @property
    def digest(self) -> str:
        """SHA-256 of the names, sizes and times of change of all files."""
        digest = hashlib.sha256()
        for split, files in self.splits.items():
            for file in files:
                digest.update(repr((split, file.name, file.size, file.modified_ns)).encode())
        return digest.hexdigest()


def raise_problems(root: Path, problems: Sequence[str]) -> None:
    """Raise an error about the first of the problems found in a folder, if there are any.

    Raises:
      RunError: there is at least one problem.
    """
    if problems:
        count_text = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise RunError(
            f"{root}: {problems[0]}{count_text}; correct it, or move it out of this folder"
        )


class _FolderScanner:
    """Lists the images in a folder, and collects messages about unusable files in `problems`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []
        self.hidden_count = 0
        self._file_count = 0
        self._byte_count = 0

    def split_folders(self) -> dict[str, Path]:
        """Return "train" and, if the folder has it, "test" -> folder that contains the classes."""
        entries = _list_folder(self.root)
        subfolders = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        if subfolders.issuperset(binary_records.SPLITS):
            extra = [
                name for name in self._subfolders(self.root) if name not in binary_records.SPLITS
            ]
            self.problems += [f"{name} is an extra folder beside train and test" for name in extra]
            return {split: self.root / split for split in binary_records.SPLITS}
        for split in binary_records.SPLITS:
            if split not in subfolders:
                continue
            if any(entry.is_dir() for entry in _list_folder(self.root / split)):
                raise RunError(
                    f"{self.root}: has {split} but not both of train and test; add the other, or "
                    f"give {self.root / split} to have a sixth of every class taken for testing"
                )
        return {"train": self.root}

    def class_names(self, split_folders: Mapping[str, Path]) -> list[str]:
        """Check the class folders, and return the class names in sorted order."""
        classes = {split: self._subfolders(folder) for split, folder in split_folders.items()}
        train_classes, test_classes = classes["train"], classes.get("test", [])
        untrained = [name for name in test_classes if name not in train_classes]
        if untrained:
            raise RunError(
                f"{self.root}: test/{untrained[0]} is a class without training images; add some to "
                f"train/{untrained[0]}, or remove it"
            )
        if not 2 <= len(train_classes) <= binary_records.MAX_CLASSES:
            raise RunError(
                f"{split_folders['train']}: has {pluralize(len(train_classes), 'class folder')}; "
                f"make a folder for each class, from 2 to {binary_records.MAX_CLASSES:,} folders"
            )
        for name in train_classes:
            if not name.isprintable() or not name.strip():
                raise RunError(f"{self.root}: class {name!a} can't be printed; rename its folder")
        raise_problems(self.root, self.problems)
        return train_classes

    def files(self, folder: Path, class_names: Sequence[str]) -> Iterator[ImageFile]:
        """Yield the images of all classes in the folder of a split, such as "train"."""
        for label, class_name in enumerate(class_names):
            if (folder / class_name).exists():
                for entry in self._visible_entries(folder / class_name):
                    file = self._image_file(entry, label)
                    if file is not None:
                        yield file

    def _subfolders(self, folder: Path) -> list[str]:
        names = []
        for entry in self._visible_entries(folder):
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
            else:
                self.problems.append(
                    f"{self._printable_name(entry)} is not in the folder of a class"
                )
        return sorted(names)

    def _image_file(self, entry: os.DirEntry, label: int) -> ImageFile | None:
        """Return a file in a class folder; if it is unusable, add to `problems` and return None."""
        name = self._printable_name(entry)
        path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        try:
            status = Path(path).lstat()
        except OSError as error:
            self.problems.append(f"{name} can't be read ({error.strerror})")
            return None
        if not Path(path).is_relative_to(self.root):
            self.problems.append(f"{name} is a link to outside the folder")
            return None
        if stat.S_ISDIR(status.st_mode):
            self.problems.append(f"{name} is a folder inside the folder of a class")
            return None
        if not stat.S_ISREG(status.st_mode):
            self.problems.append(f"{name} is not a regular file")
            return None
        self._file_count += 1
        self._byte_count += status.st_size
        if self._file_count > MAX_IMAGES or self._byte_count > _MAX_BYTES:
            raise RunError(
                f"{self.root}: more than {MAX_IMAGES:,} files or {_MAX_BYTES // 2**30} GiB; "
                "give fewer images"
            )
        return ImageFile(path, name, label, status.st_size, status.st_mtime_ns)

    def _visible_entries(self, folder: Path) -> Iterator[os.DirEntry]:
        for entry in _list_folder(folder):
            if entry.name.startswith(".") or entry.name in _IGNORED_NAMES:
                self.hidden_count += 1
            else:
                yield entry

    def _printable_name(self, entry: os.DirEntry) -> str:
        name = os.path.relpath(entry.path, self.root)
        return name if name.isprintable() else ascii(name)


def _list_folder(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise RunError(f"{folder}: can't be listed ({error.strerror})") from error


def _check_counts(
    path: Path, class_names: Sequence[str], splits: Mapping[str, Sequence[ImageFile]]
) -> None:
    counts = np.bincount([file.label for file in splits["train"]], minlength=len(class_names))
    if not counts.all():
        empty_class = class_names[int(np.argmin(counts))]
        raise RunError(
            f"{path}: class {empty_class!r} has no training images; add some, or remove its folder"
        )
    if "test" in splits and not splits["test"]:
        raise RunError(f"{path}: test holds no images; add some")
