"""Writing files completely or not at all, and locking folders against other processes."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from jaxcifar.errors import BusyError, RunError
from jaxcifar.machine.system import is_running, lock_file, open_descriptor, retry_if_access_denied

_LOCK_FILE_NAME = ".jaxcifar.lock"
# Name of a temporary file that `atomic_write` makes; it ends in the number of the process.
_PARTIAL_FILE_PATTERN = re.compile(
    r"\.[\w+-]+\.(?:html|jsonl?|md|np[yz]|pdf|png|py|safetensors|svg|txt)\.(\d{1,10})"
)
_ERRORS_IN_READ_ONLY_FOLDERS = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file for writing, and rename it to `path` if the block succeeds.

    If the process is killed, `path` holds either the old content or the new content. If `path` is a
    symbolic link, the new file replaces the link.

    Raises:
      OSError: the file can't be written.
    """
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary_path.unlink(missing_ok=True)  # left by a dead process that had our number
        with temporary_path.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        retry_if_access_denied(lambda: temporary_path.replace(path))
    finally:
        temporary_path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text to a file in UTF-8, replacing an existing file as `atomic_write` does."""
    with atomic_write(path) as file:
        file.write(text.encode())


def append_to_file(path: Path, content: bytes) -> None:
    """Append bytes to a file; create the file if it is missing. Links are not followed.

    Raises:
      RunError: a link, pipe, device or folder is at `path`.
      OSError: the file can't be written.
    """
    with os.fdopen(_open_regular_file(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        file.write(content)


def delete_path(path: Path) -> None:
    """Delete a file, or a folder with its content, if it exists. A link's target is not deleted.

    Raises:
      OSError: the file or folder can't be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_readable(*paths: Path) -> None:
    """Check that this process may read all files and folders that exist at the paths.

    Raises:
      OSError: a path can't be read, or is a pipe or device, at which reading might wait for ever.
    """
    for path in paths:
        if not path.exists():
            continue
        needed_access = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
        if not os.access(path, needed_access):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if not path.is_file() and not path.is_dir():
            raise OSError(errno.EINVAL, "is not a regular file", str(path))


def change_time(path: Path) -> int | None:
    """Return the time of a file's last change, in nanoseconds; None if the file is missing."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def unused_path(path: Path) -> Path:
    """Return `path` if nothing exists there, or else an unused path such as `name-1`."""
    number = 0
    unused = path
    while os.path.lexists(unused):
        number += 1
        unused = path.with_name(f"{path.name}-{number}")
    return unused


def delete_partial_files(folder: Path) -> None:
    """Delete the temporary files of `atomic_write` that killed processes left in a folder.

    This process must have locked the folder by `lock_folder`.
    """
    with contextlib.suppress(OSError):  # files that can't be deleted do no harm: nothing reads them
        for entry in list(os.scandir(folder)):
            match = _PARTIAL_FILE_PATTERN.fullmatch(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            process_number = int(match[1])
            # An earlier process had the same number: this one has written no file since the lock.
            is_of_earlier_process = process_number == os.getpid()
            if is_of_earlier_process or not is_running(process_number):
                Path(entry.path).unlink()


@contextlib.contextmanager
def lock_folder(
    folder: Path, wait: bool = True, check: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Lock a folder for this process until the block ends; create the folder if it is missing.

    The system releases the lock of a process that dies. Temporary files of killed processes are
    deleted. At the end, folders that this function created and that are empty are deleted. If the
    block fails, the lock file is deleted too, unless it existed before.

    Args:
      folder: the folder to lock.
      wait: True to wait while another process has locked the folder; False to raise an error.
      check: called when the folder is locked. If it raises an error, the folder stays as it was.

    Raises:
      BusyError: another process has locked the folder, and `wait` is false.
      RunError: something other than a file has the name of the lock file.
      OSError: the folder can't be created.
    """
    try:
        new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
        had_lock_file = os.path.lexists(folder / _LOCK_FILE_NAME)
        descriptor = _open_and_lock(folder, wait)
    except OSError as error:
        is_read_only = folder.is_dir() and error.errno in _ERRORS_IN_READ_ONLY_FOLDERS
        if not is_read_only:
            raise
        check()
        yield  # nothing can be written in a read-only folder, so it needs no lock
        return
    succeeded = False
    try:
        check()
        delete_partial_files(folder)
        yield
        succeeded = True
    finally:
        keep_if_folder_has_files = succeeded or had_lock_file
        _delete_and_unlock(
            descriptor,
            lambda: _delete_lock_file_and_new_folders(
                folder, new_folders, keep_if_folder_has_files
            ),
        )


def _open_and_lock(folder: Path, wait: bool) -> int:
    """Lock the lock file in a folder, and return the file's descriptor.

    A missing folder or file is created. If another process holds the lock, the function waits for
    it if `wait` is True, and raises BusyError if not.
    """
    lock_path = folder / _LOCK_FILE_NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = retry_if_access_denied(lambda: _open_regular_file(lock_path, os.O_RDWR))
        except FileNotFoundError:  # the process that held the lock has just deleted the folder
            continue
        try:
            if not lock_file(descriptor, wait):
                raise BusyError(f"{folder}: another process is at work here; wait for it")
            if _is_still_at(lock_path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open_regular_file(path: Path, flags: int) -> int:
    """Open a file and return its descriptor; create a missing file, refuse links and folders."""
    try:
        return open_descriptor(path, flags | os.O_CREAT)
    except ValueError:
        message = f"{path}: is not a regular file; delete it, then run the same command"
        raise RunError(message) from None


def _is_still_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file of a descriptor is still at `path`, not deleted or replaced."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _delete_and_unlock(descriptor: int, delete_files: Callable[[], None]) -> None:
    """Delete files by calling `delete_files`, then release the lock by closing the lock file.

    Files are deleted before the lock is released, because afterwards another process may use them.
    But Windows can't delete the lock file while it is open. There, the files are deleted once more
    after the lock file is closed, except a file that another process has opened by then.
    """
    is_refused_while_open = False
    try:
        delete_files()
    except PermissionError:
        is_refused_while_open = True
    except OSError:
        pass  # the files stay
    finally:
        os.close(descriptor)
    if is_refused_while_open:
        with contextlib.suppress(OSError):
            delete_files()


def _delete_lock_file_and_new_folders(
    folder: Path, new_folders: Sequence[Path], keep_if_folder_has_files: bool
) -> None:
    """Delete the lock file, and then the `new_folders` if they are empty.

    Args:
      folder: the locked folder.
      new_folders: folders that `lock_folder` created, the innermost first.
      keep_if_folder_has_files: True to keep the lock file if the folder has other files; False to
        delete the lock file in any case.
    """
    has_only_lock_file = [path.name for path in folder.iterdir()] == [_LOCK_FILE_NAME]
    if has_only_lock_file or not keep_if_folder_has_files:
        (folder / _LOCK_FILE_NAME).unlink()
    if has_only_lock_file:
        for path in new_folders:
            path.rmdir()
