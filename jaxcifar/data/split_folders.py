"""Tell split folders from class folders by their names and content, and refuse unclear folders."""

from collections.abc import Mapping, Sequence

from jaxcifar.data.folder_listing import MAX_SHOWN_NAMES, Folder, FolderListing, printable_name
from jaxcifar.data.split_names import split_of_name, split_of_name_part
from jaxcifar.errors import RunError
from jaxcifar.machine.name_lists import join_first
from jaxcifar.machine.terminal import pluralize


def splits_of_folder_names(listing: FolderListing, folders: Sequence[Folder]) -> list[str | None]:
    """Return the split that each folder is for; None for a folder that is not for a split.

    A folder named "test" is always for a split. A name that contains the name of a split, such as
    "test_set", counts only if the names of all folders together say "train" and another split. The
    folder must also have subfolders, because a class may be called "test_tube". If every name says
    a split, folders for validation and testing need no subfolders; their files are reported later.
    """
    names = [folder.own_name for folder in folders]
    splits_of_whole_names = [split_of_name(name) for name in names]
    splits_of_names_or_parts = [split_of_name(name) or split_of_name_part(name) for name in names]
    distinct_splits = {*splits_of_names_or_parts} - {None}
    if "train" not in distinct_splits or len(distinct_splits) < 2:
        return splits_of_whole_names
    every_name_says_split = None not in splits_of_names_or_parts
    for folder, split_of_whole_name, split in zip(
        folders, splits_of_whole_names, splits_of_names_or_parts, strict=True
    ):
        only_part_of_name_says_split = split is not None and split_of_whole_name is None
        may_lack_subfolders = every_name_says_split and split != "train"
        if only_part_of_name_says_split and not may_lack_subfolders:
            may_be_class = not listing.children(folder).subfolders  # such as "test_tube"
            if may_be_class:
                return splits_of_whole_names
    return splits_of_names_or_parts


def refuse_partial_splits(
    listing: FolderListing,
    folders_of_split: Mapping[str, Sequence[Folder]],
    other_folders: Sequence[Folder],
) -> None:
    """Raise an error if a folder of images is divided into splits only in part.

    Args:
      listing: lists the folders.
      folders_of_split: split -> folders with its name. Such a folder without subfolders is no
        error, because a class may be called "train" or "test".
      other_folders: the folders beside the folders of `folders_of_split`.

    Raises:
      RunError: a folder in `folders_of_split` has subfolders.
    """
    for split, folders in folders_of_split.items():
        folder = folders[0]
        may_be_class = not listing.children(folder).subfolders
        if may_be_class:
            continue
        neighbour_text = f" beside {other_folders[0].printable_path}" if other_folders else ""
        missing_text = "" if "train" in folders_of_split else " but no train folder"
        raise RunError(
            f"{listing.root}: has a {split} folder with subfolders ({folder.printable_path})"
            f"{neighbour_text}{missing_text}; put the classes into train/ and test/, or give "
            f"{folder.path} to have a sixth of every class taken for testing"
        )


def refuse_unnamed_splits(listing: FolderListing, class_folders: Mapping[str, Folder]) -> None:
    """Raise an error if all class folders have the same subfolders, which may be the classes.

    Raises:
      RunError: all class folders have subfolders with the same names, two or more.
    """
    if len(class_folders) < 2:
        return
    first_folder, *later_folders = class_folders.values()
    common_names = _subfolder_names(listing, first_folder)
    if len(common_names) < 2:
        return
    for folder in later_folders:
        if _subfolder_names(listing, folder) != common_names:
            return
    first_path, second_path, *other_paths = (
        folder.printable_path for folder in class_folders.values()
    )
    others_text = f" (and {pluralize(len(other_paths), 'other folder')})" if other_paths else ""
    printable_names = [printable_name(name) for name in sorted(common_names)]
    listed_subfolders = join_first(printable_names, MAX_SHOWN_NAMES)
    raise RunError(
        f"{listing.root}: {first_path} and {second_path}{others_text} both hold the folders "
        f"{listed_subfolders}: they look like splits; rename them to train and test, or, if they "
        "are classes, move their images out of these folders"
    )


def _subfolder_names(listing: FolderListing, folder: Folder) -> set[str]:
    return {subfolder.class_name for subfolder in listing.children(folder).subfolders}


def refuse_splits_in_class(listing: FolderListing, class_folder: Folder) -> None:
    """Raise an error if a class folder has a train folder and the folder of another split inside.

    Raises:
      RunError: the class folder has such subfolders.
    """
    subfolders = listing.children(class_folder).subfolders
    splits_inside = {split_of_name_part(subfolder.own_name) for subfolder in subfolders} - {None}
    if "train" in splits_inside and len(splits_inside) > 1:
        raise RunError(
            f"{listing.root}: {class_folder.printable_path} is divided into train and test "
            "itself; put the classes into train/ and test/ instead (train/CLASS, test/CLASS)"
        )
