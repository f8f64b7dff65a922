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
    """Return a study's settings with the paths of the files that lie in the study's folder.

    User code such as `net.py:Net` becomes `studies/net.py:Net` if the folder `studies` of the study
    has the file. The new path is relative to the current folder if that folder contains the file.
    Other user code does not change, so its file is looked for in the current folder. The name of a
    file with the loss weights of the classes is replaced by these weights.

    Args:
      folder: the folder of the study's file.
      settings: settings from the study's file.
    """
    user_code = _user_code_settings(settings)
    changes = {field: _with_path_of_file(folder, code) for field, code in user_code.items()}
    class_weights = settings.get("class_weights")
    if class_weights is not None:
        changes["class_weights"] = class_weights_text(_weights_path(folder, class_weights))
    return settings | changes


def without_folders(settings: Settings) -> Settings:
    """Return settings that name user code without its folder, and images by their absolute path.

    So a study compares equal to itself when it is started in another folder, or with another
    spelling of the path of its images. The contents of the files and images are compared by the
    SHA-256 in each run's config.
    """
    user_code = _user_code_settings(settings)
    changes = {field: re.sub(r".*[/\\]", "", code) for field, code in user_code.items()}
    dataset = settings.get("dataset")
    if isinstance(dataset, str) and dataset not in KINDS["dataset"]:
        changes["dataset"] = os.path.realpath(expand_home(dataset))
    return settings | changes


def _user_code_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that name user code in a file, such as "arch" -> "net.py:Net"."""
    names = {field: settings[field] for field in USER_CODE_FIELDS if field in settings}
    return {field: name for field, name in names.items() if _file_of(name).endswith(".py")}


def _file_of(user_code: str) -> str:
    """Return the file of user code such as `net.py:Net`; "" for a name of the package."""
    return user_code.rpartition(":")[0]


def _with_path_of_file(folder: Path, user_code: str) -> str:
    """Return user code with the path of its file if the file is in `folder`, otherwise unchanged.

    Args:
      folder: the folder of the study's file.
      user_code: the code as `FILE.py:NAME`.
    """
    file, _, attribute = user_code.rpartition(":")
    if Path(file).is_absolute() or not _is_file(folder / file):
        return user_code
    path = Path(os.path.abspath(folder / file))  # noqa: PTH100 - `resolve` would rename a link
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path.as_posix()}:{attribute}"


def _weights_path(folder: Path, setting: str) -> str:
    """Return the path of a file of class weights that a setting names, if `folder` has the file.

    Return any other setting unchanged: a file elsewhere, the weights themselves as JSON text, or
    the word "none" or "balanced".
    """
    is_file_name = setting not in (NO_WEIGHTS, BALANCED) and not setting.startswith("{")
    path = folder / setting
    return str(path) if is_file_name and _is_file(path) else setting


def _is_file(path: Path) -> bool:
    """Return whether a path is a file; False if the path is too long or can't be read."""
    try:
        return path.is_file()
    except OSError:  # the name is too long, or the folder can't be read
        return False
