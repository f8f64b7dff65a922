"""Somebody's own code, `FILE.py:NAME` or `package.module:NAME`: found, hashed, loaded.

The same mechanism loads our own entries. Only what a person names is ever loaded, never what the
folder of a run holds.
"""

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from jaxcifar.config.registry import entry, is_own
from jaxcifar.errors import UsageError, first_line
from jaxcifar.user.imports import UserCode
from jaxcifar.user.user_files import file_on_path, imported_from_beside
from jaxcifar.user.user_program import cell_source, content_of, module_of_file

_MAX_SOURCE_BYTES = 2**20
_MAX_SOURCES = 100
_codes: dict[tuple[str, str | None], UserCode] = {}  # by file or module, and by digest


def load(kind: str, name: str, sha256: str | None = None) -> Any:
    """Return the class or function that a name stands for.

    Args:
      kind: the field of `Config` that names it.
      name: the field's value.
      sha256: `digest` of the user code that is meant; None for the code as it is now.

    Raises:
      UsageError: there is none, or its file fails or is another one; one line with file and line.
    """
    constructor = entry(kind, name).constructor
    where, _, attribute = constructor.rpartition(":")
    with telling_of_own_code((kind, name)):
        if is_own(name):
            module = _code(kind, name, sha256).module()
        else:
            module = importlib.import_module(where)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UsageError(
            f"--{kind} {name}: no {attribute} there; {where} defines "
            f"{', '.join(_public(module)) or 'nothing'}"
        ) from None


def _public(module: ModuleType) -> list[str]:
    defined = vars(module).items()
    return [
        name
        for name, value in defined
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]


def sources(kind: str, name: str) -> dict[str, bytes]:
    """Return the files that `digest` covers: the user's file and what it imports from its folder.

    Returns:
      path -> content; the paths are relative to the folder of the first, its own.

    Raises:
      UsageError: one can't be read, or is no text of a program.
    """
    where, _, attribute = name.rpartition(":")
    path = _file_of(kind, name)
    if path is None:  # a notebook's cell
        with telling_of_own_code((kind, name)):
            return {f"{attribute}.py": cell_source(getattr(sys.modules[where], attribute)).encode()}
    found: dict[str, bytes] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop(0)
        known = Path(os.path.relpath(file, path.parent)).as_posix()  # is hashed
        if known not in found:
            found[known] = _read(kind, name, file)
            waiting += imported_from_beside(file, found[known])
        if len(found) > _MAX_SOURCES:
            raise UsageError(f"--{kind} {name}: imports more than {_MAX_SOURCES} files beside it")
    return found


def _read(kind: str, name: str, path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UsageError(f"--{kind} {name}: no such file as {path}")
        imported_module = None
        if name.rpartition(":")[0] in sys.modules:
            imported_module = module_of_file(path)
        if imported_module is not None:
            content = content_of(imported_module)
        else:
            with path.open("rb") as file:
                content = file.read(_MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--{kind} {name}: {path} can't be read ({error.strerror})") from error
    if len(content) > _MAX_SOURCE_BYTES:
        raise UsageError(f"--{kind} {name}: {path} has more than a megabyte; is it a program?")
    return content


def _file_of(kind: str, name: str) -> Path | None:
    """Return the user's file; None if a notebook's cell takes its place."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        return Path(where)
    if where in sys.modules:
        module = sys.modules[where]
        file = getattr(module, "__file__", None)
        if file is None and module.__spec__ is None:
            return None
    else:
        with telling_of_own_code((kind, name)):
            file = file_on_path(where)
    if file is None:
        raise UsageError(
            f"--{kind} {name}: there is no file of a module {where}; a file is named FILE.py:NAME"
        )
    return Path(file)


def digest(kind: str, name: str) -> str:
    """Return the SHA-256 (hex) of the user code as it is now, which `load` then takes.

    It is that of the one file of `sources`, or of a list of their digests if there are more.
    """
    where, _, attribute = name.rpartition(":")
    files = sources(kind, name)
    digests = {file: _sha256(content) for file, content in files.items()}
    if len(digests) == 1:
        [sha256] = digests.values()
    else:
        lines = "".join(f"{d}  {file}\n" for file, d in sorted(digests.items()))
        sha256 = _sha256(lines.encode())
    code = _codes.get((where, sha256))
    module = sys.modules.get(where)
    if code is None or module is not None or code.has_changed():
        main = _file_of(kind, name) or Path(f"{attribute}.py")
        _codes[where, sha256] = UserCode(where, main, files, module)
    return sha256


def _code(kind: str, name: str, sha256: str | None) -> UserCode:
    where = name.rpartition(":")[0]
    if (where, sha256) not in _codes:
        now = digest(kind, name)
        if sha256 not in (None, now):
            raise UsageError(f"--{kind} {name}: has been edited since; start anew")
        sha256 = now
    return _codes[where, sha256]


def is_read(kind: str, name: str, sha256: str) -> bool:
    """Return whether this process has read the code of that digest."""
    return (name.rpartition(":")[0], sha256) in _codes


def imports(kind: str, name: str, sha256: str) -> dict[str, str]:
    """Return the SHA-256 (hex) of each imported file that `digest` does not cover.

    Returns:
      path -> digest; the paths are relative to the folder of the user's file.

    Raises:
      UsageError: the code can't be loaded, or is no longer what `sha256` says.
    """
    with telling_of_own_code((kind, name)):
        read = _code(kind, name, sha256).imports()
    return {file: _sha256(content) for file, content in sorted(read.items())}


def imports_on_disk(kind: str, name: str, files: Iterable[str]) -> dict[str, str | None]:
    """Return the digests that `imports` would give for these files; None for one that is gone."""
    main = _file_of(kind, name)
    folder = os.path.realpath(main.parent) if main else os.path.realpath(".")
    digests: dict[str, str | None] = {}
    for file in files:
        digests[file] = None
        with suppress(OSError):
            digests[file] = _sha256(Path(folder, file).read_bytes())
    return digests


def copies(kind: str, name: str, sha256: str) -> dict[str, bytes]:
    """Return all files that the code was loaded from, by their paths in a folder for copies."""
    code = _code(kind, name, sha256)
    copied = dict(code.files)
    for file, content in code.imports().items():
        if len(content) <= _MAX_SOURCE_BYTES:  # a compiled library stays where it is
            copied[_inside(file)] = content
    return copied


def _inside(file: str) -> str:
    """Return a path inside of the folder for copies: `(up)/lib/x.py` for `../lib/x.py`."""
    parts = PurePath(file).relative_to(PurePath(file).anchor).parts
    return "/".join("(up)" if part == ".." else part for part in parts)


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
    """Return file and line of the innermost frame in the user's folder, if there is one."""
    where = name.rpartition(":")[0]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    mains = [code.main for of, code in _codes.items() if of[0] == where] or [Path(where)]
    folder = mains[-1].resolve().parent
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if Path(frame.filename).resolve().parent == folder]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}: " if theirs else ""
