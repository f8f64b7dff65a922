"""Exceptions in user code, turned into errors of one line that name the file and line."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxcifar.config.registry import is_own
from jaxcifar.errors import UsageError, first_line

# The main file of user code that was read, by the part of its name before the colon.
main_files: dict[str, Path] = {}


@contextmanager
def explain_user_code_errors(*named: tuple[str, str]) -> Iterator[None]:
    """Turn any exception in user code into a `UsageError` of one line, with file and line.

    Args:
      named: (kind, name) of the code that may have failed, such as ("arch", "net.py:Net"). Without
        user code among it, exceptions are not changed.

    Raises:
      UsageError: the user code has raised an exception.
    """
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        user_code = [(kind, name) for kind, name in named if is_own(name)]
        if not user_code:
            raise
        places = {name: _place_of(error, name) for _, name in user_code}
        failed = [(kind, name) for kind, name in user_code if places[name]]
        kind, name = (failed or user_code)[0]
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"--{kind} {name}: {places[name]}{reason}") from error


def _place_of(error: BaseException, name: str) -> str:
    """Return `FILE:LINE: ` of the innermost frame in the user's folder; "" if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    source = name.rpartition(":")[0]
    main_file = main_files.get(source, Path(source))
    folder = main_file.resolve().parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).resolve().parent == folder:
            return f"{frame.filename}:{frame.lineno}: "
    return ""
