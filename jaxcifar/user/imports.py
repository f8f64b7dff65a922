"""User code in memory: it runs the bytes that were hashed, whatever is on the disk by then."""

import builtins
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.user.execution import watch_executed_files
from jaxcifar.user.file_contents import FileContents
from jaxcifar.user.loader import HashedLoader
from jaxcifar.user.notebook_cells import modules_used_in_cell
from jaxcifar.user.user_files import (
    file_of,
    imported_module_names,
    imported_names_also_found_in,
    is_user_module,
    module_and_parents,
    parent_package,
    spec_of_module,
)

_IMPORT_LOCK = threading.RLock()  # `sys.modules` and `sys.meta_path` belong to the whole process
_active_user_codes: list["UserCode"] = []  # whose import statements run; the innermost is last


class UserCode:
    """A Python module of the user, such as the file net.py, and all user modules that it imports.

    `sys.modules` has the imported modules only while an import statement of this code runs. So two
    networks can import different modules of the same name. And if a file has been edited, the new
    code never gets a module from before the edit.

    Args:
      name: the module as the user names it, by a path or a dotted module name.
      main: the module's file.
      files: contents of the files that have been read and hashed before: path relative to the
        folder of `main` -> content.
      module: the module itself if the user's program has already imported it; else None.
    """

    def __init__(
        self, name: str, main: Path, files: Mapping[str, bytes], module: ModuleType | None = None
    ) -> None:
        self.name, self.main, self.files = name, main, files
        self._contents = FileContents(name, main, files)
        self._module = module
        self._inactive_modules: dict[str, ModuleType] = {}  # are not in `sys.modules` now
        self._found_module_names: set[str] = set()  # all names that `find_spec` has found
        self._package_of_file = {os.path.realpath(main): ""}  # where relative imports start
        self._shadowed_names: set[str] = set()
        self._importing_thread_id = 0
        self._module_builtins = {**vars(builtins), "__import__": self._import_with_active_modules}

    def module(self) -> ModuleType:
        """Return the user's module; the first call executes it."""
        if not self._contents.is_complete:
            with _IMPORT_LOCK:
                self._load_module_and_imports()
        assert self._module is not None  # `_load_module_and_imports` has set it, or raised
        return self._module

    def imports(self) -> dict[str, bytes]:
        """Load the user code, and return the contents of the imported files.

        Files that were read and hashed before (`files`) are left out.

        Returns:
          path relative to the main file's folder -> content.
        """
        self.module()
        return self._contents.imported_contents()

    def has_changed(self) -> bool:
        """Return whether an imported file was edited or deleted after it was read."""
        return self._contents.has_changed()

    def _load_module_and_imports(self) -> None:
        """Execute the main module if it is not imported yet, and read all files it may import."""
        if self._module is None:
            self._module = self._execute_module_and_read_imports()
        else:
            main_file = os.path.realpath(self.main)
            self._package_of_file[main_file] = parent_package(self._module.__spec__)
            self._read_pending_imports()
        self._contents.is_complete = True

    def _execute_module_and_read_imports(self) -> ModuleType:
        # Import statements must find the modules in the main file's folder.
        self._shadowed_names = imported_names_also_found_in(self._first_search_folders())
        try:
            with self._activate_modules():
                module = self._execute_main_module()
                self._read_pending_imports()
        except BaseException:  # the next call starts from the beginning
            self._contents.forget_imported_files()
            self._inactive_modules.clear()
            raise
        return module

    def _execute_main_module(self) -> ModuleType:
        """Execute and return the user's main module; a file runs from its hashed content."""
        is_dotted_module_name = not self.name.endswith(".py")
        if is_dotted_module_name:
            return importlib.import_module(self.name)
        content = self._contents.known_content(str(self.main))
        name = f"user_{self.main.stem}_{hashlib.sha256(content).hexdigest()[:12]}"
        loader = HashedLoader(name, str(self.main.absolute()), content, self._module_builtins)
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
        """Read the files of all modules that the user code may import, directly or indirectly.

        Python may run an import later, if it is inside a function.
        """
        files_to_scan = list(self._package_of_file.items())
        scanned_files = set()
        while files_to_scan:
            file, package = files_to_scan.pop()
            scanned_files.add(file)
            for name in self._names_of_imported_modules(file, package):
                spec = self._find_user_spec(name)
                imported_file = file_of(spec) if spec else None
                if imported_file and os.path.realpath(imported_file) not in scanned_files:
                    self._contents.read_imported_file(imported_file, sys.modules.get(name))
                    files_to_scan.append((os.path.realpath(imported_file), parent_package(spec)))

    def _names_of_imported_modules(self, file: str, package: str) -> list[str]:
        """Return the names of the modules that a file may import, packages before modules."""
        if not file.endswith(".py"):
            return []
        content = self._contents.known_content(file)
        module_names = list(imported_module_names(content, package))
        is_main_file = file == os.path.realpath(self.main)
        is_notebook = getattr(self._module, "__file__", None) is None
        if self._module and is_main_file and is_notebook:  # the main file is one of its cells
            cells = [content, *self._contents.read_other_cells(self._module)]
            module_names += modules_used_in_cell(b"\n".join(cells), vars(self._module))
        all_names = [name for module in module_names for name in module_and_parents(module)]
        return list(dict.fromkeys(all_names))  # each name once

    def _find_user_spec(self, name: str) -> ModuleSpec | None:
        """Return the spec of a module of user code, without importing the module.

        Return None for a module that is not user code, and for a name that is not a module.
        """
        top_package = name.partition(".")[0]
        # Looking for a submodule imports the packages around it, so they must be user code.
        spec = spec_of_module(top_package)
        if name != top_package and is_user_module(spec):
            spec = spec_of_module(name)
        return spec if is_user_module(spec) and spec.name == name else None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module and return its spec; Python calls this for imports in the user code.

        Modules in the main file's folder come first. A file runs from the bytes that were hashed.
        """
        if threading.get_ident() != self._importing_thread_id:  # an import in another thread
            return None
        spec = self._find_spec_with_other_finders(name, path, target)
        is_package_of_main_module = self.name.startswith(f"{name}.")
        if is_package_of_main_module or not is_user_module(spec):
            return spec  # `_read_pending_imports` reads a parent if an import statement names it
        self._found_module_names.add(name)
        file = file_of(spec)
        if file is not None:
            content = self._contents.read_imported_file(file)
            self._package_of_file[os.path.realpath(file)] = parent_package(spec)
            is_plain_source_file = type(spec.loader) is SourceFileLoader
            if is_plain_source_file:
                spec.loader = HashedLoader(name, file, content, self._module_builtins)
                spec.cached = None  # a .pyc file may have been compiled from another content
        return spec

    def _find_spec_with_other_finders(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is self:
                continue
            is_top_level_module = path is None
            if finder is PathFinder and is_top_level_module:
                spec = finder.find_spec(name, [*self._first_search_folders(), *sys.path], target)
            else:
                spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def _first_search_folders(self) -> list[str]:
        """Return the folders that are searched for modules before Python's search path."""
        return [str(self.main.resolve().parent)] if self.name.endswith(".py") else []

    def _import_with_active_modules(self, *arguments: Any, **options: Any) -> Any:
        """Replace `__import__` in the modules of the user code; the arguments are the same."""
        with self._activate_modules():
            return builtins.__import__(*arguments, **options)

    @contextmanager
    def _activate_modules(self) -> Iterator[None]:
        """Put this code's modules into `sys.modules` in place of others, until the block ends."""
        with _IMPORT_LOCK:
            is_active_already = bool(_active_user_codes) and _active_user_codes[-1] is self
            if is_active_already:
                yield
                return
            removed_modules = self._remove_modules_of_same_names()
            sys.modules.update(self._inactive_modules)
            sys.meta_path.insert(0, self)
            self._importing_thread_id = threading.get_ident()
            _active_user_codes.append(self)
            try:
                with watch_executed_files(self._contents.read_imported_file):
                    yield
            finally:
                _active_user_codes.pop()
                sys.meta_path.remove(self)
                for name in self._found_module_names.intersection(sys.modules):
                    self._inactive_modules[name] = sys.modules.pop(name)
                sys.modules.update(removed_modules)

    def _remove_modules_of_same_names(self) -> dict[str, ModuleType]:
        """Remove modules from `sys.modules` whose names this code's modules have; return them."""
        top_names = {name for name in self._inactive_modules if "." not in name}
        replaced_top_names = top_names | self._shadowed_names
        removed_modules = {}
        for name in list(sys.modules):
            top_name = name.partition(".")[0]
            if name in self._inactive_modules or top_name in replaced_top_names:
                removed_modules[name] = sys.modules.pop(name)
        return removed_modules
