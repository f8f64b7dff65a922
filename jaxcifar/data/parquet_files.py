"""Find a user's parquet files, and the split that the name of each file or of its folder says."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxcifar.data.folder_listing import FolderListing, has_image_suffix, printable_name
from jaxcifar.data.split_names import SPLIT_WORDS, split_of_name_part
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.name_lists import join_first
from jaxcifar.machine.terminal import PrintLine

PARQUET_SUFFIX = ".parquet"
_MAX_FILES = 10_000
_MAX_LISTED_ENTRIES = 100  # of a subfolder that are looked at to find a parquet file
_MAX_SHOWN_NAMES = 3  # of files in a message


def find_parquet_files(path: Path) -> list[Path]:
    """Return the parquet file `path`, or those in the folder `path` or else in its subfolders.

    Raises:
      RunError: there are too many files.
    """
    if path.is_file():
        return [path] if path.suffix == PARQUET_SUFFIX else []
    try:
        parquet_files = sorted(path.glob(f"*{PARQUET_SUFFIX}"))
        if not parquet_files:
            for folder in _subfolders_with_parquet(path):
                parquet_files += sorted(folder.glob(f"*{PARQUET_SUFFIX}"))
    except OSError:
        return []  # whoever lists the images reports the reason
    if len(parquet_files) > _MAX_FILES:
        raise RunError(f"{path}: has more than {_MAX_FILES:,} parquet files; give fewer files")
    return parquet_files


def find_unmixed_parquet_files(path: Path) -> list[Path]:
    """Return the parquet files at `path`, and check that there are no class folders beside them.

    Raises:
      RunError: there are too many files, or class folders beside the parquet files.
    """
    parquet_files = find_parquet_files(path)
    if not parquet_files or path.is_file():
        return parquet_files
    class_folders = _subfolders_with_images(path)
    if len(class_folders) > 1:
        first_file = parquet_files[0].relative_to(path).as_posix()
        shown_folders = ", ".join(map(printable_name, class_folders[:2]))
        raise RunError(
            f"{path}: holds class folders ({shown_folders}) and parquet files "
            f"({printable_name(first_file)}); give {path / first_file}, or move it out"
        )
    return parquet_files


def _subfolders_with_images(path: Path) -> list[str]:
    """Return the paths, relative to `path` and sorted, of all subfolders with image files."""
    listing = FolderListing(path)
    subfolders = set()
    for file in listing.files_below(listing.root_folder):
        subfolder, _, _ = file.relative_path.rpartition("/")
        if subfolder and has_image_suffix(file.relative_path):
            subfolders.add(subfolder)
    return sorted(subfolders)


def _subfolders_with_parquet(path: Path) -> list[Path]:
    """Return the subfolders with a parquet file among their first `_MAX_LISTED_ENTRIES` entries."""
    subfolders = []
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            first_entries = itertools.islice(folder.iterdir(), _MAX_LISTED_ENTRIES)
            if any(entry.suffix == PARQUET_SUFFIX for entry in first_entries):
                subfolders.append(folder)
    return subfolders


def group_by_split(
    path: Path, files: Sequence[Path], print_line: PrintLine | None = None
) -> dict[str, list[Path]]:
    """Return the files of each split, by split name.

    A single file, or files whose names say no split, are the files of "train".

    Args:
      path: the file or folder of the user.
      files: the parquet files at this path.
      print_line: prints a line about several files that name no split.

    Raises:
      UsageError: only some files name a split, or files of a split are in different folders.
    """
    user_gave_single_file = path in files
    if user_gave_single_file:
        return {"train": [path]}
    files_of_split: dict[str, list[Path]] = {}
    files_without_split: list[Path] = []
    for file in files:
        split = split_of_file(path, file)
        if split is None:
            files_without_split.append(file)
        else:
            files_of_split.setdefault(split, []).append(file)
    if not files_of_split:
        if len(files_without_split) > 1 and print_line:
            shown_names = join_first([file.name for file in files_without_split], _MAX_SHOWN_NAMES)
            print_line(
                f"{path.name}: {shown_names} are all training images; begin the names of files "
                "with test or validation if they are not"
            )
        return {"train": files_without_split}
    _require_clear_splits(files_of_split, files_without_split)
    return {split: files_of_split[split] for split in SPLIT_WORDS if split in files_of_split}


def _require_clear_splits(
    files_of_split: Mapping[str, Sequence[Path]], files_without_split: Sequence[Path]
) -> None:
    """Raise an error if files name no split, or if a split has files in several folders."""
    if files_without_split:
        raise UsageError(
            f"{files_without_split[0].name} names no split; begin the name of each file with "
            "train, test or validation"
        )
    for split_files in files_of_split.values():
        folders = [file.parent for file in split_files]
        if len(set(folders)) > 1:
            raise UsageError(
                f"{folders[0].name} and {folders[-1].name} have files of the same split; give only "
                "one of these folders"
            )


def split_of_file(path: Path, file: Path) -> str | None:
    """Return the split that a file's name or else its folder's name says; None if neither does.

    The name of the user's own folder, `path`, does not count.
    """
    names = [file.stem] if file.parent == path else [file.stem, file.parent.name]
    for name in names:
        split = split_of_name_part(name, separators="^a-zA-Z")
        if split is not None:
            return split
    return None
