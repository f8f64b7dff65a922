"""Detect files of user code that run without an import statement.

`spec_from_file_location`, `runpy.run_path` and `exec` run a file without Python's module finders.
Python announces each of these runs as the audit event "exec".
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, NamedTuple

from jaxcifar.user.user_files import is_user_file


class _Watcher(NamedTuple):
    """The identity of a thread, and the function to call before the thread runs a file.

    The function takes the path of the file.
    """

    thread_id: int
    notify: Callable[[str], object]


_watchers: list[_Watcher] = []  # the innermost comes last


@contextmanager
def watch_executed_files(notify: Callable[[str], object]) -> Iterator[None]:
    """Call `notify` with the path of each file of user code that this thread is about to run.

    In nested `with` blocks, only the function of the innermost block is called. If the function
    raises an exception, the file does not run.
    """
    _add_audit_hook()
    watcher = _Watcher(threading.get_ident(), notify)
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@functools.cache
def _add_audit_hook() -> None:
    """Add the audit hook that reports executed files, only once: Python can't remove hooks."""
    sys.addaudithook(_on_audit_event)


def _on_audit_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "exec" or not _watchers:
        return
    innermost_watcher = _watchers[-1]
    code = arguments[0]
    is_watched_thread = innermost_watcher.thread_id == threading.get_ident()
    if not is_watched_thread or not isinstance(code, CodeType):
        return
    is_whole_file = code.co_name == "<module>"
    if is_whole_file and is_user_file(code.co_filename):
        innermost_watcher.notify(code.co_filename)
