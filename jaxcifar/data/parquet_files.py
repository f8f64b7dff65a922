"""Find a user's parquet files, and the split that the name of each file or of its folder says."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from jaxcifar.data.folder_listing import FolderListing, has_image_suffix, shown
from jaxcifar.data.split_names import SPLIT_WORDS, split_within
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.name_lists import join_first
from jaxcifar.machine.terminal import PrintLine

SUFFIX = ".parquet"
_MAX_FILES = 10_000
_MAX_ENTRIES = 100  # of a subfolder that are looked at to find a parquet file
_MOST_NAMES = 3  # of files in a message


def find_parquet(path: Path) -> list[Path]:
    """Return the parquet file `path`, or those in the folder `path` or else in its subfolders.

    Raises:
      RunError: there are too many files.
    """
    if path.is_file():
        return [path] if path.suffix == SUFFIX else []
    try:
        files = sorted(path.glob(f"*{SUFFIX}"))
        if not files:
            for folder in _folders_with_parquet(path):
                files += sorted(folder.glob(f"*{SUFFIX}"))
    except OSError:
        return []  # whoever lists the images reports the reason
    if len(files) > _MAX_FILES:
        raise RunError(f"{path}: has more than {_MAX_FILES:,} parquet files; give fewer")
    return files


def find_only_parquet(path: Path) -> list[Path]:
    """Return what `find_parquet` returns for a user's data set, which has no other images.

    Raises:
      RunError: there are too many files, or class folders beside the parquet files.
    """
    files = find_parquet(path)
    if files and path.is_dir():
        listing = FolderListing(path)
        names = [file.name for file in listing.files(listing.top) if has_image_suffix(file.name)]
        folders = sorted({name.rpartition("/")[0] for name in names} - {""})
        if len(folders) > 1:
            first_file = files[0].relative_to(path).as_posix()
            raise RunError(
                f"{path}: holds class folders ({shown(folders[0])}, {shown(folders[1])}) and "
                f"parquet files ({shown(first_file)}); give {path / first_file}, or move it out"
            )
    return files


def _folders_with_parquet(path: Path) -> list[Path]:
    """Return the subfolders that have a parquet file among their first `_MAX_ENTRIES` entries."""
    subfolders = []
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            few_entries = itertools.islice(folder.iterdir(), _MAX_ENTRIES)
            if any(entry.suffix == SUFFIX for entry in few_entries):
                subfolders.append(folder)
    return subfolders


def group_by_split(
    path: Path, files: Sequence[Path], print_line: PrintLine | None = None
) -> dict[str, list[Path]]:
    """Return split -> its files; a single file, or files that name no split, are "train".

    Args:
      path: the file or folder of the user.
      files: the parquet files at this path.
      print_line: prints a line about several files that name no split.

    Raises:
      UsageError: only some files name a split, or files of a split are in different folders.
    """
    if path in files:
        return {"train": [path]}
    splits: dict[str, list[Path]] = {}
    for file in files:
        split = split_of_file(path, file)
        splits.setdefault(split or "unnamed", []).append(file)
    unnamed = splits.pop("unnamed", [])
    if not splits:
        if len(unnamed) > 1 and print_line:
            listed = join_first([file.name for file in unnamed], _MOST_NAMES)
            print_line(
                f"{path.name}: {listed} are all training images; begin the names of files with "
                "test or validation if they are not"
            )
        return {"train": unnamed}
    if unnamed:
        raise UsageError(
            f"{unnamed[0].name} names no split; begin the name of each file with train, test or "
            "validation"
        )
    for files_of_split in splits.values():
        folders = [file.parent for file in files_of_split]
        if len(set(folders)) > 1:
            raise UsageError(
                f"{folders[0].name} and {folders[-1].name} have files of the same split; give one "
                "of these folders"
            )
    return {split: splits[split] for split in SPLIT_WORDS if split in splits}


def split_of_file(path: Path, file: Path) -> str | None:
    """Return the split that the name of a file, or of its folder in `path`, says; else None."""
    names = [file.stem] if file.parent == path else [file.stem, file.parent.name]
    splits = [split_within(name, separators="^a-zA-Z") for name in names]
    return next((split for split in splits if split is not None), None)
