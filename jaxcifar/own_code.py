"""Somebody's own code, `FILE.py:NAME` or `package.module:NAME`: found, hashed, loaded.

The same mechanism loads our own entries. Only what a person names is ever loaded, never what the
folder of a run holds.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.errors import UsageError, first_line
from jaxcifar.registry import entry, is_own

_MAX_SOURCE_BYTES = 2**20


def load(kind: str, name: str) -> Any:
    """The object that a name stands for: a class or a function.

    Raises:
      UsageError: there is none, or its file fails; one line with file and line number.
    """
    constructor = entry(kind, name).constructor
    where, _, attribute = constructor.rpartition(":")
    with telling_of_own_code(kind, name):
        if where.endswith(".py"):
            module = _module_of(Path(where), digest(kind, name))
        else:
            module = importlib.import_module(where)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UsageError(
            f"--{kind} {name}: no {attribute} there; {where} defines "
            f"{', '.join(_public(module)) or 'nothing'}"
        ) from None


@cache
def _module_of(path: Path, sha256: str) -> ModuleType:
    """The module in a file with this content; once, so that its classes are the same ones."""
    name = f"own_{path.stem}_{sha256[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _public(module: ModuleType) -> list[str]:
    defined = vars(module).items()
    return [
        name
        for name, value in defined
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]


def source(kind: str, name: str) -> bytes:
    """The text that somebody else's entry is defined in.

    Raises:
      UsageError: it can't be read, or is no text of a program.
    """
    where, _, attribute = name.rpartition(":")
    path = Path(where) if where.endswith(".py") else _file_of(kind, name, where)
    if path is None:  # a notebook's cell
        with telling_of_own_code(kind, name):
            return inspect.getsource(getattr(sys.modules[where], attribute)).encode()
    try:
        if not path.is_file():
            raise UsageError(f"--{kind} {name}: no such file as {path}")
        with path.open("rb") as file:
            content = file.read(_MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--{kind} {name}: {path} can't be read ({error.strerror})") from error
    if len(content) > _MAX_SOURCE_BYTES:
        raise UsageError(f"--{kind} {name}: {path} has more than a megabyte; is it a program?")
    return content


def _file_of(kind: str, name: str, module: str) -> Path | None:
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file) if file else None
    with telling_of_own_code(kind, name):
        spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin:
        raise UsageError(f"--{kind} {name}: no module {module}; a file is named FILE.py:NAME")
    return Path(spec.origin)


def digest(kind: str, name: str) -> str:
    """SHA-256 (hex) of `source`."""
    return hashlib.sha256(source(kind, name)).hexdigest()


@contextmanager
def telling_of_own_code(kind: str, name: str) -> Iterator[None]:
    """Tell of an exception in somebody's own code in one line, with their file and line.

    Raises:
      UsageError: in place of it. What our own entries raise passes as it is.
    """
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        if not is_own(name):
            raise
        raise UsageError(f"--{kind} {name}: {_where(name, error)}{_what(error)}") from error


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _where(name: str, error: BaseException) -> str:
    """File and line of the innermost frame in their code, if it is on the way."""
    where = name.rpartition(":")[0]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    module = sys.modules.get(where)
    file = Path(where if where.endswith(".py") else getattr(module, "__file__", None) or where)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if Path(f.filename).resolve() == file.resolve()]
    return f"{file}:{theirs[-1].lineno}: " if theirs else ""
