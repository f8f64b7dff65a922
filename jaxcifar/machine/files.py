"""What is written to disk: whole or not at all, by one process at a time."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxcifar.errors import BusyError


def open_regular(path: str | Path, follow: bool = True) -> BinaryIO:
    """Open a file to read that is not trusted: never a device, nor a pipe that would be waited for.

    Args:
      path: of the file.
      follow: whether it may be a link to one.

    Raises:
      OSError: it is not there, no regular file, or not to be read.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end, if all goes well.

    A kill at any moment leaves the old file or the new one.

    Raises:
      OSError: it can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text`, as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold `folder` (made if need be) for this process; the kernel frees a dead one's lock.

    Args:
      folder: what to hold.
      wait: whether to wait for another process that holds it.

    Raises:
      BusyError: another process holds it and `wait` is false.
      OSError: the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".jaxcifar.lock").open("w")
    except OSError:
        if not folder.is_dir():
            raise
        yield  # a read-only folder: nothing will be written, so nothing needs locking
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(f"{folder}: another process is at work here; wait for it") from None
        yield
