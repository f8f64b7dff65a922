"""The contents of the files of user code, each read once."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from types import ModuleType

from jaxcifar.errors import UsageError
from jaxcifar.user.loader import late_import_message
from jaxcifar.user.notebook_cells import definitions_used_in_cell
from jaxcifar.user.user_program import imported_source

_MAX_IMPORTED_FILES = 1000


class FileContents:
    """The contents of a module of the user and of the files that it imports.

    Attributes:
      is_complete: True as soon as no further file may be added.

    Args:
      module_name: the user's name for the module, for error messages.
      main_file: the module's file.
      files: the files that are read already: path relative to the folder of `main_file` -> content.
    """

    def __init__(self, module_name: str, main_file: Path, files: Mapping[str, bytes]) -> None:
        self.is_complete = False
        self._module_name, self._main_file = module_name, main_file
        self._hashed_contents = {
            os.path.realpath(main_file.parent / relative_path): content
            for relative_path, content in files.items()
        }
        self._imported_contents: dict[str, bytes] = {}

    def known_content(self, file: str) -> bytes:
        """Return the content of a file that was read earlier; b"" if the file was not read yet."""
        real_path = os.path.realpath(file)
        return self._hashed_contents.get(real_path) or self._imported_contents.get(real_path, b"")

    def read_imported_file(self, file: str, module: ModuleType | None = None) -> bytes:
        """Return the content of an imported file, which the first call reads from the disk.

        Args:
          file: the file's path.
          module: the file's module if it is already imported; else None.

        Raises:
          UsageError: the file was not read before, and no further file may be added
            (`is_complete`), or there are too many files.
        """
        real_path = os.path.realpath(file)
        if real_path in self._hashed_contents:
            return self._hashed_contents[real_path]
        if real_path not in self._imported_contents:
            if self.is_complete:
                raise UsageError(f"{self._module_name}: {late_import_message(file)}")
            if len(self._imported_contents) == _MAX_IMPORTED_FILES:
                raise UsageError(
                    f"{self._module_name}: the code imports more than {_MAX_IMPORTED_FILES:,} "
                    "files that are not part of an installed package; install some of them as a "
                    "package"
                )
            if module is not None and real_path.endswith(".py"):
                self._imported_contents[real_path] = imported_source(module)
            else:
                self._imported_contents[real_path] = Path(file).read_bytes()
        return self._imported_contents[real_path]

    def read_other_cells(self, notebook: ModuleType) -> list[bytes]:
        """Return the definitions that the main file, a notebook's cell, uses from other cells.

        The definitions also count as imported files. `notebook` has the names of all cells.
        """
        main_content = self.known_content(str(self._main_file))
        definitions = definitions_used_in_cell(main_content, notebook)
        folder = os.path.realpath(self._main_file.parent)
        for file_name, content in definitions.items():
            self._imported_contents[f"{folder}{os.sep}{file_name}"] = content
        return list(definitions.values())

    def forget_imported_files(self) -> None:
        """Forget all imported files, so that they are read again."""
        self._imported_contents.clear()

    def imported_contents(self) -> dict[str, bytes]:
        """Return the contents of the user's files that the main file imports.

        Returns:
          path -> content; paths are relative to the main file's folder, except for files on another
          drive.
        """
        main_folder = os.path.realpath(self._main_file.parent)
        content_by_path = {}
        for file, content in self._imported_contents.items():
            path = _relative_path(file, main_folder)
            content_by_path[Path(path).as_posix()] = content
        return content_by_path

    def has_changed(self) -> bool:
        """Return whether an imported file was edited or deleted after it was read."""
        contents = self._imported_contents.items()
        return any(_content_on_disk(file) != content for file, content in contents)


def path_of_copy(file: str) -> str:
    """Return a path without `..` for a file's copy, such as `(up)/lib/x.py` for `../lib/x.py`."""
    parts = PurePath(file).relative_to(PurePath(file).anchor).parts
    return "/".join("(up)" if part == ".." else part for part in parts)


def _relative_path(file: str, folder: str) -> str:
    """Return a file's path relative to a folder; the unchanged path if it is on another drive."""
    try:
        return os.path.relpath(file, folder)
    except ValueError:  # Windows has no relative path between drives
        return file


def _content_on_disk(file: str) -> bytes | None:
    """Return the content of a file; None if it can't be read."""
    with suppress(OSError):
        return Path(file).read_bytes()
    return None
