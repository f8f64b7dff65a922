"""Paths as people write them."""

import os
from collections.abc import Iterable
from pathlib import Path

from jaxcifar.errors import UsageError


def expand_home(path: str) -> Path:
    """Return a path with the home folder in place of a leading `~` or `~name`.

    If the system knows no such home folder, the path stays as it is. `Path.expanduser` would raise
    an error.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def require_image_path(dataset: str) -> None:
    """Refuse a path that can't be a data set of the user's; nothing in it is read.

    Args:
      dataset: a path, as `--dataset` takes it.

    Raises:
      UsageError: it leads to no folder, and to no .npz file.
    """
    path = expand_home(dataset)
    if path.is_dir() or (path.is_file() and path.suffix == ".npz"):
        return
    problem = "neither a folder nor an .npz file" if path.exists() else "no such folder or file"
    raise UsageError(
        f"--dataset {dataset}: {problem}; give a folder of images by class, or an .npz with "
        "x_train, y_train, x_test and y_test"
    )


def require_existing(paths: Iterable[Path]) -> None:
    """Refuse a path that leads nowhere.

    Raises:
      UsageError: see above.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")


def require_folder_of(option: str, file: Path | None) -> None:
    """Refuse a file to be written, if there is one, whose folder does not exist.

    Args:
      option: that names the file, for the message.
      file: to be written.

    Raises:
      UsageError: see above.
    """
    if file is not None and not file.parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}")
