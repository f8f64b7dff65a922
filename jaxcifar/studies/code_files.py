"""Find the files that a study names: user code as FILE.py:NAME, and files of class weights."""

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
    """Return a study's settings in which paths replace the names of files in the study's folder.

    For user code, `net.py:Net` becomes `studies/net.py:Net` if the study is in `studies`. The new
    path is relative to the current folder if that folder contains the file. Names of other files
    do not change, so they are looked for in the current folder. If a setting names a file with
    the loss weights of the classes, these weights replace the name.

    Args:
      folder: the folder of the study's file.
      settings: settings from the study's file.
    """
    changes = {kind: _with_path(folder, name) for kind, name in _user_files(settings).items()}
    weights = settings.get("class_weights")
    if weights is not None:
        changes["class_weights"] = class_weights_text(_weights_path(folder, weights))
    return settings | changes


def without_folders(settings: Settings) -> Settings:
    """Return settings that name user code without its folder, and images by their absolute path.

    So a study compares equal to itself when it is started in another folder, or with another
    spelling of the path of its images. The contents of the files and images are compared by the
    SHA-256 in each run's config.
    """
    files = _user_files(settings)
    changes = {kind: re.sub(r".*[/\\]", "", name) for kind, name in files.items()}
    dataset = settings.get("dataset")
    if isinstance(dataset, str) and dataset not in KINDS["dataset"]:
        changes["dataset"] = os.path.realpath(expand_home(dataset))
    return settings | changes


def _user_files(settings: Settings) -> dict[str, str]:
    """Return the settings that name user code in a file, such as "arch" -> "net.py:Net"."""
    named = {kind: settings[kind] for kind in USER_CODE_FIELDS if kind in settings}
    return {kind: name for kind, name in named.items() if name.rpartition(":")[0].endswith(".py")}


def _with_path(folder: Path, name: str) -> str:
    """Return `name` with the path of its file if the file is in `folder`, otherwise unchanged.

    Args:
      folder: the folder of the study's file.
      name: user code as `FILE.py:NAME`.
    """
    file, _, attribute = name.rpartition(":")
    if Path(file).is_absolute() or not _is_file(folder / file):
        return name
    path = Path(os.path.abspath(folder / file))  # noqa: PTH100 - `resolve` would rename a link
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path.as_posix()}:{attribute}"


def _weights_path(folder: Path, setting: str) -> str:
    """Return the path of a file of class weights that a setting names, if `folder` has the file.

    Return any other setting unchanged: a file elsewhere, the weights themselves as JSON text, or
    the word "none" or "balanced".
    """
    is_text = setting in (NO_WEIGHTS, BALANCED) or setting.startswith("{")
    return setting if is_text or not _is_file(folder / setting) else str(folder / setting)


def _is_file(path: Path) -> bool:
    """Return whether a path is a file; False if the path is too long or can't be read."""
    try:
        return path.is_file()
    except OSError:  # the name is too long, or the folder can't be read
        return False
