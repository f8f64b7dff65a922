"""Studies and networks that come with the package, to run and to copy from."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]


def examples_folder() -> Path:
    """Return the folder of the package that contains `studies/` and `networks/`."""
    installed = _PACKAGE / "examples"
    return installed if installed.is_dir() else _PACKAGE.parent / "experiments"


def study_files() -> dict[str, Path]:
    """Return the file of each study that comes with the package, by the study's name."""
    return {file.stem: file for file in sorted((examples_folder() / "studies").glob("*.toml"))}


def network_files() -> dict[str, Path]:
    """Return the file of each example network that comes with the package, by its name."""
    return {file.stem: file for file in sorted((examples_folder() / "networks").glob("*.py"))}
