"""Files of user code: which files count as user code, and which modules they import."""

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
# Packages that never count as user code, even if the user has installed them in editable mode.
_NEVER_USER_CODE = {
    *("jax", "jaxlib", "flax", "optax", "orbax", "chex", "numpy", "scipy", "ml_dtypes"),
    *(__name__.partition(".")[0], "__main__"),
}


def file_of(spec: ModuleSpec) -> str | None:
    """Return the file or .zip archive that a module is loaded from; None if it has no file."""
    archive = getattr(spec.loader, "archive", None)  # only loaders of .zip files have one
    if archive:
        return archive
    return spec.origin if spec.has_location else None


def file_on_path(module: str) -> str | None:
    """Return the file of a module that is not imported yet.

    Return None if the module does not exist or has no file. Its parent packages are imported.

    Raises:
      Exception: any exception that a parent package raises.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        is_missing = error.name in module_and_parents(module)  # else: an import in a package fails
        if is_missing:
            return None
        raise
    return spec.origin if spec and spec.has_location else None


def package_of(spec: ModuleSpec | None) -> str:
    """Return the package that relative imports in a module start from; "" if there is none."""
    return (spec.parent or "") if spec else ""


def is_user_module(spec: ModuleSpec | None) -> TypeGuard[ModuleSpec]:
    """Return whether a module is user code.

    Modules of Python, of jaxcifar and of installed packages are not user code. A package that is
    installed in editable mode is user code, because its version does not identify its content.
    """
    if spec is None:
        return False
    name = spec.name.partition(".")[0]
    folders = spec.submodule_search_locations or ()  # a namespace package has folders but no file
    file = file_of(spec) or next(iter(folders), None)
    if file is None or name in _NEVER_USER_CODE or _is_installed(file):
        return False
    return name not in _installed_in(_import_folder(spec, file))


def is_user_file(file: str) -> bool:
    """Return whether a file that is about to run is user code, as `is_user_module` defines it."""
    if not Path(file).is_file() or _is_installed(file):
        return False
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        if getattr(spec, "origin", None) == file and not is_user_module(spec):
            return False
    return True


def module_and_parents(name: str) -> list[str]:
    """Return the names of a module and its packages: `a`, `a.b` and `a.b.c` for `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@cache
def _is_installed(file: str) -> bool:
    """Return whether a file is in a folder of Python itself or of installed packages."""
    path = Path(os.path.realpath(file))
    if _PACKAGE_FOLDERS.intersection(path.parts):
        return True
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [os.path.realpath(sysconfig.get_path(name)) for name in names]
    return any(path.is_relative_to(folder) for folder in folders)


def _import_folder(spec: ModuleSpec, file: str) -> Path:
    """Return the folder that contains a module's top-level package."""
    path = Path(os.path.realpath(file))
    is_in_archive = bool(getattr(spec.loader, "archive", None))
    if is_in_archive:
        return path.parent
    depth = spec.name.count(".")
    is_init_file = spec.submodule_search_locations is not None and file_of(spec)
    if is_init_file:
        depth += 1
    return path.parents[min(depth, len(path.parents) - 1)]


@cache
def _installed_in(folder: Path) -> set[str]:
    """Return the names of the top-level modules that `pip --target` installed in a folder."""
    lines: list[str] = []
    for record in folder.glob("*.dist-info/RECORD"):
        with suppress(OSError, ValueError):
            lines += record.read_text("utf-8").splitlines()
    return {re.split(r"[/.,]", line)[0] for line in lines}


def imported_names(content: bytes, package: str = "") -> Iterator[str]:
    """Yield the absolute names of the modules that Python source may import, in functions too.

    For `from a import b` these are `a` and `a.b`, since `b` may be a module.

    Args:
      content: the source; a source that is not valid Python imports nothing.
      package: the name of the package that relative imports start from.
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


def imported_from_same_folder(path: Path, content: bytes) -> list[Path]:
    """Return the files that a Python file imports absolutely from its own folder.

    If the file imports a package, all the package's files are returned. This function must never
    return other files: old configs contain checksums of these files.

    Args:
      path: the file.
      content: the file's content.
    """
    names = set()
    for node in _statements(content):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    files = []
    this_package = __name__.partition(".")[0]
    for name in sorted(names - {this_package}):
        module = path.parent / f"{name}.py"
        package = path.parent / name
        if module.is_file():
            files.append(module)
        elif (package / "__init__.py").is_file():
            files += sorted(package.rglob("*.py"))
    return files


def _statements(content: bytes) -> Iterator[ast.AST]:
    """Yield all nodes of the syntax tree of Python source; yield none if the source is invalid."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return iter(())  # the error is reported, with its line, when the module is loaded
    return ast.walk(tree)
