"""Exceptions in user code, turned into errors of one line that name the file and line."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxcifar.config.registry import is_user_code
from jaxcifar.errors import UsageError, first_line

# The main file of user code that was read, by the part of the code's name before the colon.
main_file_of_source: dict[str, Path] = {}

_GENERATED_CODE = ("<string>", "<frozen")  # beginnings of file names in tracebacks


@contextmanager
def explain_user_code_errors(*named_code: tuple[str, str]) -> Iterator[None]:
    """Turn any exception in user code into a `UsageError` of one line, with file and line.

    Args:
      named_code: (option, value) for each piece of code that may fail, such as ("arch",
        "net.py:Net"). If none of the values names user code, exceptions are not changed.

    Raises:
      UsageError: the user code has raised an exception.
    """
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        user_code = [(option, name) for option, name in named_code if is_user_code(name)]
        if not user_code:
            raise
        option, name = _first_called_user_code(error, user_code)
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"--{option} {name}: {_failure_place(error, name)}{reason}") from error


def _first_called_user_code(
    error: BaseException, user_code: Sequence[tuple[str, str]]
) -> tuple[str, str]:
    """Return the piece of user code whose file was called first in the traceback of an error.

    If a file has several pieces of user code, the name of the called function decides. If no file
    was called, return the first piece of user code whose folder appears in the traceback.

    Args:
      error: the exception.
      user_code: (option, value) for each piece of user code, such as ("arch", "net.py:Net").
    """
    for frame in source_frames(error):
        file_of_frame = Path(frame.filename).resolve()
        code_in_file = [
            (option, name) for option, name in user_code if _main_file(name) == file_of_frame
        ]
        for option, name in code_in_file:
            called_function = frame.name
            is_called_function = name.endswith(f":{called_function}")
            if is_called_function:
                return option, name
        if code_in_file:
            return code_in_file[0]
    for option, name in user_code:
        is_place_known = _failure_place(error, name) != ""
        if is_place_known:
            return option, name
    return user_code[0]


def _failure_place(error: BaseException, name: str) -> str:
    """Return the place `FILE:LINE: ` where the user code `name` failed; "" if it is not known."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    return innermost_line(error, _main_file(name).parent)


def innermost_line(error: BaseException, folder: Path) -> str:
    """Return `FILE:LINE: ` of the innermost traceback frame with a file in `folder`, or ""."""
    for frame in reversed(source_frames(error)):
        if Path(frame.filename).resolve().parent == folder:
            return f"{frame.filename}:{frame.lineno}: "
    return ""


def _main_file(name: str) -> Path:
    """Return the absolute path of the file in a name of user code, `FILE.py:NAME`."""
    source = name.rpartition(":")[0]
    return main_file_of_source.get(source, Path(source)).resolve()


def source_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the traceback frames of an exception, outermost first, except generated code."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if not frame.filename.startswith(_GENERATED_CODE)]
