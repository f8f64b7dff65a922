"""Studies and networks that come with the package, to run and to copy from."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]


def examples_folder() -> Path:
    """Return the folder that holds `studies/` and `networks/`: installed, or in a checkout."""
    installed = _PACKAGE / "examples"
    return installed if installed.is_dir() else _PACKAGE.parent / "experiments"


def study_files() -> dict[str, Path]:
    """Return the files of all studies that come with the package, by name."""
    return {file.stem: file for file in sorted((examples_folder() / "studies").glob("*.toml"))}


def network_files() -> dict[str, Path]:
    """Return the files of all networks to copy from, by name."""
    return {file.stem: file for file in sorted((examples_folder() / "networks").glob("*.py"))}
