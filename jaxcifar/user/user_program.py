"""Modules that the user's program imported before jaxcifar was asked about them."""

import ast
import inspect
import linecache
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeGuard

from jaxcifar.errors import UsageError

_CLOCK_SECONDS = 2.0  # that a file's time and the process's start may be apart
# (spec of a module, content of its file): a module that is loaded anew has another spec.
_contents: dict[str, tuple[Any, bytes]] = {}


def content_of(module: ModuleType) -> bytes:
    """Return the source that a module was loaded from, as its file was when first asked for.

    Raises:
      UsageError: the file has been edited since the module was imported.
      OSError: it can't be read.
    """
    spec, content = _contents.get(module.__name__, (None, b""))
    if content and spec is _identity(module):
        return content
    source = module.__spec__.origin if module.__spec__ else module.__file__
    if source is None:
        raise FileNotFoundError(f"the module {module.__name__} has no source file")
    path = Path(source)
    content = path.read_bytes()
    if _written_since_start(path) and not _comes_from(module, content):
        raise UsageError(
            f"{path}: has been edited since it was imported; start the program again (in a "
            "notebook: restart the kernel, or importlib.reload the module)"
        )
    _contents[module.__name__] = _identity(module), content
    return content


def module_of_file(path: Path) -> ModuleType | None:
    """Return the imported module that a file holds, or None."""
    for module in list(sys.modules.values()):
        file = Path(getattr(module, "__file__", None) or "")
        if file.name == path.name and os.path.realpath(file) == os.path.realpath(path):
            return module
    return None


def cell_source(value: Any) -> str:
    """Return the source of a class or function that a notebook's cell defines.

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


def modules_used(source: bytes, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the modules that the names in a notebook's cell come from.

    Args:
      source: text of the cell, or of a class or function in it.
      namespace: what is defined in the notebook, the imports of its other cells included.
    """
    for node in ast.walk(ast.parse(source)):
        value = namespace.get(node.id) if isinstance(node, ast.Name) else None
        module = value.__name__ if isinstance(value, ModuleType) else None
        module = module or getattr(value, "__module__", None)
        if isinstance(module, str):
            yield module


def _identity(module: ModuleType) -> Any:
    return module.__spec__ or module


def _written_since_start(path: Path) -> bool:
    import psutil  # takes a while: only where it is needed

    return path.stat().st_mtime > psutil.Process().create_time() - _CLOCK_SECONDS


def _comes_from(module: ModuleType, content: bytes) -> bool:
    """Return whether the module's functions and constants are those of this source."""
    try:
        there = set(_codes_in(compile(content, module.__file__ or "", "exec")))
    except (SyntaxError, ValueError):
        return False
    same_functions = all(function.__code__ in there for function in _functions(module))
    return same_functions and _has_constants_of(module, ast.parse(content))


def _has_constants_of(module: ModuleType, tree: ast.Module) -> bool:
    """Return whether a module and its classes have the constants that a source assigns.

    A name that the source assigns more than once may have changed while the module runs, so it is
    not compared.
    """
    stored = [node.id for node in ast.walk(tree) if _is_stored(node)]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bodies: list[tuple[Any, list[ast.stmt]]] = [(module, tree.body)]
    bodies += [(getattr(module, node.name, None), node.body) for node in classes]
    return all(
        name not in vars(holder) or vars(holder)[name] == value
        for holder, body in bodies
        if isinstance(holder, ModuleType | type)
        for name, value in _constants(body)
        if stored.count(name) == 1 or holder is not module
    )


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _constants(body: list[ast.stmt]) -> Iterator[tuple[str, Any]]:
    """Yield names and values of assignments such as `WIDTH = 64` and `width: int = 64`."""
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
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_in(constant)


def _functions(module: ModuleType) -> Iterator[Any]:
    """Yield the functions and methods that are defined at the top of a module."""
    for value in list(vars(module).values()):
        members = vars(value).values() if isinstance(value, type) else [value]
        for member in members:
            function = inspect.unwrap(member) if callable(member) else None
            code = getattr(function, "__code__", None)
            if code and code.co_filename == module.__file__:
                yield function
