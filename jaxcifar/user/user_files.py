"""Files of user code: which files count as user code, and which modules they import."""

import ast
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TypeGuard

_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}
# Packages that never count as user code, even if the user has installed them in editable mode.
_PACKAGES_NEVER_USER_CODE = {
    *("jax", "jaxlib", "flax", "optax", "orbax", "chex", "numpy", "scipy", "ml_dtypes"),
    *(__name__.partition(".")[0], "__main__"),
}


def file_of(spec: ModuleSpec) -> str | None:
    """Return the file or .zip archive that a module is loaded from; None if it has no file."""
    archive = getattr(spec.loader, "archive", None)  # only loaders of .zip files have one
    if archive:
        return archive
    return spec.origin if spec.has_location else None


def find_file_of_module(module_name: str) -> str | None:
    """Return the file of a module that is not imported yet.

    Return None if the module does not exist or has no file. Its parent packages are imported.

    Raises:
      Exception: any exception that a parent package raises.
    """
    try:
        spec = importlib.util.find_spec(module_name)
    except ModuleNotFoundError as error:
        # If another name is missing, an import statement inside of a package has failed.
        is_module_missing = error.name in module_and_parents(module_name)
        if is_module_missing:
            return None
        raise
    return spec.origin if spec and spec.has_location else None


def spec_of_module(module_name: str) -> ModuleSpec | None:
    """Return the spec of a module, imported or not; None if it does not exist or can't be found.

    The parent packages of the module are imported. If they raise an exception, None is returned.
    """
    module = sys.modules.get(module_name)
    with suppress(Exception):  # the error is reported when the import statement runs
        return module.__spec__ if module else importlib.util.find_spec(module_name)
    return None


def parent_package(spec: ModuleSpec | None) -> str:
    """Return the package that relative imports in a module start from; "" if there is none."""
    return (spec.parent or "") if spec else ""


def is_user_module(spec: ModuleSpec | None) -> TypeGuard[ModuleSpec]:
    """Return whether a module is user code.

    Modules of Python, of jaxcifar and of installed packages are not user code. A package that is
    installed in editable mode is user code, because its version does not identify its content.
    """
    if spec is None:
        return False
    top_package = spec.name.partition(".")[0]
    folders = spec.submodule_search_locations or ()  # a namespace package has folders but no file
    first_folder = next(iter(folders), None)
    file_or_folder = file_of(spec) or first_folder
    if file_or_folder is None or top_package in _PACKAGES_NEVER_USER_CODE:
        return False
    if _is_in_installed_folder(file_or_folder):
        return False
    folder_of_top_package = _folder_of_top_package(spec, file_or_folder)
    return top_package not in _names_of_installed_modules(folder_of_top_package)


def is_user_file(file: str) -> bool:
    """Return whether a Python file that is about to run was written by the user.

    Files of Python, of jaxcifar and of installed packages are not the user's (see
    `is_user_module`).
    """
    if not Path(file).is_file() or _is_in_installed_folder(file):
        return False
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        is_module_of_file = getattr(spec, "origin", None) == file
        if is_module_of_file and not is_user_module(spec):
            return False
    return True


def imported_names_also_found_in(folders: Sequence[str]) -> set[str]:
    """Return names of imported top-level user modules that also exist as modules in `folders`.

    The module in `folders` may be another one of the same name.
    """
    names = set()
    for name, module in list(sys.modules.items()):
        if "." in name or name == "__main__":
            continue
        is_user_code = is_user_module(getattr(module, "__spec__", None))
        if is_user_code and PathFinder.find_spec(name, folders):
            names.add(name)
    return names


def module_and_parents(name: str) -> list[str]:
    """Return the names of a module and its packages: `a`, `a.b` and `a.b.c` for `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@cache
def _is_in_installed_folder(file: str) -> bool:
    """Return whether a file is in a folder of Python itself or of installed packages."""
    path = Path(os.path.realpath(file))
    if _PACKAGE_FOLDERS.intersection(path.parts):
        return True
    return any(folder in path.parents for folder in _installed_folders())


@cache
def _installed_folders() -> set[Path]:
    """Return the folders of Python's own modules and of installed packages."""
    scheme_names = ("stdlib", "platstdlib", "purelib", "platlib")
    return {Path(os.path.realpath(sysconfig.get_path(name))) for name in scheme_names}


def _folder_of_top_package(spec: ModuleSpec, file: str) -> Path:
    """Return the folder that contains a module's top-level package."""
    path = Path(os.path.realpath(file))
    is_in_archive = bool(getattr(spec.loader, "archive", None))
    if is_in_archive:
        return path.parent
    folders_between = spec.name.count(".")  # one for each package around the module
    is_init_file = spec.submodule_search_locations is not None and file_of(spec)
    if is_init_file:
        folders_between += 1  # `a/__init__.py` is in the folder of its own package
    last_index = len(path.parents) - 1  # of the root folder
    return path.parents[min(folders_between, last_index)]


@cache
def _names_of_installed_modules(folder: Path) -> set[str]:
    """Return the names of the top-level modules that `pip --target` installed in a folder."""
    installed_paths: list[str] = []
    for record in folder.glob("*.dist-info/RECORD"):
        with suppress(OSError, ValueError):
            installed_paths += record.read_text("utf-8").splitlines()
    return {re.split(r"[/.,]", path)[0] for path in installed_paths}


def imported_module_names(content: bytes, package: str = "") -> Iterator[str]:
    """Yield the absolute names of the modules that Python source may import, in functions too.

    For `from a import b` these are `a` and `a.b`, since `b` may be a module.

    Args:
      content: the source; a source that is not valid Python imports nothing.
      package: the name of the package that relative imports start from.
    """
    for node in _syntax_nodes(content):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            with suppress(ImportError):
                relative_name = "." * node.level + (node.module or "")
                from_module = importlib.util.resolve_name(relative_name, package)
                yield from_module
                imported = [alias.name for alias in node.names if alias.name != "*"]
                yield from (f"{from_module}.{name}" for name in imported)


def imported_from_same_folder(path: Path, content: bytes) -> list[Path]:
    """Return the files that a Python file imports absolutely from its own folder.

    If the file imports a package, all the package's files are returned. This choice of files must
    never change, because old configs contain checksums of these files.

    Args:
      path: the file.
      content: the file's content.
    """
    top_names = set()
    for node in _syntax_nodes(content):
        if isinstance(node, ast.Import):
            top_names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            top_names.add(node.module.partition(".")[0])
    files = []
    jaxcifar_package = __name__.partition(".")[0]
    for name in sorted(top_names - {jaxcifar_package}):
        module = path.parent / f"{name}.py"
        package = path.parent / name
        if module.is_file():
            files.append(module)
        elif (package / "__init__.py").is_file():
            files += sorted(package.rglob("*.py"))
    return files


def _syntax_nodes(content: bytes) -> Iterator[ast.AST]:
    """Yield all nodes of the syntax tree of Python source; yield none if the source is invalid."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return iter(())  # the error is reported, with its line, when the module is loaded
    return ast.walk(tree)
