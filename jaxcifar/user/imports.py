"""User code in memory: it runs the bytes that were hashed, whatever is on the disk by then."""

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

from jaxcifar.user.execution import watch_executed_files
from jaxcifar.user.file_contents import FileContents
from jaxcifar.user.loader import HashedLoader
from jaxcifar.user.user_files import (
    file_of,
    imported_names,
    is_user_module,
    module_and_parents,
    package_of,
)
from jaxcifar.user.user_program import modules_used

_LOCK = threading.RLock()  # `sys.modules` and `sys.meta_path` belong to the whole process
_active: list["UserCode"] = []  # code whose import statements run; the innermost comes last


class UserCode:
    """A module of the user and all user code that it imports.

    The modules of this code are in `sys.modules` only while its import statements run. So two
    networks can have different helpers of the same name, and an edited file is never mixed with
    modules from before the edit.

    Args:
      name: the user's name for the module, a path or a dotted module name.
      main: the module's file.
      files: files that are already read and hashed: path relative to the folder of `main` ->
        content.
      module: the module itself if the user's program has already imported it; else None.
    """

    def __init__(
        self, name: str, main: Path, files: Mapping[str, bytes], module: ModuleType | None = None
    ) -> None:
        self.name, self.main, self.files = name, main, files
        self._contents = FileContents(name, main, files)
        self._module = module
        self._modules: dict[str, ModuleType] = {}  # modules of this code while they are inactive
        self._module_names: set[str] = set()  # all names that `find_spec` has found
        self._packages = {os.path.realpath(main): ""}  # file -> package of its relative imports
        self._shadowed_names: set[str] = set()
        self._thread = 0
        self._builtins = {**vars(builtins), "__import__": self._import}

    def module(self) -> ModuleType:
        """Return the user's module; the first call executes it."""
        if not self._contents.is_complete:
            with _LOCK:
                self._load()
        assert self._module is not None  # `_load` has set it, or raised
        return self._module

    def imports(self) -> dict[str, bytes]:
        """Load the user code, and return the contents of imported files that are not in `files`.

        Returns:
          path relative to the main file's folder -> content.
        """
        self.module()
        return self._contents.imported()

    def has_changed(self) -> bool:
        """Return whether an imported file was edited or deleted after it was read."""
        return self._contents.has_changed()

    def _load(self) -> None:
        """Execute the main module if it is not imported yet, and read all files it may import."""
        if self._module is not None:
            spec = self._module.__spec__
            self._packages[os.path.realpath(self.main)] = package_of(spec)
            self._read_pending_imports()
        else:
            self._shadowed_names = self._find_shadowed_names()
            try:
                with self._modules_active():
                    module = self._execute_main()
                    self._read_pending_imports()
            except BaseException:  # the next call starts from the beginning
                self._contents.forget_imported()
                self._modules.clear()
                raise
            self._module = module
        self._contents.is_complete = True

    def _execute_main(self) -> ModuleType:
        """Execute the user's main module, from its hashed content if it is a file; return it."""
        if not self.name.endswith(".py"):
            return importlib.import_module(self.name)
        content = self._contents.get(str(self.main))
        name = f"user_{self.main.stem}_{hashlib.sha256(content).hexdigest()[:12]}"
        loader = HashedLoader(name, str(self.main.absolute()), content, self._builtins)
        spec = importlib.util.spec_from_file_location(name, loader.path, loader=loader)
        assert spec is not None  # because the loader is given
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # stays there, because dataclasses look up their modules
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def _read_pending_imports(self) -> None:
        """Read the files of import statements that have not run yet, such as those in functions."""
        waiting = list(self._packages.items())
        finished_files = set()
        while waiting:
            file, package = waiting.pop()
            finished_files.add(file)
            for name in self._names_in(file, package):
                spec = self._find_user_spec(name)
                imported = file_of(spec) if spec else None
                if imported and os.path.realpath(imported) not in finished_files:
                    self._contents.add(imported, sys.modules.get(name))
                    waiting.append((os.path.realpath(imported), package_of(spec)))

    def _names_in(self, file: str, package: str) -> list[str]:
        """Return the names of the modules that a file may import, packages before modules."""
        if not file.endswith(".py"):
            return []
        content = self._contents.get(file)
        used = list(imported_names(content, package))
        is_cell = self._module is not None and getattr(self._module, "__file__", None) is None
        if is_cell and file == os.path.realpath(self.main):
            used += modules_used(content, vars(self._module))
        with_packages = [part for name in used for part in module_and_parents(name)]
        return list(dict.fromkeys(with_packages))  # each name once

    def _find_user_spec(self, name: str) -> ModuleSpec | None:
        """Return the spec of a module of user code, without importing the module.

        Return None for a module that is not user code, and for a name that is not a module.
        """
        top_package = name.partition(".")[0]
        # First the top-level package: looking for a submodule imports the packages around it.
        modules_to_check = [name] if top_package == name else [top_package, name]
        spec = None
        for part in modules_to_check:
            module = sys.modules.get(part)
            with suppress(Exception):  # the error is reported when the import statement runs
                spec = module.__spec__ if module else importlib.util.find_spec(part)
            if not is_user_module(spec):
                return None
        return spec if spec and spec.name == name else None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module; Python calls this for import statements in the user code.

        Modules in the main file's folder come first. User code is loaded from the hashed bytes.
        """
        if threading.get_ident() != self._thread:
            return None
        spec = self._ask_other_finders(name, path, target)
        is_parent = self.name.startswith(f"{name}.")  # a package around the main module
        if is_parent or not is_user_module(spec):
            return spec  # `_read_pending_imports` reads a parent if an import statement names it
        self._module_names.add(name)
        file = file_of(spec)
        if file is not None:
            content = self._contents.add(file)
            self._packages[os.path.realpath(file)] = package_of(spec)
            if type(spec.loader) is SourceFileLoader:
                spec.loader = HashedLoader(name, file, content, self._builtins)
                spec.cached = None  # a .pyc file may have been compiled from another content
        return spec

    def _ask_other_finders(
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
        """Return the folders that are searched for modules before Python's search path."""
        return [str(self.main.resolve().parent)] if self.name.endswith(".py") else []

    def _find_shadowed_names(self) -> set[str]:
        """Return names of imported modules for which the main file's folder has another module.

        An import statement in the user code means the module in the main file's folder.
        """
        shadowed = set()
        for name, module in list(sys.modules.items()):
            if "." in name or name == "__main__":
                continue
            is_users = is_user_module(getattr(module, "__spec__", None))
            if is_users and PathFinder.find_spec(name, self._folders()):
                shadowed.add(name)
        return shadowed

    def _import(self, *arguments: Any, **options: Any) -> Any:
        """Replace `__import__` in the modules of the user code; the arguments are the same."""
        with self._modules_active():
            return builtins.__import__(*arguments, **options)

    @contextmanager
    def _modules_active(self) -> Iterator[None]:
        """Put this code's modules into `sys.modules` in place of others, until the block ends."""
        with _LOCK:
            if _active and _active[-1] is self:
                yield
                return
            top_names = {name for name in self._modules if "." not in name} | self._shadowed_names
            set_aside = {
                name: module
                for name, module in sys.modules.items()
                if name in self._modules or name.partition(".")[0] in top_names
            }
            for name in set_aside:
                del sys.modules[name]
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self)
            self._thread = threading.get_ident()
            _active.append(self)
            try:
                with watch_executed_files(self._contents.add):
                    yield
            finally:
                _active.pop()
                sys.meta_path.remove(self)
                for name in self._module_names.intersection(sys.modules):
                    self._modules[name] = sys.modules.pop(name)
                sys.modules.update(set_aside)
