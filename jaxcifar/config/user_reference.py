"""User code that a config names as `FILE.py:NAME` or `package.module:NAME`: find, hash and load it.

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
from jaxcifar.errors import UsageError
from jaxcifar.user.file_contents import path_of_copy
from jaxcifar.user.imports import UserCode
from jaxcifar.user.notebook_cells import cell_source, definitions_used_in_cell
from jaxcifar.user.user_files import find_file_of_module, imported_from_same_folder
from jaxcifar.user.user_program import imported_source, module_of_file

_MAX_SOURCE_BYTES = 2**20
_MAX_SOURCE_FILES = 100
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
    constructor = entry(option, name).constructor
    file_or_module, _, attribute = constructor.rpartition(":")
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


def read_sources(option: str, name: str) -> dict[str, bytes]:
    """Return the contents of the user's file and of the files that it imports from its folder.

    `name`, such as "net.py:Net", is the value of `option`, such as "arch".

    Returns:
      path relative to the folder of the user's file -> content; the user's file comes first.

    Raises:
      UsageError: a file can't be read or is too large, or there are too many files.
    """
    file_or_module, _, attribute = name.rpartition(":")
    user_file = _find_file(option, name)
    if user_file is None:  # a notebook's cell defines the code
        with explain_user_code_errors((option, name)):
            cell_text = cell_source(getattr(sys.modules[file_or_module], attribute))
            return {f"{attribute}.py": cell_text.encode()}
    contents: dict[str, bytes] = {}
    files_to_read = [user_file]
    while files_to_read:
        file = files_to_read.pop(0)
        path = Path(os.path.relpath(file, user_file.parent)).as_posix()  # part of the digest
        if path not in contents:
            contents[path] = _read_source(option, name, file)
            files_to_read += imported_from_same_folder(file, contents[path])
        if len(contents) > _MAX_SOURCE_FILES:
            problem = f"the code imports more than {_MAX_SOURCE_FILES} files from its own folder"
            advice = "move it to a folder with only the files that it needs"
            raise UsageError(f"--{option} {name}: {problem}; {advice}")
    return contents


def _read_source(option: str, name: str, path: Path) -> bytes:
    """Return the content of a file as the user's program has imported it, or else from the disk.

    Raises:
      UsageError: the file can't be read, or has more than 1 MiB; the message names the option.
    """
    given_option = f"--{option} {name}"
    try:
        if not path.is_file():
            raise UsageError(f"{given_option}: there is no such file as {path}; correct the path")
        is_code_imported = name.rpartition(":")[0] in sys.modules
        imported_module = module_of_file(path) if is_code_imported else None
        if imported_module is not None:
            content = imported_source(imported_module)
        else:
            with path.open("rb") as file:
                content = file.read(_MAX_SOURCE_BYTES + 1)
    except OSError as error:
        reason = f"can't be read ({error.strerror}); make the file readable"
        raise UsageError(f"{given_option}: {path} {reason}") from error
    if len(content) > _MAX_SOURCE_BYTES:
        raise UsageError(f"{given_option}: {path} is larger than 1 MiB; name a smaller Python file")
    return content


def _find_file(option: str, name: str) -> Path | None:
    """Return the file of the user code `name`, such as the file net.py for "net.py:Net".

    Return None if a notebook's cell defines the code. `option` names the option, such as "arch".
    """
    file_or_module = name.rpartition(":")[0]
    if file_or_module.endswith(".py"):
        return Path(file_or_module)
    if file_or_module in sys.modules:
        module = sys.modules[file_or_module]
        file = getattr(module, "__file__", None)
        is_notebook = file is None and module.__spec__ is None
        if is_notebook:
            return None
    else:
        with explain_user_code_errors((option, name)):
            file = find_file_of_module(file_or_module)
    if file is None:
        problem = f"there is no module {file_or_module} with a file"
        raise UsageError(f"--{option} {name}: {problem}; to name a file, write FILE.py:NAME")
    return Path(file)


def read_and_hash(option: str, name: str) -> str:
    """Read user code, keep it for `load`, and return its SHA-256 (hex).

    The SHA-256 covers all files that `read_sources` returns, and `load` finds the code by it.
    `name`, such as "net.py:Net", is the value of `option`, such as "arch".
    """
    file_or_module, _, attribute = name.rpartition(":")
    files = read_sources(option, name)
    sha256 = _digest_of_files(files)
    known_code = _known_code.get((file_or_module, sha256))
    imported_module = sys.modules.get(file_or_module)
    user_may_have_reloaded_module = imported_module is not None
    if known_code is None or user_may_have_reloaded_module or known_code.has_changed():
        main_file = _find_file(option, name) or Path(f"{attribute}.py")
        main_file_of_source[file_or_module] = main_file
        user_code = UserCode(file_or_module, main_file, files, imported_module)
        _known_code[file_or_module, sha256] = user_code
    return sha256


def _digest_of_files(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of one file, or of a list of the SHA-256 and path of several files."""
    if len(contents) == 1:
        [content] = contents.values()
        return _sha256_hex(content)
    lines = [f"{_sha256_hex(content)}  {file}\n" for file, content in sorted(contents.items())]
    return _sha256_hex("".join(lines).encode())


def _find_user_code(option: str, name: str, sha256: str | None) -> UserCode:
    file_or_module = name.rpartition(":")[0]
    if (file_or_module, sha256) not in _known_code:
        current_sha256 = read_and_hash(option, name)
        if sha256 not in (None, current_sha256):
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
    main_file = _find_file(option, name)
    folder = os.path.realpath(main_file.parent if main_file else ".")
    definitions: dict[str, bytes] = {}
    if main_file is None:
        [text_of_cell] = read_sources(option, name).values()
        definitions = definitions_used_in_cell(text_of_cell, sys.modules[name.rpartition(":")[0]])
    digests: dict[str, str | None] = {}
    for file in files:
        try:
            content = definitions[file] if file in definitions else Path(folder, file).read_bytes()
            digests[file] = _sha256_hex(content)
        except OSError:
            digests[file] = None
    return digests


def contents_to_copy(option: str, name: str, sha256: str) -> dict[str, bytes]:
    """Return the contents of all files that user code was loaded from.

    Returns:
      path of the copy inside a folder, such as `(up)/lib/x.py` for `../lib/x.py` -> content.
    """
    code = _find_user_code(option, name, sha256)
    contents = dict(code.files)
    for file, content in code.imports().items():
        if len(content) <= _MAX_SOURCE_BYTES:  # compiled libraries are not copied
            contents[path_of_copy(file)] = content
    return contents


def _sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
