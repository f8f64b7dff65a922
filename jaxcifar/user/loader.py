"""Running the bytes of user code that were read and hashed, whatever lies on the disk by then."""

from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any


class HashedLoader(SourceFileLoader):
    """A loader of a source file whose content is given; it uses no .pyc file.

    Args:
      name: the module's name.
      path: the file's path, for messages.
      content: the file's content.
      names: the module's `builtins`.
    """

    def __init__(self, name: str, path: str, content: bytes, names: dict[str, Any]) -> None:
        super().__init__(name, path)
        self._content, self._names = content, names

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled module."""
        return self.source_to_code(self._content, self.path)

    def get_data(self, path: str) -> bytes:
        """Return the content of the module's file, or of a file beside it."""
        return self._content if path == self.path else super().get_data(path)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        vars(module)["__builtins__"] = self._names
        super().exec_module(module)


def is_hashed(spec: ModuleSpec) -> bool:
    """Return whether a module was loaded by a `HashedLoader`."""
    return isinstance(spec.loader, HashedLoader)


def late_import(file: str) -> str:
    """Return the error text for a module that is imported after hashing."""
    return (
        f"imports {file} only while it runs, too late for its content to be part of the config; "
        "import it at the top of the file"
    )
