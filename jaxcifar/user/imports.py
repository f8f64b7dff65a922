"""User code in memory: each file is read once, and what was read is hashed, run and kept."""

import builtins
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.errors import UsageError
from jaxcifar.user.execution import noticing_files
from jaxcifar.user.loader import HashedLoader, late_import
from jaxcifar.user.user_files import file_of, imported_names, is_users, package_of, parents_of
from jaxcifar.user.user_program import content_of, modules_used

_MOST_FILES = 1000
_LOCK = threading.RLock()  # `sys.modules` and `sys.meta_path` belong to the whole process
_active: list["UserCode"] = []  # whose import statements run; the innermost last


class UserCode:
    """A user's module and all user code that it imports.

    Its modules are its own: they are in `sys.modules` only while its import statements run. So two
    networks can have different helpers of the same name, and an edited file is never mixed with
    modules from before the edit.

    Args:
      name: the user's name for it, a path or a dotted module name.
      main: the module's file.
      files: the files that its digest covers, by their paths from the main file's folder.
      module: the module itself if the user's program has imported it already.
    """

    def __init__(
        self,
        name: str,
        main: Path,
        files: Mapping[str, bytes],
        module: ModuleType | None = None,
    ) -> None:
        self.name, self.main, self.files = name, main, files
        self._hashed_files = {os.path.realpath(main.parent / file): files[file] for file in files}
        self._module = module
        self._read: dict[str, bytes] = {}  # imported files that are not in `_hashed_files`
        self._loaded = False
        self._modules: dict[str, ModuleType] = {}
        self._found: set[str] = set()  # names of user modules, found by `find_spec`
        self._packages = {os.path.realpath(main): ""}  # file -> package of its relative imports
        self._shadowed_names: set[str] = set()  # top-level names of other modules in the program
        self._thread = 0
        self._builtins = {**vars(builtins), "__import__": self._import}

    def module(self) -> ModuleType:
        """Return the module, executed at the first call."""
        if not self._loaded:
            with _LOCK:
                self._load()
        assert self._module is not None  # `_load` has set it, or raised
        return self._module

    def imports(self) -> dict[str, bytes]:
        """Return the imported files beyond `files`, by their paths from the main file's folder."""
        self.module()
        return {self.path_of(file): content for file, content in self._read.items()}

    def path_of(self, file: str) -> str:
        """Return a path relative to the main file's folder, if they are on the same drive."""
        with suppress(ValueError):  # on another drive
            file = os.path.relpath(file, os.path.realpath(self.main.parent))
        return Path(file).as_posix()

    def has_changed(self) -> bool:
        """Return whether an imported file is no longer what it was when it was read."""
        return any(_on_disk(file) != content for file, content in self._read.items())

    def _load(self) -> None:
        if self._module is not None:
            spec = self._module.__spec__
            self._packages[os.path.realpath(self.main)] = package_of(spec)
            self._follow_statements()
        else:
            self._shadowed_names = self._shadowed()
            try:
                with self._own_modules_active():
                    module = self._executed()
                    self._follow_statements()
            except BaseException:  # the next call begins anew
                self._read.clear()
                self._modules.clear()
                raise
            self._module = module
        self._loaded = True

    def _executed(self) -> ModuleType:
        if not self.name.endswith(".py"):
            return importlib.import_module(self.name)
        content = self._hashed_files[os.path.realpath(self.main)]
        name = f"own_{self.main.stem}_{hashlib.sha256(content).hexdigest()[:12]}"
        loader = HashedLoader(name, str(self.main.absolute()), content, self._builtins)
        spec = importlib.util.spec_from_file_location(name, loader.path, loader=loader)
        assert spec is not None  # there is a loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # stays there: dataclasses look for it
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def _follow_statements(self) -> None:
        """Read what import statements name that have not run yet, such as those in functions."""
        waiting = list(self._packages.items())
        done = set()
        while waiting:
            file, package = waiting.pop()
            done.add(file)
            names = self._names_in(file, package) if file.endswith(".py") else ()
            for name in dict.fromkeys(part for full in names for part in parents_of(full)):
                spec = self._spec_of(name)
                imported = file_of(spec) if spec else None
                if imported and os.path.realpath(imported) not in done:
                    self._include(imported, sys.modules.get(name))
                    waiting.append((os.path.realpath(imported), package_of(spec)))

    def _names_in(self, file: str, package: str) -> Iterator[str]:
        """Yield the names of the modules that a file, or a notebook's cell, may use."""
        content = self._hashed_files.get(file) or self._read.get(file, b"")
        yield from imported_names(content, package)
        is_cell = self._module is not None and getattr(self._module, "__file__", None) is None
        if is_cell and file == os.path.realpath(self.main):
            yield from modules_used(content, vars(self._module))

    def _spec_of(self, name: str) -> ModuleSpec | None:
        """Return the spec of a user's module; None for other modules and for what is no module."""
        top = name.partition(".")[0]
        spec = None
        for part in dict.fromkeys((top, name)):  # a submodule's parents are imported
            module = sys.modules.get(part)
            with suppress(Exception):  # reported when the statement runs
                spec = module.__spec__ if module else importlib.util.find_spec(part)
            if not is_users(spec):
                return None
        return spec if spec and spec.name == name else None

    def _include(self, file: str, module: ModuleType | None = None) -> bytes:
        """Return the content of an imported file, which belongs to this code from now on."""
        real = os.path.realpath(file)
        if real in self._hashed_files:
            return self._hashed_files[real]
        if real not in self._read:
            if self._loaded:
                raise UsageError(f"{self.name}: {late_import(file)}")
            if len(self._read) == _MOST_FILES:
                raise UsageError(f"{self.name}: imports more than {_MOST_FILES:,} files")
            if module is not None and real.endswith(".py"):  # it was imported before
                self._read[real] = content_of(module)
            else:
                self._read[real] = Path(file).read_bytes()
        return self._read[real]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; user code beside the main file comes first, with the bytes hashed."""
        if threading.get_ident() != self._thread:
            return None
        spec = self._found_by_others(name, path, target)
        is_parent = self.name.startswith(f"{name}.")  # a parent package of the main module
        if is_parent or not is_users(spec):
            return spec  # `_follow_statements` includes a parent if an import names it
        self._found.add(name)
        if file := file_of(spec):
            content = self._include(file)
            self._packages[os.path.realpath(file)] = package_of(spec)
            if type(spec.loader) is SourceFileLoader:
                spec.loader = HashedLoader(name, file, content, self._builtins)
                spec.cached = None  # a .pyc file may be of another content
        return spec

    def _found_by_others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self:
                continue
            if finder is PathFinder and path is None:
                spec = finder.find_spec(name, [*self._folders(), *sys.path], target)
            else:
                spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def _folders(self) -> list[str]:
        return [str(self.main.resolve().parent)] if self.name.endswith(".py") else []

    def _shadowed(self) -> set[str]:
        """Return names of modules of the user's program that also lie beside the main file."""
        tops = {name for name in sys.modules if "." not in name and name != "__main__"}
        theirs = {name for name in tops if is_users(getattr(sys.modules[name], "__spec__", None))}
        return {name for name in theirs if PathFinder.find_spec(name, self._folders())}

    def _import(self, *arguments: Any, **options: Any) -> Any:
        """Replacement for `__import__` in this code's modules."""
        with self._own_modules_active():
            return builtins.__import__(*arguments, **options)

    @contextmanager
    def _own_modules_active(self) -> Iterator[None]:
        """Put this code's modules into `sys.modules`, instead of others of the same names."""
        with _LOCK:
            if _active[-1:] == [self]:
                yield
                return
            mine = {name for name in self._modules if "." not in name} | self._shadowed_names
            others = {
                name: module
                for name, module in sys.modules.items()
                if name in self._modules or name.partition(".")[0] in mine
            }
            for name in others:
                del sys.modules[name]
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self)
            self._thread = threading.get_ident()
            _active.append(self)
            try:
                with noticing_files(self._include):
                    yield
            finally:
                _active.pop()
                sys.meta_path.remove(self)
                for name in self._found.intersection(sys.modules):
                    self._modules[name] = sys.modules.pop(name)
                sys.modules.update(others)


def _on_disk(file: str) -> bytes | None:
    with suppress(OSError):
        return Path(file).read_bytes()
    return None
