"""Noticing files of user code that run without an import statement.

`spec_from_file_location`, `runpy.run_path` and `exec` run a file without asking the finders of
modules. Python announces every such run as the audit event "exec".
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from jaxcifar.user.user_files import is_users_file

Notice = Callable[[str], object]
_watchers: list[tuple[int, Notice]] = []  # (thread, function); the innermost comes last


@contextmanager
def noticing_files(notice: Notice) -> Iterator[None]:
    """Call `notice` with the path of each file of user code that this thread is about to run.

    Only the innermost of several such blocks is called. An exception that it raises keeps the file
    from running.
    """
    _add_audit_hook()
    watcher = (threading.get_ident(), notice)
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@functools.cache
def _add_audit_hook() -> None:
    """Add the hook, once in a process: Python offers no way to remove it."""
    sys.addaudithook(_on_audit_event)


def _on_audit_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "exec" or not _watchers:
        return
    thread, notice = _watchers[-1]
    code = arguments[0]
    if thread != threading.get_ident() or not isinstance(code, CodeType):
        return
    is_whole_file = code.co_name == "<module>"
    if is_whole_file and is_users_file(code.co_filename):
        notice(code.co_filename)
