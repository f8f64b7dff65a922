"""A module loader that runs the bytes of user code that were hashed, not the file on the disk."""

from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any


class HashedLoader(SourceFileLoader):
    """A loader of a source file whose content is given. It does not use .pyc files.

    Args:
      name: the module's name.
      path: the file's path, for error messages.
      hashed_content: the file's content.
      visible_builtins: name -> value of what the module sees as Python's built-in functions.
    """

    def __init__(
        self, name: str, path: str, hashed_content: bytes, visible_builtins: dict[str, Any]
    ) -> None:
        super().__init__(name, path)
        self._hashed_content, self._visible_builtins = hashed_content, visible_builtins

    def get_code(self, fullname: str) -> CodeType:
        """Return the given content as a compiled module."""
        return self.source_to_code(self._hashed_content, self.path)

    def get_data(self, path: str) -> bytes:
        """Return the given content for the module's file; read other files from the disk."""
        return self._hashed_content if path == self.path else super().get_data(path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._visible_builtins
        super().exec_module(module)


def has_hashed_loader(spec: ModuleSpec) -> bool:
    """Return whether a module was loaded by a `HashedLoader`."""
    return isinstance(spec.loader, HashedLoader)


def late_import_message(file: str) -> str:
    """Return the error text for user code in `file` that is imported after hashing the code."""
    return (
        f"{file} is imported only while the code runs, too late for its content to become part of "
        "the config; import it at the top of the file that uses it"
    )
