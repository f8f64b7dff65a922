"""Somebody's own code, `FILE.py:NAME` or `package.module:NAME`: found, hashed, loaded.

The same mechanism loads our own entries. Only what a person names is ever loaded, never what the
folder of a run holds.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.errors import UsageError, first_line
from jaxcifar.registry import entry, is_own

_MAX_SOURCE_BYTES = 2**20
_MAX_SOURCES = 100


def load(kind: str, name: str) -> Any:
    """The object that a name stands for: a class or a function.

    Raises:
      UsageError: there is none, or its file fails; one line with file and line number.
    """
    constructor = entry(kind, name).constructor
    where, _, attribute = constructor.rpartition(":")
    with telling_of_own_code((kind, name)):
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
        with _importing_from(path.resolve().parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let a file import what lies beside it, which no other file gets to see."""
    before = dict(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in sys.modules.keys() - before.keys():
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().is_relative_to(folder) and not name.startswith("own_"):
                del sys.modules[name]


def _public(module: ModuleType) -> list[str]:
    defined = vars(module).items()
    return [
        name
        for name, value in defined
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]


def sources(kind: str, name: str) -> dict[str, bytes]:
    """The files that somebody else's entry is defined in: its own, and what it imports from beside.

    Returns:
      path -> content; the paths are relative to the folder of the first, its own.

    Raises:
      UsageError: one can't be read, or is no text of a program.
    """
    where, _, attribute = name.rpartition(":")
    path = Path(where) if where.endswith(".py") else _file_of(kind, name, where)
    if path is None:  # a notebook's cell
        with telling_of_own_code((kind, name)):
            return {f"{attribute}.py": _cell_source(_found(where, attribute)).encode()}
    found: dict[str, bytes] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop(0)
        known = Path(os.path.relpath(file, path.parent)).as_posix()  # is hashed
        if known not in found:
            found[known] = _read(kind, name, file)
            waiting += _imported_from_beside(file, found[known])
        if len(found) > _MAX_SOURCES:
            raise UsageError(f"--{kind} {name}: imports more than {_MAX_SOURCES} files beside it")
    return found


def _found(module: str, attribute: str) -> Any:
    return getattr(sys.modules[module], attribute)


def _cell_source(value: Any) -> str:
    """The source of what a notebook's cell defines.

    `inspect` knows that of functions there. Of a class it asks for the module's file, and a
    notebook is none; so the cell is found by a function of the class.

    Raises:
      OSError: it is not known.
    """
    if not isinstance(value, type):
        return inspect.getsource(value)
    for member in vars(value).values():
        code = getattr(inspect.unwrap(member), "__code__", None) if callable(member) else None
        cell = "".join(linecache.getlines(code.co_filename)) if code else ""
        with suppress(SyntaxError):
            for node in ast.walk(ast.parse(cell)):
                if isinstance(node, ast.ClassDef) and node.name == value.__name__:
                    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                    return "".join(cell.splitlines(keepends=True)[first - 1 : node.end_lineno])
    raise OSError("its source is not known; define it in a cell, or in a file")


def _read(kind: str, name: str, path: Path) -> bytes:
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


def _imported_from_beside(path: Path, content: bytes) -> list[Path]:
    """Files in a file's own folder that its import statements name."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return []  # told with its line when it is loaded
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    beside = []
    for name in sorted(names - {__name__.partition(".")[0]}):
        module, package = path.parent / f"{name}.py", path.parent / name
        if module.is_file():
            beside.append(module)
        elif (package / "__init__.py").is_file():
            beside += sorted(package.rglob("*.py"))
    return beside


def _file_of(kind: str, name: str, module: str) -> Path | None:
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file) if file else None
    with telling_of_own_code((kind, name)):
        spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin:
        raise UsageError(f"--{kind} {name}: no module {module}; a file is named FILE.py:NAME")
    return Path(spec.origin)


def digest(kind: str, name: str) -> str:
    """SHA-256 (hex) of the one file of `sources`; of a list of their digests if there are more."""
    digests = {file: _sha256(content) for file, content in sources(kind, name).items()}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return _sha256("".join(f"{d}  {file}\n" for file, d in sorted(digests.items())).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def telling_of_own_code(*named: tuple[str, str]) -> Iterator[None]:
    """Tell of an exception in somebody's own code in one line, with their file and line.

    Args:
      named: pairs of kind and name that may be at fault; ours among them never are.

    Raises:
      UsageError: in place of it. Without somebody's own, it passes as it is.
    """
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        theirs = {(kind, name): _where(name, error) for kind, name in named if is_own(name)}
        if not theirs:
            raise
        kind, name = next((pair for pair, where in theirs.items() if where), next(iter(theirs)))
        what = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"--{kind} {name}: {theirs[kind, name]}{what}") from error


def _where(name: str, error: BaseException) -> str:
    """File and line of the innermost frame in their folder, if it is on the way."""
    where = name.rpartition(":")[0]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    module = sys.modules.get(where)
    file = Path(where if where.endswith(".py") else getattr(module, "__file__", None) or where)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if Path(f.filename).resolve().parent == file.resolve().parent]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}: " if theirs else ""
