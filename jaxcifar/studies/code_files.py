"""Find the files that a study names: user code as FILE.py:NAME, and weights of classes."""

import os
import re
from pathlib import Path
from typing import Any

from jaxcifar.config.class_weights import BALANCED, NO_WEIGHTS, class_weights_text
from jaxcifar.config.registry import KINDS
from jaxcifar.config.settings import USER_CODE_FIELDS
from jaxcifar.machine.paths import expand_home

Settings = dict[str, Any]


def find_in_study_folder(folder: Path, settings: Settings) -> Settings:
    """Return settings that name user code in the study's folder by the path of its file.

    The path is relative to the current folder if the file is below that folder. The name of any
    other file does not change, so the file is looked for in the current folder. A file of class
    weights is read, and the settings hold the weights.

    Args:
      folder: the folder of the study's file.
      settings: settings from the study's file.
    """
    found = {kind: _find(folder, name) for kind, name in _user_files(settings).items()}
    weights = settings.get("class_weights")
    if weights is not None:
        found["class_weights"] = class_weights_text(_find_weights(folder, weights))
    return settings | found


def without_folders(settings: Settings) -> Settings:
    """Return settings that name user code without its folder, and images by their whole path.

    So a study compares equal to itself when it is started in another folder, or with another
    spelling of the path of its images. The contents of the files and images are compared by the
    SHA-256 in each run's config.
    """
    files = _user_files(settings)
    named = {kind: re.sub(r".*[/\\]", "", name) for kind, name in files.items()}
    dataset = settings.get("dataset")
    if isinstance(dataset, str) and dataset not in KINDS["dataset"]:
        named["dataset"] = os.path.realpath(expand_home(dataset))
    return settings | named


def _user_files(settings: Settings) -> dict[str, str]:
    """Return field -> `FILE.py:NAME` for the settings that name user code in a file."""
    named = {kind: settings[kind] for kind in USER_CODE_FIELDS if kind in settings}
    return {kind: name for kind, name in named.items() if name.rpartition(":")[0].endswith(".py")}


def _find(folder: Path, name: str) -> str:
    file, _, attribute = name.rpartition(":")
    if Path(file).is_absolute() or not _is_file(folder / file):
        return name
    path = Path(os.path.abspath(folder / file))  # noqa: PTH100 - `resolve` would rename a link
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path.as_posix()}:{attribute}"


def _find_weights(folder: Path, setting: str) -> str:
    is_text = setting in (NO_WEIGHTS, BALANCED) or setting.startswith("{")
    return setting if is_text or not _is_file(folder / setting) else str(folder / setting)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long, or the folder can't be read
        return False
