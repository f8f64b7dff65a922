"""User code that a study names as FILE.py:NAME: where the file is looked for."""

import os
import re
from pathlib import Path
from typing import Any

from jaxcifar.config.settings import NAMED

Settings = dict[str, Any]


def find_beside(folder: Path, settings: Settings) -> Settings:
    """Return settings that name each file of user code by its path, if it lies in `folder`.

    A file that does not lie there keeps its name, which then counts from the current folder. A file
    below the current folder is named from there, so a study in the current folder keeps all names.

    Args:
      folder: of the study's file.
      settings: as the study's file gives them.
    """
    return settings | {kind: _find(folder, name) for kind, name in _user_files(settings).items()}


def without_folders(settings: Settings) -> Settings:
    """Return settings whose user code is named without the folder of its file.

    So a study is the same one from wherever it is run. What the file contains is compared run by
    run, by its SHA-256.
    """
    files = _user_files(settings)
    return settings | {kind: re.sub(r".*[/\\]", "", name) for kind, name in files.items()}


def _user_files(settings: Settings) -> dict[str, str]:
    """Return the settings that name user code in a file."""
    named = {kind: settings[kind] for kind in NAMED if kind in settings}
    return {kind: name for kind, name in named.items() if name.rpartition(":")[0].endswith(".py")}


def _find(folder: Path, name: str) -> str:
    file, _, attribute = name.rpartition(":")
    if Path(file).is_absolute() or not _is_file(folder / file):
        return name
    path = Path(os.path.abspath(folder / file))  # noqa: PTH100 - `resolve` would rename a link
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path.as_posix()}:{attribute}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long a name, or a folder that may not be searched
        return False
