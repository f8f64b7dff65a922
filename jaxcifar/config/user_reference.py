"""User code that a config names as `FILE.py:NAME` or `package.module:NAME`: hash and load it.

The package's own networks are loaded in the same way. Code in the folder of a run is never loaded.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.config.registry import entry, is_user_code
from jaxcifar.config.user_errors import explain_user_code_errors, main_file_of_source
from jaxcifar.config.user_sources import MAX_SOURCE_BYTES, find_main_file, read_sources
from jaxcifar.errors import UsageError
from jaxcifar.user.file_contents import path_of_copy
from jaxcifar.user.imports import UserCode
from jaxcifar.user.notebook_cells import definitions_used_in_cell

# User code that this process has read, by (part of the code's name before the colon, digest).
_known_code: dict[tuple[str, str | None], UserCode] = {}


def load(option: str, name: str, sha256: str | None = None) -> Any:
    """Return the class or function that a name such as "net.py:Net" stands for.

    Args:
      option: the option that has the name as its value, such as "arch".
      name: the option's value, such as "cnn" or "net.py:Net".
      sha256: the SHA-256 of the user code to load; None for the code on the disk.

    Raises:
      UsageError: the code is not found, fails, or has another SHA-256. The message is one line. If
        the code fails, the message says in which file and line.
    """
    code_location = entry(option, name).constructor  # such as "net.py:Net"
    file_or_module, _, attribute = code_location.rpartition(":")
    with explain_user_code_errors((option, name)):
        if is_user_code(name):
            module = _find_user_code(option, name, sha256).module()
        else:  # code of jaxcifar
            module = importlib.import_module(file_or_module)
    try:
        return getattr(module, attribute)
    except AttributeError:
        defined_names = ", ".join(_defined_names(module)) or "no class and no function"
        problem = f"{file_or_module} does not define {attribute}; it defines {defined_names}"
        raise UsageError(f"--{option} {name}: {problem}") from None


def _defined_names(module: ModuleType) -> list[str]:
    """Return the names of the classes and functions that a module defines and does not import."""
    return [
        defined_name
        for defined_name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    ]


def read_and_hash(option: str, name: str) -> str:
    """Read user code, keep it for `load`, and return its SHA-256 (hex).

    The SHA-256 covers all files that `read_sources` returns, and `load` finds the code by it.
    `name`, such as "net.py:Net", is the value of `option`, such as "arch".
    """
    file_or_module, _, attribute = name.rpartition(":")
    files = read_sources(option, name)
    sha256 = _digest_of_files(files)
    imported_module = sys.modules.get(file_or_module)
    known_code = _known_code.get((file_or_module, sha256))
    if known_code is None or _may_be_outdated(known_code, imported_module):
        main_file = find_main_file(option, name)
        if main_file is None:  # a notebook's cell defines the code
            main_file = Path(f"{attribute}.py")
        main_file_of_source[file_or_module] = main_file
        user_code = UserCode(file_or_module, main_file, files, imported_module)
        _known_code[file_or_module, sha256] = user_code
    return sha256


def _may_be_outdated(known_code: UserCode, imported_module: ModuleType | None) -> bool:
    """Return whether user code that was read may differ from what an import would give now."""
    user_may_have_reloaded_module = imported_module is not None
    return user_may_have_reloaded_module or known_code.has_changed()


def _digest_of_files(contents: Mapping[str, bytes]) -> str:
    """Return one SHA-256 for all files of user code, given path -> content.

    For a single file, this is the file's own SHA-256. For several files, it is the SHA-256 of a
    text that lists the SHA-256 and the path of each file.
    """
    if len(contents) == 1:
        [content] = contents.values()
        return _sha256_hex(content)
    lines = [f"{_sha256_hex(content)}  {file}\n" for file, content in sorted(contents.items())]
    list_of_files = "".join(lines)
    return _sha256_hex(list_of_files.encode())


def _find_user_code(option: str, name: str, sha256: str | None) -> UserCode:
    """Return the user code `name` with this SHA-256, or the code on the disk if it is None.

    Raises:
      UsageError: the code on the disk, which is read if needed, has another SHA-256.
    """
    file_or_module = name.rpartition(":")[0]
    if (file_or_module, sha256) not in _known_code:
        current_sha256 = read_and_hash(option, name)
        was_edited = sha256 is not None and sha256 != current_sha256
        if was_edited:
            problem = "the code has been edited since it was read; start the program again"
            raise UsageError(f"--{option} {name}: {problem}")
        sha256 = current_sha256
    return _known_code[file_or_module, sha256]


def has_read(option: str, name: str, sha256: str) -> bool:
    """Return whether this process has read user code, such as "net.py:Net", with this SHA-256."""
    return (name.rpartition(":")[0], sha256) in _known_code


def load_import_digests(option: str, name: str, sha256: str) -> dict[str, str]:
    """Load user code; return the SHA-256 (hex) of imported files that `read_sources` leaves out.

    These are, for example, files in other folders than the user's file.
    `name`, such as "net.py:Net", is the value of `option`, such as "arch".

    Returns:
      path relative to the folder of the user's file -> SHA-256.

    Raises:
      UsageError: the code can't be loaded, or its SHA-256 is not `sha256`.
    """
    with explain_user_code_errors((option, name)):
        files = _find_user_code(option, name, sha256).imports()
    return {file: _sha256_hex(content) for file, content in sorted(files.items())}


def import_digests_on_disk(option: str, name: str, files: Iterable[str]) -> dict[str, str | None]:
    """Return the SHA-256 that files of user code have on the disk now; the code is not loaded.

    Args:
      option: the option that has the name as its value, such as "arch".
      name: the option's value, such as "net.py:Net".
      files: paths that `load_import_digests` returned; in a notebook also names of definitions.

    Returns:
      path -> SHA-256 (hex); None for a file that can't be read.
    """
    main_file = find_main_file(option, name)
    notebook_definitions: dict[str, bytes] = {}
    if main_file is None:  # a notebook's cell defines the code
        folder = os.path.realpath(".")
        notebook = sys.modules[name.rpartition(":")[0]]
        [text_of_cell] = read_sources(option, name).values()
        notebook_definitions = definitions_used_in_cell(text_of_cell, notebook)
    else:
        folder = os.path.realpath(main_file.parent)
    digests: dict[str, str | None] = {}
    for file_or_definition in files:
        content = notebook_definitions.get(file_or_definition)
        try:
            if content is None:
                content = Path(folder, file_or_definition).read_bytes()
            digests[file_or_definition] = _sha256_hex(content)
        except OSError:
            digests[file_or_definition] = None
    return digests


def contents_to_copy(option: str, name: str, sha256: str) -> dict[str, bytes]:
    """Return the contents of all files that user code was loaded from.

    Returns:
      path of the copy inside a folder, such as `(up)/lib/x.py` for `../lib/x.py` -> content.
    """
    code = _find_user_code(option, name, sha256)
    contents = dict(code.files)
    for file, content in code.imports().items():
        if len(content) <= MAX_SOURCE_BYTES:  # compiled libraries are not copied
            contents[path_of_copy(file)] = content
    return contents


def _sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
