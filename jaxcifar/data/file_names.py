"""Find image files by the names that a table gives them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.folder_listing import FoundFile, normal_form
from jaxcifar.data.split_names import split_of_name


class _IndexedFile(NamedTuple):
    """A file, and the folders around it, the outermost first."""

    folders: tuple[str, ...]
    file: FoundFile


class FileIndex:
    """An index of image files by name, by name without suffix, and by number.

    Args:
      image_files: the files.
      outer_folder: name of the folder of the files if the table of labels lies beside that folder;
        "" if the table is in the folder.
      folder_paths: absolute paths of the folder of the files.
    """

    def __init__(
        self,
        image_files: Iterable[FoundFile],
        outer_folder: str = "",
        folder_paths: Iterable[Path] = (),
    ) -> None:
        outer_folders = [normal_form(outer_folder)] if outer_folder else []
        self._folder_paths = [normal_form(path.as_posix()) for path in folder_paths]
        self._file_of_path: dict[str, FoundFile] = {}
        self._files_of_name: dict[str, list[_IndexedFile]] = {}
        self._files_of_stem: dict[str, list[_IndexedFile]] = {}
        self._files_of_digits: dict[str, list[_IndexedFile]] = {}
        for file in image_files:
            path = normal_form(file.relative_path)
            self._file_of_path[path] = file
            *folders, name = path.split("/")
            indexed = _IndexedFile((*outer_folders, *folders), file)
            stem = name.rpartition(".")[0] or name
            digits = _digits_without_zeros(stem)
            self._files_of_name.setdefault(name, []).append(indexed)
            self._files_of_stem.setdefault(stem, []).append(indexed)
            if digits is not None:
                self._files_of_digits.setdefault(digits, []).append(indexed)

    def find(self, cell: str) -> list[FoundFile]:
        """Return the files that a cell of a table may mean; none or several are possible.

        Args:
          cell: a file name with or without suffix, a number, or a path. The path may begin in any
            folder around or inside the user's folder.
        """
        path = cell.replace("\\", "/")
        for folder_path in self._folder_paths:
            is_in_folder = path.startswith(f"{folder_path}/")
            relative_path = path.removeprefix(f"{folder_path}/")
            if is_in_folder and relative_path in self._file_of_path:
                return [self._file_of_path[relative_path]]
        path_parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        if not path_parts:
            return []
        *named_folders, name = path_parts
        for candidates in self._candidates(name):
            matches = [file for file in candidates if _folders_agree(file.folders, named_folders)]
            if matches:
                return [match.file for match in _most_likely_files(matches, named_folders)]
        return []

    def _candidates(self, name: str) -> Iterator[list[_IndexedFile]]:
        """Yield lists of files that a name may mean, the most likely list first.

        These are the files with exactly this name, then the files with this name and a suffix, and
        then the files with this number as their name, such as "007.png" for "7".
        """
        yield self._files_of_name.get(name, [])
        yield self._files_of_stem.get(name, [])
        digits = _digits_without_zeros(name)
        if digits is not None:
            yield self._files_of_digits.get(digits, [])


def _digits_without_zeros(name: str) -> str | None:
    """Return the digits of a name without leading zeros, "7" for "007"; None for other names."""
    if not name.isdecimal():
        return None
    return name.lstrip("0") or "0"


def _folders_agree(file_folders: Sequence[str], named_folders: Sequence[str]) -> bool:
    """Return True if a path with `named_folders` may mean a file in `file_folders`.

    The path may mean the file if one of the two lists of folders ends with the other list.
    """
    common_length = min(len(file_folders), len(named_folders))
    if common_length == 0:
        return True
    return list(file_folders[-common_length:]) == list(named_folders[-common_length:])


def _most_likely_files(
    matches: list[_IndexedFile], named_folders: Sequence[str]
) -> list[_IndexedFile]:
    """Return the most likely of the files that a cell of a table may mean.

    These are the files whose folders are exactly `named_folders`. Without such files, they are the
    files in a training folder, or else all files. Training folders are preferred because Kaggle's
    tables name only training images, and the test images are often numbered in the same way.
    """
    exact_matches = [file for file in matches if list(file.folders) == list(named_folders)]
    if exact_matches:
        return exact_matches
    if len(matches) == 1:
        return matches
    training_files = [file for file in matches if "train" in map(split_of_name, file.folders)]
    return training_files or matches
