"""List the files in a folder of the user, through links to folders, without opening any file."""

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.arrays import MAX_IMAGES
from jaxcifar.data.folder_problems import raise_problems
from jaxcifar.errors import RunError

_IMAGE_SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
}
IGNORED_NAMES = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # as systems write them
_MAX_TOTAL_BYTES = 2**40  # of all files together
_MAX_FOLDERS = 10**6
_MAX_DEPTH = 32  # of folders inside folders
MAX_SHOWN_NAMES = 5  # of folders or tables in a message


class Folder(NamedTuple):
    """A folder: its path with links resolved, and its path inside the user's folder."""

    path: Path
    relative_path: str

    @property
    def printable_path(self) -> str:
        """Its path inside the user's folder, for messages."""
        return printable_name(self.relative_path)

    @property
    def own_name(self) -> str:
        """Its name without the folders around it."""
        return self.relative_path.rpartition("/")[2]

    @property
    def class_name(self) -> str:
        """The name of the class of its images if it is a class folder."""
        return normal_form(self.own_name)


class FoundFile(NamedTuple):
    """A file in a folder of the user.

    Attributes:
      path: absolute path, with links resolved.
      relative_path: path inside the folder, with slashes.
      byte_count: number of bytes.
      modified_ns: time of the last change, in nanoseconds.
    """

    path: str
    relative_path: str
    byte_count: int
    modified_ns: int


class FolderContent(NamedTuple):
    """The subfolders of a folder, and the names of its other entries, both sorted."""

    subfolders: list[Folder]
    file_names: list[str]


def normal_form(name: str) -> str:
    """Return a name in Unicode's form NFC: macOS may write "é" as "e" and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def printable_name(name: str) -> str:
    """Return a name for a message: unprintable names are escaped."""
    return name if name.isprintable() else ascii(name)


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
      ignored_count: number of ignored files, such as hidden files.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self._advice_of_problem: dict[str, str] = {}  # message -> advice
        self._ignored_paths: set[str] = set()
        self._linked_folders: list[Path] = []
        # The folders from the root down to each listed folder, itself included.
        self._parent_folders: dict[Path, tuple[Path, ...]] = {self.root: (self.root,)}
        self._folder_count = self._file_count = self._byte_count = 0

    @property
    def root_folder(self) -> Folder:
        """The user's folder."""
        return Folder(self.root, "")

    @property
    def problems(self) -> list[str]:
        return list(self._advice_of_problem)

    @property
    def ignored_count(self) -> int:
        return len(self._ignored_paths)

    def children(self, folder: Folder) -> FolderContent:
        """Return the subfolders of a folder and the names of its files, without hidden entries."""
        subfolders: list[Folder] = []
        file_names: list[str] = []
        for entry in self._visible_entries(folder):
            if _is_folder(entry):
                subfolder = self._usable_subfolder(folder, entry)
                if subfolder is not None:
                    subfolders.append(subfolder)
            else:
                file_names.append(entry.name)
        return FolderContent(subfolders, file_names)

    def files_below(self, folder: Folder) -> Iterator[FoundFile]:
        """Yield the usable files in a folder, in order of their names, then in its subfolders.

        Raises:
          RunError: a folder can't be listed, or there are too many files or folders.
        """
        subfolders: list[Folder] = []
        for entry in self._visible_entries(folder):
            if _is_folder(entry):
                subfolder = self._usable_subfolder(folder, entry)
                if subfolder is not None:
                    subfolders.append(subfolder)
            else:
                file = self._usable_file(folder, entry)
                if file is not None:
                    yield file
        for subfolder in subfolders:
            yield from self.files_below(subfolder)

    def _usable_subfolder(self, folder: Folder, entry: os.DirEntry) -> Folder | None:
        """Return the subfolder that `entry` of `folder` is; None for a link to a parent folder."""
        relative_path = _join_paths(folder.relative_path, entry.name)
        path = folder.path / entry.name
        parent_folders = self._parent_folders[folder.path]
        printable_path = printable_name(relative_path)
        if entry.is_symlink():
            path = Path(os.path.realpath(path))
            if any(parent.is_relative_to(path) for parent in parent_folders):
                self.add_problem(f"{printable_path} is a link to a folder that contains it")
                return None
            self._linked_folders.append(path)
        if len(parent_folders) > _MAX_DEPTH:
            problem = f"{printable_path} lies more than {_MAX_DEPTH} folders deep"
            raise RunError(f"{self.root}: {problem}; move it up")
        self._parent_folders[path] = (*parent_folders, path)
        self._folder_count += 1
        if self._folder_count > _MAX_FOLDERS:
            raise RunError(f"{self.root}: more than {_MAX_FOLDERS:,} folders; give fewer folders")
        return Folder(path, relative_path)

    def _usable_file(self, folder: Folder, entry: os.DirEntry) -> FoundFile | None:
        """Return the file that `entry` of `folder` is; if it is unusable, add a problem."""
        relative_path = _join_paths(folder.relative_path, entry.name)
        printable_path = printable_name(relative_path)
        path = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        try:
            status = Path(path).lstat()
        except OSError as error:
            problem = f"can't be read ({error.strerror})"
            if entry.is_symlink() and isinstance(error, FileNotFoundError):
                problem = f"is a broken link: {printable_name(path)} does not exist"
            self.add_problem(f"{printable_path} {problem}")
            return None
        if entry.is_symlink() and not self._is_in_allowed_folder(Path(path)):
            self.add_problem(
                f"{printable_path} is a link to outside the folder",
                "copy the file in place of the link, or link the whole class folder",
            )
            return None
        if not stat.S_ISREG(status.st_mode):
            self.add_problem(f"{printable_path} is not a regular file")
            return None
        self._file_count += 1
        self._byte_count += status.st_size
        if self._file_count > MAX_IMAGES or self._byte_count > _MAX_TOTAL_BYTES:
            raise RunError(
                f"{self.root}: more than {MAX_IMAGES:,} files or {_MAX_TOTAL_BYTES // 2**30} GiB; "
                "give fewer images"
            )
        return FoundFile(path, relative_path, status.st_size, status.st_mtime_ns)

    def _is_in_allowed_folder(self, path: Path) -> bool:
        allowed_folders = (self.root, *self._linked_folders)
        return any(path.is_relative_to(folder) for folder in allowed_folders)

    def _visible_entries(self, folder: Folder) -> Iterator[os.DirEntry]:
        """Yield the entries of a folder in order of their names, without the hidden entries."""
        try:
            with os.scandir(folder.path) as entries:
                sorted_entries = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise RunError(
                f"{folder.path}: can't be listed ({error.strerror}); make the folder readable, or "
                "move it out"
            ) from error
        for entry in sorted_entries:
            if entry.name.startswith(".") or entry.name in IGNORED_NAMES:
                self._ignored_paths.add(entry.path)
            else:
                yield entry

    def add_problem(self, problem: str, advice: str = "") -> None:
        """Add a message to `problems`, but only once, even if a folder is listed several times.

        `advice` says what to do; "" means that the file should be corrected or moved.
        """
        self._advice_of_problem[problem] = advice

    def raise_problems(self) -> None:
        """Raise an error about the first problem, if there is one.

        Raises:
          RunError: there is at least one problem.
        """
        if self._advice_of_problem:
            first_advice = next(iter(self._advice_of_problem.values()))
            raise_problems(self.root, self.problems, first_advice)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _join_paths(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
