"""What is written to disk: whole or not at all, by one process at a time."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from jaxcifar.errors import BusyError, RunError
from jaxcifar.machine.system import is_running, lock_file, open_descriptor, retry_if_denied

_LOCK = ".jaxcifar.lock"
# A name as `replacing` makes it of the files that we write, with its process's number.
_PARTIAL = re.compile(
    r"\.[\w+-]+\.(?:html|jsonl?|md|np[yz]|pdf|png|py|safetensors|svg|txt)\.(\d{1,10})"
)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end, if all goes well.

    A kill at any moment leaves the old file or the new one. Where `path` is a symbolic link, the
    file takes the link's place.

    Raises:
      OSError: it can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.unlink(missing_ok=True)  # of a dead process with our number
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        retry_if_denied(lambda: partial.replace(path))
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text`, as `replacing` does."""
    with atomic_write(path) as file:
        file.write(text.encode())


def append_to_file(path: Path, content: bytes) -> None:
    """Append to a file, which is made if need be; a link in its place is not followed.

    Raises:
      RunError: a link, or something else that is no regular file, is in its place.
      OSError: it can't be written.
    """
    with os.fdopen(_open_plain(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        file.write(content)


def delete_path(path: Path) -> None:
    """Delete a file or a folder with all in it, if it is there; of a link never what it points to.

    Raises:
      OSError: it can't be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_readable(*paths: Path) -> None:
    """Complain of what is there and this process may not read, or would wait for: pipes, devices.

    Raises:
      OSError: see above.
    """
    for path in paths:
        mode = os.R_OK | (os.X_OK if path.is_dir() else 0)
        if path.exists() and not os.access(path, mode):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError(errno.EINVAL, "is no regular file", str(path))


def unused_path(path: Path) -> Path:
    """The path, or with a number behind its name, so that nothing is there."""
    free, number = path, 0
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def delete_partial_files(folder: Path) -> None:
    """Delete what dead processes left of `replacing` in a folder that this process holds."""
    with contextlib.suppress(OSError):  # then they stay: nothing reads them
        for entry in list(os.scandir(folder)):
            match = _PARTIAL.fullmatch(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            process = int(match[1])
            if process == os.getpid() or not is_running(process):
                Path(entry.path).unlink()


@contextlib.contextmanager
def lock_folder(
    folder: Path, wait: bool = True, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold `folder` (made if need be) for this process; the system frees a dead one's lock.

    What killed processes left half written there is deleted. If nothing is written there while it
    is held, a folder made for the purpose does not stay. If the caller fails, the lock's file stays
    only where it was there before.

    Args:
      folder: what to hold.
      wait: whether to wait for another process that holds it.
      check: looks at the folder once it is held and raises if it is not ours: then it is left as
        it was found.

    Raises:
      BusyError: another process holds it and `wait` is false.
      RunError: something else lies in the place of the file that is locked.
      OSError: the folder can't be made.
    """
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        found = os.path.lexists(folder / _LOCK)
        descriptor = _hold(folder, wait)
    except OSError as error:
        if error.errno not in _READ_ONLY or not folder.is_dir():
            raise
        check()
        yield  # a read-only folder: nothing will be written, so nothing needs locking
        return
    succeeded = False
    try:
        check()
        delete_partial_files(folder)
        yield
        succeeded = True
    finally:
        _let_go(descriptor, lambda: _clear(folder, made, lock_too=not succeeded and not found))


def _hold(folder: Path, wait: bool) -> int:
    """The descriptor of the folder's lock, once it is ours."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = retry_if_denied(lambda: _open_plain(folder / _LOCK, os.O_RDWR))
        except FileNotFoundError:  # whoever held it took the folder away just now
            continue
        try:
            if not lock_file(descriptor, wait):
                raise BusyError(f"{folder}: another process is at work here; wait for it")
            if _lies_at(folder / _LOCK, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open_plain(path: Path, flags: int) -> int:
    """Open a file (made if need be) that is no link, pipe or folder, and leave it as it is."""
    try:
        return open_descriptor(path, flags | os.O_CREAT)
    except ValueError:
        told = f"{path}: is no plain file; delete it, then run the same command"
        raise RunError(told) from None


def _lies_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _let_go(descriptor: int, delete: Callable[[], None]) -> None:
    """Close the descriptor of a lock once `delete` is done, so that nobody else's is deleted.

    Windows deletes no file that is open: there it is closed first, and as little can a file be
    deleted that another process has locked since.
    """
    open_is_in_the_way = False
    try:
        delete()
    except PermissionError:
        open_is_in_the_way = True
    except OSError:
        pass  # it stays
    finally:
        os.close(descriptor)
    if open_is_in_the_way:
        with contextlib.suppress(OSError):
            delete()


def _clear(folder: Path, made: Sequence[Path], lock_too: bool) -> None:
    """Of a folder in which nothing is but its lock, delete that, and those `made` for it."""
    alone = [path.name for path in folder.iterdir()] == [_LOCK]
    if alone or lock_too:
        (folder / _LOCK).unlink()
    if alone:
        for path in made:
            path.rmdir()
