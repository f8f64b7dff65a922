"""Paths without characters to which libraries give a meaning."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxcifar.errors import RunError
from jaxcifar.machine.system import WINDOWS

# Libraries interpret other characters: `glob` interprets `[` and `*`, etils interprets `gs:`, and
# TensorStore backslashes and bytes that are not UTF-8. (`\w` matches letters of all languages.)
_PATH_OF_ORDINARY_CHARACTERS = re.compile(r"[\w./+=,@~ :\\-]*" if WINDOWS else r"[\w./+=,@~ -]*")


@contextlib.contextmanager
def path_without_special_characters(folder: Path) -> Iterator[Path]:
    """Yield an absolute path to a folder, without special characters such as `*` and `[`.

    If the folder's own path has special characters, the yielded path is a link in a temporary
    folder. The link is deleted when the block ends.

    Args:
      folder: the folder, which need not exist.

    Raises:
      RunError: a link is needed and can't be made.
    """
    absolute_path = folder.resolve()
    if _has_only_ordinary_characters(absolute_path):
        yield absolute_path
        return
    with contextlib.ExitStack() as exit_stack:
        try:
            temporary_folder = tempfile.TemporaryDirectory(prefix="jaxcifar-")
            link = Path(exit_stack.enter_context(temporary_folder)).resolve() / "folder"
            if not _has_only_ordinary_characters(link):
                raise OSError(
                    None, f"the temporary folder {link.parent} has special characters too"
                )
            link.symlink_to(absolute_path, target_is_directory=True)
        except OSError as error:
            raise RunError(
                f"{folder}: a path with special characters needs a link in the temporary "
                f"folder, which can't be made ({error.strerror}); choose a folder whose path has "
                "only letters, digits, spaces and . _ - + = , @ ~"
            ) from error
        yield link


def _has_only_ordinary_characters(path: Path) -> bool:
    return _PATH_OF_ORDINARY_CHARACTERS.fullmatch(os.fspath(path)) is not None
