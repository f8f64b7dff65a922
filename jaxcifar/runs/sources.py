"""Copies of a run's user code, in the folder `sources` of the run's folder."""

from pathlib import Path

from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.files import atomic_write


def write_sources(folder: Path, config: Config) -> None:
    """Copy a run's user code into its folder `sources`; files that exist there are kept.

    Args:
      folder: the folder `sources`; created if missing.
      config: config of the run, which names the user code.

    Raises:
      RunError: the folder or one of its subfolders is a symbolic link, which could lead anywhere.
      OSError: a copy can't be written.
    """
    for relative_path, content in user_code.contents_to_copy(config).items():
        copy = folder / relative_path
        for parent in (copy.parent, *copy.parent.parents):
            if parent.is_relative_to(folder):
                require_no_link(parent)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(copy) as file:
                file.write(content)


def require_no_link(folder: Path) -> None:
    """Raise RunError if a folder is a symbolic link, because files in it could be anywhere."""
    if folder.is_symlink():
        raise RunError(f"{folder}: is a symbolic link; delete it, then run the same command")
