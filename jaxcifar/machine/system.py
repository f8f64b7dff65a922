"""What Linux, macOS and Windows do in different ways, under one name for all of them."""

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
_PATIENCE = 20, 0.05  # tries and seconds between them
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# Not to wait for a pipe, where files can be pipes; bytes as they are, where text is not.
_PLAIN = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
T = TypeVar("T")


def open_descriptor(path: Path, flags: int, follow: bool = False) -> int:
    """The descriptor of a regular file; a pipe or device is never waited for.

    Where the system can't be told to follow no link, one that takes the file's place within this
    call is followed.

    Args:
      path: of the file.
      flags: those of `os.open`.
      follow: whether a link may stand in its place.

    Raises:
      OSError: it can't be opened.
      ValueError: it is a link, or no regular file.
    """
    if not follow and not _NO_LINK and path.is_symlink():
        raise ValueError("is a link, which is not followed")
    try:
        descriptor = os.open(path, flags | _PLAIN | (0 if follow else _NO_LINK), 0o666)
    except OSError:  # for each kind of system another one
        if not follow and path.is_symlink():
            raise ValueError("is a link, which is not followed") from None
        if path.exists() and not path.is_file():
            raise ValueError("is no regular file") from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ValueError("is no regular file")


def lock_file(descriptor: int, wait: bool) -> bool:
    """Lock an open file for this process until it is closed, at the latest by the process's end.

    Args:
      descriptor: of the file.
      wait: whether to wait for another process that has locked it.

    Returns:
      Whether it is locked now.

    Raises:
      OSError: it can't be.
    """
    return filelock.lock_descriptor(descriptor, blocking=wait)


def retry_if_denied(act: Callable[[], T]) -> T:
    """What `act` returns, tried for a second where Windows denies it.

    It denies replacing a file that another process (such as a virus scanner) has open at that
    moment, and opening one that is just being deleted.

    Raises:
      OSError: what `act` raises.
    """
    tries, seconds = _PATIENCE
    for _ in range(tries if WINDOWS else 0):
        try:
            return act()
        except PermissionError:
            time.sleep(seconds)
    return act()


def is_running(process: int) -> bool:
    """Whether a process has this number."""
    try:
        return psutil.pid_exists(process)  # `os.kill(process, 0)` would end it on Windows
    except OverflowError:
        return False


def peak_memory() -> int:
    """Bytes of memory that this process has held at most."""
    if WINDOWS:
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory() -> int:
    """Bytes of memory that this process may still take.

    It is the least of what the system has free, what the container's limit leaves (Linux, cgroup
    version 2), and what `ulimit -v` leaves. What the system keeps of files counts as free.
    """
    free = psutil.virtual_memory().available
    return max(0, min([free, *left_by_containers(), *_left_by_ulimit()]))


def left_by_containers(
    names: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Bytes that each group of processes that this one is in may still take, if it has a limit.

    Args:
      names: file in which the system names the groups; other systems than Linux have none.
      groups: folder of all groups.
    """
    lines = names.read_text().splitlines() if names.exists() else []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return  # groups of version 1, or none
    for group in (groups / own, *(groups / own).parents):
        try:
            limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
            kept = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.M)
        except OSError:
            continue  # the outermost has no limit, nor what lies above it
        if limit.strip() != "max":
            yield int(limit) - int(used) + (int(kept[1]) if kept else 0)


def _left_by_ulimit() -> Iterator[int]:
    if WINDOWS:
        return
    import resource  # not on Windows

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield limit - psutil.Process().memory_info().vms
