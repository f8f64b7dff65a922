"""Tell split folders from class folders by their names and content, and refuse unclear folders."""

from collections.abc import Mapping, Sequence

from jaxcifar.data.folder_listing import Folder, FolderListing, list_some, shown
from jaxcifar.data.split_names import split_of, split_within
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import pluralize


def named_splits(listing: FolderListing, folders: Sequence[Folder]) -> list[str | None]:
    """Return the split that each folder's name says, or None.

    A class may be called "test_tube". So a split that is only a part of a name counts if a training
    folder and another are named, and if such folders hold folders. A folder for testing may
    hold files if all folders name a split; whoever lists the files reports them.
    """
    names = [folder.last_part for folder in folders]
    whole_names = [split_of(name) for name in names]
    all_names = [split_of(name) or split_within(name) for name in names]
    if "train" not in all_names or len({*all_names} - {None}) < 2:
        return whole_names
    for folder, whole_name, split in zip(folders, whole_names, all_names, strict=True):
        is_part_of_name = split is not None and whole_name is None
        may_hold_files = split != "train" and None not in all_names
        if is_part_of_name and not may_hold_files and not listing.children(folder).folders:
            return whole_names
    return all_names


def refuse_partial_splits(
    listing: FolderListing,
    by_split: Mapping[str, Sequence[Folder]],
    other_folders: Sequence[Folder],
) -> None:
    """Raise an error if a folder of images is divided into splits only in part.

    Args:
      listing: lists the folders.
      by_split: split -> folders with its name. Such a folder without subfolders is no error,
        because a class may be called "train" or "test".
      other_folders: the folders beside the folders of `by_split`.

    Raises:
      RunError: there is such a folder.
    """
    for split, folders in by_split.items():
        folder = folders[0]
        if not listing.children(folder).folders:
            continue
        neighbour = f" beside {shown(other_folders[0].name)}" if other_folders else ""
        missing = "" if "train" in by_split else " but no train folder"
        raise RunError(
            f"{listing.root}: has a {split} folder of folders ({shown(folder.name)}){neighbour}"
            f"{missing}; put the classes into train/ and test/, or give {folder.path} to have a "
            "sixth of every class taken for testing"
        )


def refuse_unnamed_splits(listing: FolderListing, classes: Mapping[str, Folder]) -> None:
    """Raise an error if all class folders hold folders of the same names, two or more.

    Raises:
      RunError: all class folders do.
    """
    if len(classes) < 2:
        return
    common_names: set[str] = set()
    for folder in classes.values():
        names = {subfolder.class_name for subfolder in listing.children(folder).folders}
        if len(names) < 2 or (common_names and names != common_names):
            return
        common_names = names
    first, second, *others = (shown(folder.name) for folder in classes.values())
    more = f" (and {pluralize(len(others), 'other folder')})" if others else ""
    listed = list_some([shown(name) for name in sorted(common_names)])
    raise RunError(
        f"{listing.root}: {first} and {second}{more} both hold the folders {listed}: they "
        "look like splits; rename them to train and test, or, if they are classes, move their "
        "images out of these folders"
    )


def refuse_splits_in_class(listing: FolderListing, folder: Folder) -> None:
    """Raise an error if a class folder has a train folder and another split inside.

    Raises:
      RunError: it does.
    """
    subfolders = listing.children(folder).folders
    splits_inside = {split_within(subfolder.last_part) for subfolder in subfolders} - {None}
    if "train" in splits_inside and len(splits_inside) > 1:
        raise RunError(
            f"{listing.root}: {shown(folder.name)} is divided into train and test itself; put the "
            "classes into train/ and test/ instead (train/CLASS, test/CLASS)"
        )
