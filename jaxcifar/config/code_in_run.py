"""Refuse to execute user code that lies in the folder of a run, which may be a stranger's."""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from jaxcifar.config.fields import Fields
from jaxcifar.config.registry import is_user_code
from jaxcifar.config.settings import USER_CODE_FIELDS
from jaxcifar.errors import UsageError


def require_no_user_code_in_run_folder(run_folder: Path | None, config: Fields) -> None:
    """Check that a run's config names no user code in the run's own folder.

    A stranger may have sent the folder, with the code and with a config that has the code's
    SHA-256. So an equal SHA-256 does not show that the user trusts the code. No code is imported.

    Args:
      run_folder: the folder of the run; None if the config is from a file outside of a run.
      config: the config of the run.

    Raises:
      UsageError: the config names code in the folder.
    """
    if run_folder is None:
        return
    real_run_folder = os.path.realpath(run_folder)
    for option, name in user_code_names(config).items():
        for path in _paths_of_code(name):
            real_path = Path(os.path.realpath(path))
            if real_path.is_relative_to(real_run_folder):
                raise UsageError(
                    f"{run_folder}: its --{option} {name} is in the run's own folder, whose code "
                    "is never executed; if you trust the code, copy it elsewhere and train again"
                )


def run_folder_of(path: Path) -> Path | None:
    """Return the folder of the run that a path belongs to; None for a file outside of a run.

    `path` is the folder of a run, or a file such as a run's config or weights.
    """
    if path.is_dir():
        return path
    is_in_run = (path.parent / "config.json").exists() and (path.parent / "metrics.jsonl").exists()
    return path.parent if is_in_run else None


def user_code_names(config: Fields) -> dict[str, str]:
    """Return the fields of a config that name user code, such as "arch" -> "net.py:Net".

    The names are not read from the list `config.sources`, because the list has no effect on what
    is executed: a stranger may have removed code from the list.
    """
    names = {field: getattr(config, field) for field in USER_CODE_FIELDS}
    return {field: name for field, name in names.items() if is_user_code(name)}


def _paths_of_code(name: str) -> Iterable[str]:
    """Return the paths of user code: a file, or the folders of a package.

    For "net.py:Net", this is the file `net.py`. For "package.module:Net", these are the folders of
    `package`, or its file if it is a single file. Return nothing if there is no such package.
    """
    file_or_module = name.rpartition(":")[0]
    if file_or_module.endswith(".py"):
        return [file_or_module]
    top_package = file_or_module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top_package)  # imports nothing, because it has no parent
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    package_folders = spec.submodule_search_locations  # None for a single file
    if package_folders:
        return list(package_folders)
    single_file = spec.origin
    return [single_file] if single_file else []
