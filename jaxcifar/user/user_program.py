"""The sources of modules that the user's program has already imported."""

import ast
import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, TypeGuard

from jaxcifar.errors import UsageError

_CLOCK_ERROR_SECONDS = 2.0  # by which the times of a file and of the process's start may be wrong


class _ModuleSource(NamedTuple):
    """The source of a module, valid until the module is reloaded and gets another identity."""

    identity: Any
    content: bytes


_source_of_module: dict[str, _ModuleSource] = {}  # by the module's name


def imported_source(module: ModuleType) -> bytes:
    """Return the source that an imported module was loaded from.

    The file is read at the first call. Later calls return the same content even if the file has
    been edited since.

    Raises:
      UsageError: the file was edited after the module was imported and before the first call.
      OSError: the file can't be read.
    """
    known_source = _source_of_module.get(module.__name__)
    identity = _identity_until_reload(module)
    if known_source is not None and known_source.content:
        was_reloaded = known_source.identity is not identity
        if not was_reloaded:
            return known_source.content
    file = module.__spec__.origin if module.__spec__ else module.__file__
    if file is None:
        raise FileNotFoundError(
            f"the module {module.__name__} has no source file; put its code into a .py file"
        )
    path = Path(file)
    content = path.read_bytes()
    may_be_edited = _was_written_since_process_start(path)
    if may_be_edited and not _matches_source(module, content):
        raise UsageError(
            f"{path} has been edited since it was imported; start the program again (in a "
            "notebook: restart the kernel, or importlib.reload the module)"
        )
    _source_of_module[module.__name__] = _ModuleSource(identity, content)
    return content


def module_of_file(path: Path) -> ModuleType | None:
    """Return the imported module that was loaded from a file; None if there is no such module."""
    for module in list(sys.modules.values()):
        module_file = Path(getattr(module, "__file__", None) or "")
        has_same_name = module_file.name == path.name  # saves most look-ups of real paths
        if has_same_name and os.path.realpath(module_file) == os.path.realpath(path):
            return module
    return None


def _identity_until_reload(module: ModuleType) -> Any:
    """Return an object that identifies a module until the module is reloaded."""
    return module.__spec__ or module


def _was_written_since_process_start(path: Path) -> bool:
    """Return whether a file was written after this process started."""
    import psutil  # its import takes a while

    return path.stat().st_mtime > psutil.Process().create_time() - _CLOCK_ERROR_SECONDS


def _matches_source(module: ModuleType, content: bytes) -> bool:
    """Return whether a module has the functions and constants that the source `content` defines."""
    try:
        module_code = compile(content, module.__file__ or "", "exec")
    except (SyntaxError, ValueError):
        return False
    source_codes = set(_code_objects_in(module_code))
    functions = _functions_defined_in(module)
    has_functions_of_source = all(function.__code__ in source_codes for function in functions)
    return has_functions_of_source and _has_constants_of_source(module, ast.parse(content))


def _has_constants_of_source(module: ModuleType, tree: ast.Module) -> bool:
    """Return whether a module and its classes still have the constants that its source assigns.

    `tree` is the syntax tree of the source. Constants of the module that are assigned more than
    once are not compared, because their values may have changed while the module ran.
    """
    assignment_counts = Counter(node.id for node in ast.walk(tree) if _is_assigned_name(node))
    for name, value in _constant_assignments(tree.body):
        is_assigned_once = assignment_counts[name] == 1
        if is_assigned_once and _has_other_value(module, name, value):
            return False
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        cls = getattr(module, node.name, None)
        for name, value in _constant_assignments(node.body):
            if isinstance(cls, type) and _has_other_value(cls, name, value):
                return False
    return True


def _has_other_value(module_or_class: ModuleType | type, name: str, value: Any) -> bool:
    """Return whether a module or class has a constant `name` that does not equal `value`."""
    constants = vars(module_or_class)
    return name in constants and constants[name] != value


def _is_assigned_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _constant_assignments(statements: list[ast.stmt]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of assignments such as `WIDTH = 64` and `width: int = 64`."""
    for node in statements:
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


def _code_objects_in(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all code objects inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_objects_in(constant)


def _functions_defined_in(module: ModuleType) -> Iterator[Any]:
    """Yield the functions and the methods of classes that a module's file defines."""
    for value in list(vars(module).values()):
        possible_functions = vars(value).values() if isinstance(value, type) else [value]
        for candidate in possible_functions:
            function = inspect.unwrap(candidate) if callable(candidate) else None
            code = getattr(function, "__code__", None)
            if code and code.co_filename == module.__file__:
                yield function
