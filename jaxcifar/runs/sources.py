"""Copies of a run's user code, in the folder `sources` of the run's folder."""

from pathlib import Path

from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.files import atomic_write


def write_sources(folder: Path, config: Config) -> None:
    """Write the copies that are missing.

    Args:
      folder: the folder `sources`; created if missing.
      config: of the run.

    Raises:
      RunError: the folder or one of its subfolders is a symbolic link; nothing is written through
        it.
      OSError: a copy can't be written.
    """
    for file, content in user_code.copies(config).items():
        copy = folder / file
        _require_no_link(folder, copy.parent)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(copy) as written:
                written.write(content)


def _require_no_link(top: Path, folder: Path) -> None:
    """Raise RunError if `folder`, or a parent up to `top`, is a symbolic link."""
    on_the_way = [path for path in (folder, *folder.parents) if path.is_relative_to(top)]
    for path in on_the_way:
        if path.is_symlink():
            raise RunError(f"{path}: is a symbolic link; delete it, then run the same command")
