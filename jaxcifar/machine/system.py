"""Functions that hide differences between Linux, macOS and Windows."""

import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import filelock
import psutil

WINDOWS = sys.platform == "win32"
_RETRIES = 20
_SECONDS_BETWEEN_RETRIES = 0.05
_DO_NOT_FOLLOW_LINKS = getattr(os, "O_NOFOLLOW", 0)
# Do not wait for a pipe (not on Windows), and do not convert line ends (only on Windows).
_DO_NOT_WAIT_OR_CONVERT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
T = TypeVar("T")


def open_descriptor(path: Path, flags: int, follow_links: bool = False) -> int:
    """Open a regular file and return its descriptor, without waiting for pipes or devices.

    Windows can't open a file without following links. There, a link that replaces the file during
    this call is followed.

    Args:
      path: the file.
      flags: flags for `os.open`.
      follow_links: follow a symbolic link at `path`.

    Raises:
      OSError: the file can't be opened.
      ValueError: `path` is not a regular file, or is a link and `follow_links` is false.
    """
    system_follows_links = not _DO_NOT_FOLLOW_LINKS
    if system_follows_links and not follow_links and path.is_symlink():
        raise ValueError("is a link, which is not followed")
    link_flag = 0 if follow_links else _DO_NOT_FOLLOW_LINKS
    try:
        descriptor = os.open(path, flags | _DO_NOT_WAIT_OR_CONVERT | link_flag, mode=0o666)
    except OSError:  # the error for a link or a folder differs between systems
        if not follow_links and path.is_symlink():
            raise ValueError("is a link, which is not followed") from None
        if path.exists() and not path.is_file():
            raise ValueError("is not a regular file") from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ValueError("is not a regular file")


def lock_file(descriptor: int, wait: bool) -> bool:
    """Lock an open file for this process, until the file is closed or the process ends.

    Args:
      descriptor: descriptor of the file.
      wait: True to wait while another process has locked the file; False to return at once.

    Returns:
      True if the file is now locked; False if another process has locked it.

    Raises:
      OSError: the file can't be locked.
    """
    return filelock.lock_descriptor(descriptor, blocking=wait)


def retry_if_access_denied(action: Callable[[], T]) -> T:
    """Call `action` and return its result; on Windows, retry for a second while access is denied.

    Windows denies replacing a file that another process, such as a virus scanner, has open. It also
    denies opening a file that is being deleted.

    Raises:
      OSError: raised by `action`.
    """
    retries = _RETRIES if WINDOWS else 0
    for _ in range(retries):
        try:
            return action()
        except PermissionError:
            time.sleep(_SECONDS_BETWEEN_RETRIES)
    return action()


def is_running(process_number: int) -> bool:
    """Return whether a process with this number is running on this machine."""
    try:
        return psutil.pid_exists(process_number)  # `os.kill(process, 0)` would end it on Windows
    except OverflowError:
        return False


def peak_memory() -> int:
    """Return the largest number of bytes of memory that this process has used so far."""
    if WINDOWS:  # where alone psutil's result has this field
        return psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]
    import resource  # not on Windows

    bytes_in_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_in_unit


def available_memory() -> int:
    """Return the bytes of memory that this process can still allocate.

    This is the smallest of three numbers: the free memory of the system, the rest of the
    container's limit (Linux, cgroup version 2), and the rest of the limit by `ulimit -v`. The
    system's cache of files counts as free.
    """
    free_bytes = psutil.virtual_memory().available
    smallest_free_bytes = min([free_bytes, *free_bytes_in_containers(), *_free_bytes_by_ulimit()])
    return max(0, smallest_free_bytes)


def free_bytes_in_containers(
    group_names_file: Path = Path("/proc/self/cgroup"), groups_folder: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield the free bytes within each control group (container) that limits this process.

    On systems without control groups of version 2, nothing is yielded.

    Args:
      group_names_file: the file in which Linux names the control group of this process.
      groups_folder: the folder of all control groups.
    """
    if not group_names_file.exists():
        return
    group_line = re.search(r"^0::/(?P<path>.*)$", group_names_file.read_text(), re.MULTILINE)
    if group_line is None:
        return
    innermost_group = groups_folder / group_line["path"]
    for group_folder in (innermost_group, *innermost_group.parents):
        try:
            limit_text = (group_folder / "memory.max").read_text()
            usage_text = (group_folder / "memory.current").read_text()
            memory_statistics = (group_folder / "memory.stat").read_text()
        except OSError:
            continue  # the root group and the folders above it have no limit
        cache_line = re.search(r"^inactive_file (\d+)$", memory_statistics, re.MULTILINE)
        cached_bytes = int(cache_line[1]) if cache_line else 0
        has_limit = limit_text.strip() != "max"
        if has_limit:
            yield int(limit_text) - int(usage_text) + cached_bytes


def _free_bytes_by_ulimit() -> Iterator[int]:
    if WINDOWS:
        return
    import resource  # not on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms
