"""A path that every library reads in the same way, to a folder of any name."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxcifar.errors import RunError
from jaxcifar.machine.system import WINDOWS

# Other characters mean something to a library below us: `[` and `*` to `glob`, `gs:` to etils, a
# backslash or bytes that are not UTF-8 to TensorStore. (`\w` matches the letters of all languages.)
_PLAIN = re.compile(r"[\w./+=,@~ :\\-]*" if WINDOWS else r"[\w./+=,@~ -]*")


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Give an absolute path to a folder, made of characters that no library interprets.

    A folder with other characters in its path is reached through a link in a temporary folder.

    Args:
      folder: any; it need not exist.

    Yields:
      the path, valid until the context ends.

    Raises:
      RunError: the folder needs a link, and none can be made.
    """
    real = folder.resolve()
    if _is_plain(real):
        yield real
        return
    with contextlib.ExitStack() as exit_stack:
        try:
            scratch = exit_stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxcifar-"))
            link = Path(scratch).resolve() / "folder"
            if not _is_plain(link):
                raise OSError(None, f"the temporary folder {link.parent} has such characters too")
            link.symlink_to(real, target_is_directory=True)
        except OSError as error:
            raise RunError(
                f"{folder}: a path with such characters needs a link in the temporary folder, "
                f"which can't be made ({error.strerror}); choose a folder with a plain name"
            ) from error
        yield link


def _is_plain(path: Path) -> bool:
    return _PLAIN.fullmatch(os.fspath(path)) is not None
