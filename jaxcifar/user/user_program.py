"""The sources of modules that the user's program or notebook has already imported."""

import ast
import inspect
import linecache
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, TypeGuard

from jaxcifar.errors import UsageError

_CLOCK_SECONDS = 2.0  # by which the times of a file and of the process's start may be wrong


class _Source(NamedTuple):
    """The source of a module, valid until the module is reloaded and gets another `spec`."""

    spec: Any
    content: bytes


_sources: dict[str, _Source] = {}  # by the module's name


def imported_source(module: ModuleType) -> bytes:
    """Return the source that an imported module was loaded from.

    The file is read at the first call. Later calls return the same content even if the file has
    been edited since.

    Raises:
      UsageError: the file was edited after the module was imported and before the first call.
      OSError: the file can't be read.
    """
    known = _sources.get(module.__name__)
    if known is not None and known.content and known.spec is _identity(module):
        return known.content
    file = module.__spec__.origin if module.__spec__ else module.__file__
    if file is None:
        raise FileNotFoundError(f"the module {module.__name__} has no source file")
    path = Path(file)
    content = path.read_bytes()
    if _written_since_start(path) and not _comes_from(module, content):
        raise UsageError(
            f"{path} has been edited since it was imported; start the program again (in a "
            "notebook: restart the kernel, or importlib.reload the module)"
        )
    _sources[module.__name__] = _Source(_identity(module), content)
    return content


def module_of_file(path: Path) -> ModuleType | None:
    """Return the imported module that was loaded from a file; None if there is no such module."""
    for module in list(sys.modules.values()):
        file = Path(getattr(module, "__file__", None) or "")
        same_name = file.name == path.name  # saves most look-ups of real paths
        if same_name and os.path.realpath(file) == os.path.realpath(path):
            return module
    return None


def cell_source(value: Any) -> str:
    """Return the source of a class or function that is defined in a notebook's cell.

    `inspect` finds functions in cells, but not classes. So the cell of a class is found through one
    of its methods.

    Raises:
      OSError: the source is not found.
    """
    if not isinstance(value, type):
        return inspect.getsource(value)
    for member in vars(value).values():
        if not callable(member):
            continue
        code = getattr(inspect.unwrap(member), "__code__", None)
        cell = "".join(linecache.getlines(code.co_filename)) if code else ""
        definition = _class_definition(cell, value.__name__)
        if definition is not None:
            return definition
    raise OSError(f"the source of {value.__name__} is not known; define it in a cell or a file")


def _class_definition(source: str, name: str) -> str | None:
    """Return the text of the class `name` in `source`, decorators included; None if not found."""
    with suppress(SyntaxError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                decorator_lines = [decorator.lineno for decorator in node.decorator_list]
                first_line = min([node.lineno, *decorator_lines])
                lines = source.splitlines(keepends=True)
                return "".join(lines[first_line - 1 : node.end_lineno])
    return None


def modules_used(source: bytes, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the modules whose contents a notebook's cell uses.

    A module counts if the cell has a name for the module, or for a class or function in it.

    Args:
      source: the text of the cell, or of a class or function in it.
      namespace: all names in the notebook with their values, imports of other cells included.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Name):
            continue
        value = namespace.get(node.id)
        if isinstance(value, ModuleType):
            yield value.__name__
            continue
        module = getattr(value, "__module__", None)  # of a class or function
        if isinstance(module, str):
            yield module


def _identity(module: ModuleType) -> Any:
    """Return an object that identifies a module until the module is reloaded."""
    return module.__spec__ or module


def _written_since_start(path: Path) -> bool:
    """Return whether a file was written after this process started."""
    import psutil  # its import takes a while

    return path.stat().st_mtime > psutil.Process().create_time() - _CLOCK_SECONDS


def _comes_from(module: ModuleType, content: bytes) -> bool:
    """Return whether a module has the functions and constants that the source `content` defines."""
    try:
        codes = set(_codes_in(compile(content, module.__file__ or "", "exec")))
    except (SyntaxError, ValueError):
        return False
    same_functions = all(function.__code__ in codes for function in _functions(module))
    return same_functions and _has_constants_of(module, ast.parse(content))


def _has_constants_of(module: ModuleType, tree: ast.Module) -> bool:
    """Return whether a module and its classes still have the constants that its source assigns.

    `tree` is the syntax tree of the source. Constants of the module that are assigned more than
    once are not compared, because their values may have changed while the module ran.
    """
    assigned_names = Counter(node.id for node in ast.walk(tree) if _is_assigned(node))
    for name, value in _constants(tree.body):
        if assigned_names[name] == 1 and not _has_constant(module, name, value):
            return False
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        cls = getattr(module, node.name, None)
        for name, value in _constants(node.body):
            if isinstance(cls, type) and not _has_constant(cls, name, value):
                return False
    return True


def _has_constant(holder: ModuleType | type, name: str, value: Any) -> bool:
    """Return True if the constant `name` of a module or class equals `value` or does not exist."""
    return name not in vars(holder) or vars(holder)[name] == value


def _is_assigned(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _constants(body: list[ast.stmt]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of assignments such as `WIDTH = 64` and `width: int = 64`."""
    for node in body:
        target: ast.expr
        value: ast.expr | None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            yield target.id, value.value


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all code objects inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_in(constant)


def _functions(module: ModuleType) -> Iterator[Any]:
    """Yield the functions and the methods of classes that a module's file defines."""
    for value in list(vars(module).values()):
        members = vars(value).values() if isinstance(value, type) else [value]
        for member in members:
            function = inspect.unwrap(member) if callable(member) else None
            code = getattr(function, "__code__", None)
            if code and code.co_filename == module.__file__:
                yield function
