"""The sources of classes and functions that are defined in a notebook's cells."""

import ast
import inspect
import linecache
import symtable
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any


def cell_source(class_or_function: Any) -> str:
    """Return the source of a class or function that is defined in a notebook's cell.

    `inspect` finds functions in cells, but not classes. So a class is searched in the cells that
    contain its methods.

    Raises:
      OSError: the source is not found.
    """
    if not isinstance(class_or_function, type):
        return inspect.getsource(class_or_function)
    class_name = class_or_function.__name__
    for cell_text in _cells_that_may_define(class_or_function):
        definition = _class_definition(cell_text, class_name)
        if definition is not None:
            return definition
    raise OSError(f"the source of {class_name} is not known; define it in a cell or a file")


def _cells_that_may_define(cls: type) -> Iterator[str]:
    """Yield the texts of cells that may define a class: first those that contain its methods.

    A class without methods may be in any cell. So all executed cells follow, the newest first.
    """
    for member in vars(cls).values():
        if not callable(member):
            continue
        code = getattr(inspect.unwrap(member), "__code__", None)
        if code:
            yield "".join(linecache.getlines(code.co_filename))
    namespace = vars(sys.modules[cls.__module__])
    executed_cells = namespace.get("_ih", [])  # IPython keeps this list
    yield from reversed(executed_cells)


def _class_definition(source: str, class_name: str) -> str | None:
    """Return the text of a class in `source`, decorators included; None if it is not found."""
    with suppress(SyntaxError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                decorator_lines = [decorator.lineno for decorator in node.decorator_list]
                first_line = min([node.lineno, *decorator_lines])
                lines = source.splitlines(keepends=True)
                return "".join(lines[first_line - 1 : node.end_lineno])
    return None


def modules_used_in_cell(source: bytes, namespace: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the modules that a notebook's cell uses.

    A cell uses a module if it names the module, or a class or function that the module defines.

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


def definitions_used_in_cell(source: bytes, module: ModuleType) -> dict[str, bytes]:
    """Return the definitions in other cells that a notebook's cell uses, also indirectly.

    They define classes, functions, and constants: numbers, text and tuples of these.

    Args:
      source: the text of a class or function in the cell.
      module: the notebook's module, with the names of all cells.

    Returns:
      a file name made from the defined name, such as "Block (cell).py" -> text of the definition.
    """
    definitions: dict[str, bytes] = {}
    names_to_find = _global_names(source)
    while names_to_find:
        name = names_to_find.pop()
        file_name = f"{name} (cell).py"
        definition = _definition_in_cells(name, module)
        if definition is not None and file_name not in definitions:
            definitions[file_name] = definition.encode()
            names_to_find |= _global_names(definitions[file_name])
    return definitions


def _definition_in_cells(name: str, module: ModuleType) -> str | None:
    """Return the text that defines a name in a notebook; None if no cell defines the name."""
    value = vars(module).get(name)
    if _is_constant(value):
        return f"{name} = {value!r}\n"
    if getattr(value, "__module__", None) == module.__name__:
        with suppress(OSError, TypeError):
            return cell_source(value)
    return None


def _is_constant(value: Any) -> bool:
    """Return whether a value is a number, text, or a tuple of these."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return type(value) in (bool, int, float, str)


def _global_names(source: bytes) -> set[str]:
    """Return the global names that Python source uses and does not define itself."""
    module_scope = symtable.symtable(source.decode(), "<cell>", "exec")
    own_names = {symbol.get_name() for symbol in module_scope.get_symbols() if symbol.is_assigned()}
    used_names = set()
    scopes_to_visit = [module_scope]
    while scopes_to_visit:
        scope = scopes_to_visit.pop()
        used_names |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
        scopes_to_visit += scope.get_children()
    return used_names - own_names
