"""The contents of the files of user code, each read once."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from jaxcifar.errors import UsageError
from jaxcifar.user.loader import late_import_message
from jaxcifar.user.user_program import imported_source

_MOST_FILES = 1000


class FileContents:
    """The contents of a module of the user and of the files that it imports.

    Attributes:
      is_complete: True as soon as no further file may be added.

    Args:
      name: the user's name for the module, for error messages.
      main: the module's file.
      files: the files that are read already: path relative to the folder of `main` -> content.
    """

    def __init__(self, name: str, main: Path, files: Mapping[str, bytes]) -> None:
        self.is_complete = False
        self._name, self._main = name, main
        self._hashed = {os.path.realpath(main.parent / file): files[file] for file in files}
        self._imported: dict[str, bytes] = {}

    def get(self, file: str) -> bytes:
        """Return the content of a file that was read earlier; b"" if the file was not read yet."""
        real_path = os.path.realpath(file)
        return self._hashed.get(real_path) or self._imported.get(real_path, b"")

    def add(self, file: str, module: ModuleType | None = None) -> bytes:
        """Return the content of an imported file, which the first call reads from the disk.

        Args:
          file: the file's path.
          module: the file's module if it is already imported; else None.

        Raises:
          UsageError: the file is new, and `is_complete` is True or there are too many files.
        """
        real_path = os.path.realpath(file)
        if real_path in self._hashed:
            return self._hashed[real_path]
        if real_path not in self._imported:
            if self.is_complete:
                raise UsageError(f"{self._name}: {late_import_message(file)}")
            if len(self._imported) == _MOST_FILES:
                raise UsageError(
                    f"{self._name}: the code imports more than {_MOST_FILES:,} files that are not "
                    "part of an installed package; install some of them as a package"
                )
            if module is not None and real_path.endswith(".py"):
                self._imported[real_path] = imported_source(module)
            else:
                self._imported[real_path] = Path(file).read_bytes()
        return self._imported[real_path]

    def forget_imported(self) -> None:
        """Forget all imported files, so that they are read again."""
        self._imported.clear()

    def imported(self) -> dict[str, bytes]:
        """Return the contents of the user's files that the main file imports.

        Returns:
          path -> content; paths are relative to the main file's folder, except for files on another
          drive.
        """
        contents = {}
        for file, content in self._imported.items():
            path = file
            with suppress(ValueError):  # on another drive
                path = os.path.relpath(file, os.path.realpath(self._main.parent))
            contents[Path(path).as_posix()] = content
        return contents

    def has_changed(self) -> bool:
        """Return whether an imported file was edited or deleted after it was read."""
        return any(_content_on_disk(file) != content for file, content in self._imported.items())


def _content_on_disk(file: str) -> bytes | None:
    """Return the content of a file; None if it can't be read."""
    with suppress(OSError):
        return Path(file).read_bytes()
    return None
