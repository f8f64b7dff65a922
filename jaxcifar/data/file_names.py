"""Find image files by the names that a table gives them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data.folder_listing import FoundFile, normal_form
from jaxcifar.data.split_names import split_of


class _Indexed(NamedTuple):
    """A file, and the folders around it, the outermost first."""

    folders: tuple[str, ...]
    file: FoundFile


class FileNames:
    """An index of image files by name, by name without suffix, and by number.

    Args:
      files: the files.
      folder: name of the folder of the files if the table of labels lies beside that folder; ""
        if the table is in the folder.
      roots: absolute paths of the folder of the files.
    """

    def __init__(
        self, files: Iterable[FoundFile], folder: str = "", roots: Iterable[Path] = ()
    ) -> None:
        outer_folders = [normal_form(folder)] if folder else []
        self._roots = [normal_form(root.as_posix()) for root in roots]
        self._by_path: dict[str, FoundFile] = {}
        self._by_name: dict[str, list[_Indexed]] = {}
        self._by_stem: dict[str, list[_Indexed]] = {}
        self._by_number: dict[str, list[_Indexed]] = {}
        for file in files:
            path = normal_form(file.name)
            self._by_path[path] = file
            path_parts = path.split("/")
            name = path_parts.pop()
            indexed = _Indexed((*outer_folders, *path_parts), file)
            stem = name.rpartition(".")[0] or name
            number = _number(stem)
            self._by_name.setdefault(name, []).append(indexed)
            self._by_stem.setdefault(stem, []).append(indexed)
            if number is not None:
                self._by_number.setdefault(number, []).append(indexed)

    def find(self, value: str) -> list[FoundFile]:
        """Return the files that a cell of a table may mean; none or several are possible.

        Args:
          value: a file name with or without suffix, a number, or a path. The path may begin in any
            folder around or inside the user's folder.
        """
        path = value.replace("\\", "/")
        for root in self._roots:
            if path.startswith(f"{root}/") and path.removeprefix(f"{root}/") in self._by_path:
                return [self._by_path[path.removeprefix(f"{root}/")]]
        path_parts = path.split("/")
        folders = [part for part in path_parts if part not in ("", ".", "..")]
        if not folders:
            return []
        name = folders.pop()
        number = _number(name)
        same_name = self._by_name.get(name, [])
        same_stem = self._by_stem.get(name, [])
        same_number = [] if number is None else self._by_number.get(number, [])
        for candidates in (same_name, same_stem, same_number):
            matches = [file for file in candidates if _may_be_in(file.folders, folders)]
            if matches:
                return [match.file for match in _preferred(matches, folders)]
        return []


def _number(name: str) -> str | None:
    """Return the digits of a name without leading zeros, "7" for "007"; None for other names."""
    if not name.isdecimal():
        return None
    return name.lstrip("0") or "0"


def _may_be_in(file_folders: Sequence[str], given_folders: Sequence[str]) -> bool:
    """Return True if a path with `given_folders` may mean a file in `file_folders`.

    The path may mean the file if one of the two lists of folders ends with the other list.
    """
    common = min(len(file_folders), len(given_folders))
    return common == 0 or list(file_folders[-common:]) == list(given_folders[-common:])


def _preferred(matches: list[_Indexed], given_folders: Sequence[str]) -> list[_Indexed]:
    """Choose the most likely among the files that a table's cell may mean.

    Files whose folders are exactly `given_folders` come first. If there are none, the files in a
    training folder are returned, or else all files. Training folders come before others because
    Kaggle's tables name only training images, by numbers that test images have too.
    """
    exact_matches = [file for file in matches if list(file.folders) == list(given_folders)]
    if exact_matches:
        return exact_matches
    if len(matches) == 1:
        return matches
    training_files = [
        file for file in matches if any(split_of(folder) == "train" for folder in file.folders)
    ]
    return training_files or matches
