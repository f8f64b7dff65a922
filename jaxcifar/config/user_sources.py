"""Find and read the files of user code that a config names, and the notebook cells."""

import os
import sys
from pathlib import Path

from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.user.notebook_cells import cell_source
from jaxcifar.user.user_files import find_file_of_module, imported_from_same_folder
from jaxcifar.user.user_program import imported_source, module_of_file

MAX_SOURCE_BYTES = 2**20
_MAX_SOURCE_FILES = 100


def read_sources(option: str, name: str) -> dict[str, bytes]:
    """Return the contents of the user's file and of the files that it imports from its folder.

    `name`, such as "net.py:Net", is the value of `option`, such as "arch".

    Returns:
      path relative to the folder of the user's file -> content; the user's file comes first.

    Raises:
      UsageError: a file can't be read or is too large, or there are too many files.
    """
    user_file = find_main_file(option, name)
    if user_file is None:
        return _read_notebook_cell(option, name)
    contents: dict[str, bytes] = {}
    files_to_read = [user_file]
    while files_to_read:
        file = files_to_read.pop(0)
        relative_path = Path(os.path.relpath(file, user_file.parent)).as_posix()  # in the digest
        if relative_path not in contents:
            content = _read_source(option, name, file)
            contents[relative_path] = content
            files_to_read += imported_from_same_folder(file, content)
        if len(contents) > _MAX_SOURCE_FILES:
            problem = f"the code imports more than {_MAX_SOURCE_FILES} files from its own folder"
            advice = "move it to a folder with only the files that it needs"
            raise UsageError(f"--{option} {name}: {problem}; {advice}")
    return contents


def _read_notebook_cell(option: str, name: str) -> dict[str, bytes]:
    """Return the text of the cell that defines user code, by the file name `NAME.py`."""
    module_name, _, class_name = name.rpartition(":")
    with explain_user_code_errors((option, name)):
        class_or_function = getattr(sys.modules[module_name], class_name)
        cell_text = cell_source(class_or_function)
        return {f"{class_name}.py": cell_text.encode()}


def _read_source(option: str, name: str, path: Path) -> bytes:
    """Return the content of a file of user code.

    If the user's program has imported the file, this is the content that was imported, even if the
    file was edited afterwards. Otherwise it is the content on the disk.

    Raises:
      UsageError: the file can't be read, or has more than 1 MiB; the message names the option.
    """
    given_option = f"--{option} {name}"
    try:
        if not path.is_file():
            raise UsageError(f"{given_option}: there is no such file as {path}; correct the path")
        is_code_of_program = name.rpartition(":")[0] in sys.modules
        module_of_program = module_of_file(path) if is_code_of_program else None
        if module_of_program is not None:
            content = imported_source(module_of_program)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        reason = f"can't be read ({error.strerror}); make the file readable"
        raise UsageError(f"{given_option}: {path} {reason}") from error
    if len(content) > MAX_SOURCE_BYTES:
        raise UsageError(f"{given_option}: {path} is larger than 1 MiB; name a smaller Python file")
    return content


def find_main_file(option: str, name: str) -> Path | None:
    """Return the file of the user code `name`, such as the file net.py for "net.py:Net".

    Return None if a notebook's cell defines the code. `option` names the option, such as "arch".
    """
    file_or_module = name.rpartition(":")[0]
    if file_or_module.endswith(".py"):
        return Path(file_or_module)
    module_name = file_or_module
    if module_name in sys.modules:
        module = sys.modules[module_name]
        file = getattr(module, "__file__", None)
        is_notebook = file is None and module.__spec__ is None
        if is_notebook:
            return None
    else:
        with explain_user_code_errors((option, name)):
            file = find_file_of_module(module_name)
    if file is None:
        problem = f"there is no module {module_name} with a file"
        raise UsageError(f"--{option} {name}: {problem}; to name a file, write FILE.py:NAME")
    return Path(file)
