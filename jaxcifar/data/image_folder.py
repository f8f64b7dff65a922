"""What lies in a folder of images by class: listed with distrust, nothing of it opened."""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.data.arrays import MAX_IMAGES, check_class_names
from jaxcifar.errors import RunError, UsageError

_CLUTTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}
_MAX_BYTES = 2**40  # of all files together


class ImageFile(NamedTuple):
    """A file to be read.

    Attributes:
      path: of the file itself, no link.
      name: its place in the folder, as it can be shown.
      label: number of its class.
      size: bytes.
      changed: when, in ns.
    """

    path: str
    name: str
    label: int
    size: int
    changed: int


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """A folder's classes and files.

    Attributes:
      splits: "train" and, if the folder has one, "test" -> its files, by name.
      hidden: number of hidden files and known clutter, left out.
    """

    path: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[ImageFile]]
    hidden: int

    @classmethod
    def listed(cls, path: Path) -> Self:
        """List `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`.

        Raises:
          RunError: something in it is neither the folder of a class nor a file in one, there are
            too many files, or a class has nothing to train on.
        """
        path = path.resolve()
        listing = _Listing(path)
        names = listing.class_names()
        _check_classes(path, names)
        splits = listing.files(names["train"])
        refuse(path, listing.wrong)
        _check_counts(path, names["train"], splits)
        return cls(path, tuple(names["train"]), splits, listing.hidden)

    @property
    def digest(self) -> str:
        """SHA-256 of names, sizes and times of change."""
        digest = hashlib.sha256()
        for split, files in self.splits.items():
            for file in files:
                digest.update(repr((split, file.name, file.size, file.changed)).encode())
        return digest.hexdigest()


def refuse(root: Path, wrong: Sequence[str]) -> None:
    """Name the first of what is wrong in a folder, and count the others.

    Raises:
      RunError: something is.
    """
    if wrong:
        others = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise RunError(f"{root}: {wrong[0]}{others}; mend it, or move it out of this folder")


class _Listing:
    """The walk through a folder, and what was found wrong on the way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder_of = {"train": root}  # unless it has one for each split
        self._count = self._bytes = 0
        self.wrong: list[str] = []
        self.hidden = 0

    def class_names(self) -> dict[str, list[str]]:
        """Split -> the folders of its classes."""
        tops = self._folders(self._root)
        if "train" in tops and "test" in tops:
            self._folder_of = {split: self._root / split for split in rec.SPLITS}
            self.wrong += [
                f"{name} lies beside train and test" for name in tops if name not in rec.SPLITS
            ]
            return {split: self._folders(path) for split, path in self._folder_of.items()}
        for split in rec.SPLITS:
            if split in tops and any(e.is_dir() for e in self._scan(self._root / split)):
                raise RunError(
                    f"{self._root}: has {split} but not both of train and test; add the other, or "
                    f"give {self._root / split} to have a sixth of every class taken for testing"
                )
        return {"train": tops}

    def files(self, names: Sequence[str]) -> dict[str, list[ImageFile]]:
        """Split -> the files of its classes, which are numbered as `names` are."""
        refuse(self._root, self.wrong)  # no step into what is no folder of a class
        return {
            split: [
                file
                for label, name in enumerate(names)
                if (folder / name).exists()
                for file in self._files(folder / name, label)
            ]
            for split, folder in self._folder_of.items()
        }

    def _folders(self, folder: Path) -> list[str]:
        """Names of the folders in one that must hold nothing else."""
        names = []
        for entry in self._seen(folder):
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
            else:
                self.wrong.append(f"{self._shown(entry)} lies in no folder of a class")
        return sorted(names)

    def _files(self, folder: Path, label: int) -> Iterator[ImageFile]:
        for entry in self._seen(folder):
            name = self._shown(entry)
            path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            try:
                status = Path(path).lstat()
            except OSError as error:
                self.wrong.append(f"{name} can't be looked at ({error.strerror})")
                continue
            if not Path(path).is_relative_to(self._root):
                self.wrong.append(f"{name} is a link to outside the folder")
            elif stat.S_ISDIR(status.st_mode):
                self.wrong.append(f"{name} is a folder inside that of a class")
            elif not stat.S_ISREG(status.st_mode):
                self.wrong.append(f"{name} is no regular file")
            else:
                self._count_in(status.st_size)
                yield ImageFile(path, name, label, status.st_size, status.st_mtime_ns)

    def _count_in(self, size: int) -> None:
        self._count += 1
        self._bytes += size
        if self._count > MAX_IMAGES or self._bytes > _MAX_BYTES:
            raise RunError(
                f"{self._root}: more than {MAX_IMAGES:,} files or {_MAX_BYTES // 2**30} GiB; "
                "give fewer images"
            )

    def _seen(self, folder: Path) -> Iterator[os.DirEntry]:
        """What is not left out, by name."""
        for entry in self._scan(folder):
            if entry.name.startswith(".") or entry.name in _CLUTTER:
                self.hidden += 1
            else:
                yield entry

    def _scan(self, folder: Path) -> list[os.DirEntry]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise RunError(f"{folder}: can't be listed ({error.strerror})") from error

    def _shown(self, entry: os.DirEntry) -> str:
        name = os.path.relpath(entry.path, self._root)
        return name if name.isprintable() else ascii(name)


def _check_classes(path: Path, names: Mapping[str, Sequence[str]]) -> None:
    if extra := sorted(set(names.get("test", ())) - set(names["train"])):
        raise RunError(
            f"{path}: test/{extra[0]} is a class that train lacks; add images of it to train, or "
            "remove it"
        )
    try:
        check_class_names(names["train"])
    except UsageError as error:
        rule = "a folder for each class, in train and test or alone"
        raise RunError(f"{path}: {error}; there must be {rule}") from None


def _check_counts(
    path: Path, names: Sequence[str], splits: Mapping[str, Sequence[ImageFile]]
) -> None:
    counts = np.bincount([file.label for file in splits["train"]], minlength=len(names))
    if not counts.all():
        raise RunError(
            f"{path}: class {names[int(np.argmin(counts))]!r} has no training images; add some, or "
            "remove its folder"
        )
    if not splits.get("test", True):
        raise RunError(f"{path}: test holds no images; add some")
