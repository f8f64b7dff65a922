"""The user's side of the disk: which files count as user code, and what their imports name."""

import ast
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TypeGuard

_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}
# jaxcifar stands on these packages. They are known by their versions even if somebody works on
# their source.
_FOUNDATIONS = {
    *("jax", "jaxlib", "flax", "optax", "orbax", "chex", "numpy", "scipy", "ml_dtypes"),
    *(__name__.partition(".")[0], "__main__"),
}


def file_of(spec: ModuleSpec) -> str | None:
    """Return the file that a module is loaded from, or its archive; None if there is none."""
    archive = getattr(spec.loader, "archive", None)  # of a module in a .zip file
    return archive or (spec.origin if spec.has_location else None)


def file_on_path(module: str) -> str | None:
    """Return the file of a module that is not imported yet; None if it has none or does not exist.

    Raises:
      Exception: whatever a package around the module raises when it is imported.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            return None
        raise
    return spec.origin if spec and spec.has_location else None


def package_of(spec: ModuleSpec | None) -> str:
    """Return the package that a module's relative imports start from."""
    return (spec.parent or "") if spec else ""


def is_users(spec: ModuleSpec | None) -> TypeGuard[ModuleSpec]:
    """Return whether a module is user code.

    It is, unless it belongs to Python, to jaxcifar or to an installed package. A package that is
    installed in editable mode is user code: its version does not say what is in it.
    """
    if spec is None:
        return False
    name = spec.name.partition(".")[0]
    folders = spec.submodule_search_locations or ()  # a namespace package has nothing else
    file = file_of(spec) or next(iter(folders), None)
    if file is None or name in _FOUNDATIONS:
        return False
    return not (_is_installed(file) or name in _installed_in(_import_folder(spec, file)))


def is_users_file(file: str) -> bool:
    """Return whether a file that is about to run is user code; `is_users` says what counts."""
    if not Path(file).is_file() or _is_installed(file):
        return False
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    of_file = [spec for spec in specs if getattr(spec, "origin", None) == file]
    return all(map(is_users, of_file))  # a file that is no module in the program is the user's


def parents_of(name: str) -> Iterator[str]:
    """Yield `a`, `a.b` and `a.b.c` for the module `a.b.c`."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


@cache
def _is_installed(file: str) -> bool:
    path = Path(os.path.realpath(file))
    named = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = {os.path.realpath(sysconfig.get_path(name)) for name in named}
    return bool(_PACKAGE_FOLDERS.intersection(path.parts)) or any(
        path.is_relative_to(folder) for folder in installed
    )


def _import_folder(spec: ModuleSpec, file: str) -> Path:
    """Return the folder in which the module's top-level package lies."""
    path = Path(os.path.realpath(file))
    if getattr(spec.loader, "archive", None):
        return path.parent
    depth = spec.name.count(".")
    if spec.submodule_search_locations is not None and file_of(spec):
        depth += 1  # it is the package's __init__.py
    return path.parents[min(depth, len(path.parents) - 1)]


@cache
def _installed_in(folder: Path) -> set[str]:
    """Return the top-level modules that pip installed in a folder, as `pip --target` does."""
    lines: list[str] = []
    for record in folder.glob("*.dist-info/RECORD"):
        with suppress(OSError, ValueError):
            lines += record.read_text("utf-8").splitlines()
    return {re.split(r"[/.,]", line)[0] for line in lines}


def imported_names(content: bytes, package: str = "") -> Iterator[str]:
    """Yield the absolute names that import statements may load, those in functions included.

    Args:
      content: source of a module; nothing is named in what is no Python.
      package: name of the package that relative imports start from.
    """
    for node in _statements(content):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):
                relative = "." * node.level + (node.module or "")
                base = importlib.util.resolve_name(relative, package)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def imported_from_beside(path: Path, content: bytes) -> list[Path]:
    """Return the files in a file's own folder that its absolute import statements name.

    Of a package these are all its files. Configs of every version rely on this rule, so it must
    stay as it is.
    """
    names = set()
    for node in _statements(content):
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


def _statements(content: bytes) -> Iterator[ast.AST]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return iter(())  # reported with its line when the module is loaded
    return ast.walk(tree)
