"""Find image files by the names that a table gives them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxcifar.data.folder_layout import split_of
from jaxcifar.data.folder_listing import FoundFile, normal_form


class _Indexed(NamedTuple):
    folders: tuple[str, ...]
    file: FoundFile


class FileNames:
    """An index of image files by name, by name without suffix, and by number.

    Args:
      files: the files.
      folder: name of the folder of the files if the table lies beside that folder; else "".
    """

    def __init__(self, files: Iterable[FoundFile], folder: str = "") -> None:
        around = (normal_form(folder),) if folder else ()
        self._by_key: tuple[dict[str, list[_Indexed]], ...] = ({}, {}, {})
        for file in files:
            *folders, name = normal_form(file.name).split("/")
            stem = name.rpartition(".")[0] or name
            number = _number(stem)
            for index, key in zip(self._by_key, (name, stem, number), strict=True):
                if key is not None:
                    index.setdefault(key, []).append(_Indexed((*around, *folders), file))

    def find(self, value: str) -> list[FoundFile]:
        """Return the files that a cell of a table may mean; several if the cell is ambiguous.

        Args:
          value: a file name with or without suffix, a number, or a path. The path may begin in any
            folder around or inside the user's folder.
        """
        parts = [
            part for part in value.replace("\\", "/").split("/") if part not in ("", ".", "..")
        ]
        if not parts:
            return []
        *folders, name = parts
        for index, key in zip(self._by_key, (name, name, _number(name)), strict=True):
            if key is None:
                continue
            found = [item for item in index.get(key, ()) if _agree(item.folders, folders)]
            if found:
                return [item.file for item in _preferred(found, folders)]
        return []


def _number(name: str) -> str | None:
    """Return the number that a name consists of, without zeros before it; None for other names."""
    return (name.lstrip("0") or "0") if name.isdecimal() else None


def _agree(folders: Sequence[str], given: Sequence[str]) -> bool:
    """Return True if one of two lists of folders ends with the other."""
    common = min(len(folders), len(given))
    return common == 0 or list(folders[-common:]) == list(given[-common:])


def _preferred(found: list[_Indexed], given: Sequence[str]) -> list[_Indexed]:
    """Return the files at exactly the given folders, or else those in the training folder.

    Kaggle's tables name the training images only, by numbers that test images have too.
    """
    exact = [item for item in found if list(item.folders) == list(given)]
    if len(found) == 1 or exact:
        return exact or found
    training = [
        item for item in found if any(split_of(folder) == "train" for folder in item.folders)
    ]
    return training or found
