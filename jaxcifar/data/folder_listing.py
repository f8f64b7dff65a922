"""List the files in a folder of the user, through links to folders, without opening any file."""

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.arrays import MAX_IMAGES
from jaxcifar.data.folder_problems import raise_problems
from jaxcifar.errors import RunError

_IMAGE_SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
}
_IGNORED_NAMES = {"Thumbs.db", "desktop.ini", "__MACOSX"}
_MAX_BYTES = 2**40  # of all files together
_MAX_FOLDERS = 10**6
_MAX_DEPTH = 32  # of folders inside folders
_MOST_NAMES = 5  # of folders or tables in a message


class Folder(NamedTuple):
    """A folder: its path with links resolved, and its printable path inside the user's folder."""

    path: Path
    name: str

    @property
    def last_part(self) -> str:
        """Its name without the folders around it."""
        return self.name.rpartition("/")[2]

    @property
    def class_name(self) -> str:
        """The name of the class of its images if it is a class folder."""
        return normal_form(self.last_part)


class FoundFile(NamedTuple):
    """A file in a folder of the user.

    Attributes:
      path: absolute path, with links resolved.
      name: path inside the folder, with slashes.
      size: number of bytes.
      modified_ns: time of the last change, in nanoseconds.
    """

    path: str
    name: str
    size: int
    modified_ns: int


class FolderContent(NamedTuple):
    """The subfolders of a folder, and the names of its other entries, both sorted."""

    folders: list[Folder]
    files: list[str]


def normal_form(name: str) -> str:
    """Return a name in Unicode's form NFC: macOS may write "é" as "e" and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def shown(name: str) -> str:
    """Return a name for a message: unprintable names are escaped."""
    return name if name.isprintable() else ascii(name)


def list_some(names: Sequence[str]) -> str:
    """Return the first names for a message, with dots if there are more, such as "a, b, ..."."""
    some = list(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        some.append("...")
    return ", ".join(some)


def has_image_suffix(name: str) -> bool:
    """Return True if a file's name ends like that of an image."""
    return Path(name).suffix.lower() in _IMAGE_SUFFIXES


class FolderListing:
    """Lists folders and files, and collects messages about unusable files.

    Links to folders are followed, but not to a folder that contains the link. Links to files must
    stay inside the user's folder or a folder that was reached through a link.

    Attributes:
      root: the user's folder, with links resolved.
      problems: a message about each unusable file.
      hidden_count: number of ignored files, such as hidden files.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._problems: dict[str, str] = {}  # message -> advice
        self._hidden: set[str] = set()
        self._linked_folders: list[Path] = []
        # The folders from the root down to each listed folder, itself included.
        self._parents: dict[Path, tuple[Path, ...]] = {self.root: (self.root,)}
        self._folder_count = self._file_count = self._byte_count = 0

    @property
    def top(self) -> Folder:
        """The user's folder."""
        return Folder(self.root, "")

    @property
    def problems(self) -> list[str]:
        return list(self._problems)

    @property
    def hidden_count(self) -> int:
        return len(self._hidden)

    def children(self, folder: Folder) -> FolderContent:
        """Return the subfolders of a folder and the names of its files, without hidden entries."""
        folders: list[Folder] = []
        files: list[str] = []
        for entry in self._visible_entries(folder):
            child = self._subfolder(folder, entry)
            if child is not None:
                folders.append(child)
            elif not _is_folder(entry):
                files.append(entry.name)
        return FolderContent(folders, files)

    def files(self, folder: Folder) -> Iterator[FoundFile]:
        """Yield the usable files in a folder, in order of their names, then in its subfolders.

        Raises:
          RunError: a folder can't be listed, or there are too many files or folders.
        """
        folders: list[Folder] = []
        for entry in self._visible_entries(folder):
            if _is_folder(entry):
                child = self._subfolder(folder, entry)
                if child is not None:
                    folders.append(child)
            else:
                file = self._file(folder, entry)
                if file is not None:
                    yield file
        for child in folders:
            yield from self.files(child)

    def _subfolder(self, folder: Folder, entry: os.DirEntry) -> Folder | None:
        """Return a directory entry as a folder; None for a file or a link to a parent."""
        if not _is_folder(entry):
            return None
        name = _join(folder.name, entry.name)
        path = folder.path / entry.name
        parents = self._parents[folder.path]
        if entry.is_symlink():
            path = Path(os.path.realpath(path))
            if any(parent.is_relative_to(path) for parent in parents):
                self.add_problem(f"{shown(name)} is a link to a folder that contains it")
                return None
            self._linked_folders.append(path)
        if len(parents) > _MAX_DEPTH:
            raise RunError(
                f"{self.root}: {shown(name)} lies more than {_MAX_DEPTH} folders deep; move it up"
            )
        self._parents[path] = (*parents, path)
        self._folder_count += 1
        if self._folder_count > _MAX_FOLDERS:
            raise RunError(f"{self.root}: more than {_MAX_FOLDERS:,} folders; give fewer folders")
        return Folder(path, name)

    def _file(self, folder: Folder, entry: os.DirEntry) -> FoundFile | None:
        """Return a directory entry as a file; add a problem and return None if it is unusable."""
        name = _join(folder.name, entry.name)
        path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        try:
            status = Path(path).lstat()
        except OSError as error:
            problem = f"can't be read ({error.strerror})"
            if entry.is_symlink() and isinstance(error, FileNotFoundError):
                problem = f"is a broken link: {shown(path)} does not exist"
            self.add_problem(f"{shown(name)} {problem}")
            return None
        if entry.is_symlink() and not self._is_in_allowed_folder(Path(path)):
            self.add_problem(
                f"{shown(name)} is a link to outside the folder",
                "copy the file in place of the link, or link the whole class folder",
            )
            return None
        if not stat.S_ISREG(status.st_mode):
            self.add_problem(f"{shown(name)} is not a regular file")
            return None
        self._file_count += 1
        self._byte_count += status.st_size
        if self._file_count > MAX_IMAGES or self._byte_count > _MAX_BYTES:
            raise RunError(
                f"{self.root}: more than {MAX_IMAGES:,} files or {_MAX_BYTES // 2**30} GiB; "
                "give fewer images"
            )
        return FoundFile(path, name, status.st_size, status.st_mtime_ns)

    def _is_in_allowed_folder(self, path: Path) -> bool:
        allowed_folders = (self.root, *self._linked_folders)
        return any(path.is_relative_to(folder) for folder in allowed_folders)

    def _visible_entries(self, folder: Folder) -> Iterator[os.DirEntry]:
        """Yield the entries of a folder in order of their names; only count hidden entries."""
        try:
            with os.scandir(folder.path) as entries:
                sorted_entries = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise RunError(f"{folder.path}: can't be listed ({error.strerror})") from error
        for entry in sorted_entries:
            if entry.name.startswith(".") or entry.name in _IGNORED_NAMES:
                self._hidden.add(entry.path)
            else:
                yield entry

    def add_problem(self, problem: str, advice: str = "") -> None:
        """Add a message to `problems`, but only once, even if a folder is listed several times.

        `advice` says what to do; "" means that the file should be corrected or moved.
        """
        self._problems[problem] = advice

    def raise_problems(self) -> None:
        """Raise an error about the first problem, if there is one.

        Raises:
          RunError: there is at least one problem.
        """
        if self._problems:
            first_advice = next(iter(self._problems.values()))
            raise_problems(self.root, self.problems, first_advice)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
