"""Find the splits and the class folders in a folder of images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.data.folder_listing import (
    Folder,
    FolderListing,
    has_image_suffix,
    normal_form,
    shown,
)
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import TABLE_SUFFIXES
from jaxcifar.machine.terminal import pluralize

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_MOST_NAMES = 5  # of folders in a message
_MAX_WRAPPERS = 8  # folders around the class folders, one inside another


class Layout(NamedTuple):
    """The class folders of a folder of images.

    Attributes:
      class_names: names of the classes in sorted order, in Unicode's form NFC.
      splits: "train", and "val" and "test" if there are such folders -> class name -> folder.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Folder]]


def split_of(name: str) -> str | None:
    """Return the split that a folder or a cell of a table names, such as "val" for "Validation"."""
    lower = name.strip().casefold()
    return next((split for split, names in _SPLIT_NAMES.items() if lower in names), None)


def find_layout(listing: FolderListing) -> Layout | None:
    """Return the splits and class folders, or None if there are not two classes to train on.

    Problems, such as files beside the class folders, are added to the listing.

    Raises:
      RunError: the splits contradict each other, a folder can't be listed, or a class name can't be
        used.
    """
    splits: dict[str, dict[str, Folder]] = {}
    for split, folder in _split_folders(listing).items():
        splits[split] = _class_folders(listing, folder, splits.get("train", {}))
    class_names = sorted(splits["train"])
    if len(class_names) < 2:
        return None
    if len(class_names) > MAX_CLASSES:
        raise RunError(f"{listing.root}: more than {MAX_CLASSES:,} classes; merge some classes")
    for split, classes in splits.items():
        untrained = [folder.name for name, folder in classes.items() if name not in class_names]
        if untrained:
            raise RunError(
                f"{listing.root}: {shown(untrained[0])} is a class without training images; add "
                f"some to the folder of training images, or remove it from {split}"
            )
    return Layout(tuple(class_names), splits)


def describe_content(listing: FolderListing) -> str:
    """Return a description of a folder, such as "30 images, 1 folder (images) and no table".

    Images in its folders are not counted, except those of a single class.
    """
    classes = _class_folders(listing, _split_folders(listing)["train"], {})
    if len(classes) == 1:
        [folder] = classes.values()
        count = sum(has_image_suffix(file.name) for file in listing.files(folder))
        return f"one class, {shown(folder.name)}, with {pluralize(count, 'image')}"
    folders, files = listing.children(listing.top)
    images = sum(map(has_image_suffix, files))
    tables = [name for name in files if name.lower().endswith(TABLE_SUFFIXES)]
    names = [shown(folder.name) for folder in folders]
    own_images = pluralize(images, "image") if images else "no image of its own"
    return f"{own_images}, {_counted(names, 'folder')} and {_counted(tables, 'table')}"


def _counted(names: Sequence[str], noun: str) -> str:
    """Return the number of some files and the first names, such as "2 folders (a, b)"."""
    if not names:
        return f"no {noun}"
    dots = ", ..." if len(names) > _MOST_NAMES else ""
    return f"{pluralize(len(names), noun)} ({', '.join(names[:_MOST_NAMES])}{dots})"


def _split_folders(listing: FolderListing) -> dict[str, Folder]:
    """Return the folder of each split; "train" is the first, and the only one without splits."""
    top = _unwrapped(listing, listing.top)
    folders, _ = listing.children(top)
    by_split: dict[str, list[Folder]] = {}
    others = []
    for folder in folders:
        split = split_of(_last_part(folder))
        if split is None:
            others.append(folder)
        else:
            by_split.setdefault(split, []).append(folder)
    is_divided = "train" in by_split and (len(by_split) > 1 or not others)
    if not is_divided:
        _refuse_partial_splits(listing, by_split, others)
        return {"train": top}
    for split, named in by_split.items():
        if len(named) > 1:
            raise RunError(
                f"{listing.root}: {shown(named[0].name)} and {shown(named[1].name)} both look like "
                f"the {split} folder; keep one of them"
            )
    for folder in others:
        listing.add_problem(f"{shown(folder.name)} is an extra folder beside train and test")
    _report_files(listing, top)
    in_order = [split for split in _SPLIT_NAMES if split in by_split]
    return {split: by_split[split][0] for split in in_order}


def _refuse_partial_splits(
    listing: FolderListing, by_split: Mapping[str, Sequence[Folder]], others: Sequence[Folder]
) -> None:
    """Raise an error if folders of splits, with folders inside, are no complete division."""
    for split, named in by_split.items():
        folder = named[0]
        if not listing.children(folder)[0]:
            continue  # a class may be called "train" or "test"
        beside = f" beside {shown(others[0].name)}" if others else ""
        missing = "" if "train" in by_split else " but no train folder"
        raise RunError(
            f"{listing.root}: has a {split} folder of folders ({shown(folder.name)}){beside}"
            f"{missing}; put the classes into train/ and test/, or give {folder.path} to have a "
            "sixth of every class taken for testing"
        )


def _unwrapped(listing: FolderListing, folder: Folder, classes: Sequence[str] = ()) -> Folder:
    """Return the folder inside folders that contain nothing but one other folder.

    Args:
      listing: lists the folders.
      folder: the outermost folder.
      classes: names of class folders, which are not taken for a wrapper.
    """
    for _ in range(_MAX_WRAPPERS):
        folders, _ = listing.children(folder)
        if len(folders) != 1 or split_of(_last_part(folders[0])) or _name(folders[0]) in classes:
            return folder
        if not listing.children(folders[0])[0]:
            return folder  # its folder has only files: a class, or all the images
        _report_files(listing, folder)
        [folder] = folders
    return folder


def _class_folders(
    listing: FolderListing, split_folder: Folder, trained: Mapping[str, Folder]
) -> dict[str, Folder]:
    """Return the class folders in the folder of a split, by class name.

    `trained` has the class folders of the training images, if this is another split.
    """
    parent = _unwrapped(listing, split_folder, tuple(trained))
    _report_files(listing, parent)
    classes: dict[str, Folder] = {}
    for folder in listing.children(parent)[0]:
        name = _name(folder)
        if not name.isprintable() or not name.strip():
            raise RunError(f"{listing.root}: class {name!a} can't be printed; rename its folder")
        if name in classes:
            raise RunError(
                f"{listing.root}: the folders {_last_part(classes[name])!a} and "
                f"{_last_part(folder)!a} have the same name, {name}, in two forms of Unicode; "
                "put their images into one folder"
            )
        _refuse_splits_in_class(listing, folder)
        classes[name] = folder
    return classes


def _refuse_splits_in_class(listing: FolderListing, folder: Folder) -> None:
    inside = {split_of(_last_part(child)) for child in listing.children(folder)[0]} - {None}
    if "train" in inside and len(inside) > 1:
        raise RunError(
            f"{listing.root}: {shown(folder.name)} is divided into train and test itself; put the "
            "classes into train/ and test/ instead (train/CLASS, test/CLASS)"
        )


def _report_files(listing: FolderListing, folder: Folder) -> None:
    """Add a problem for each file that lies beside folders of classes."""
    for name in listing.children(folder)[1]:
        path = f"{folder.name}/{name}" if folder.name else name
        advice = ""
        if name.lower().endswith(TABLE_SUFFIXES):
            advice = f" (to read labels from it, give --dataset {folder.path / name})"
        listing.add_problem(f"{shown(path)} is not in the folder of a class{advice}")


def _last_part(folder: Folder) -> str:
    return folder.name.rpartition("/")[2]


def _name(folder: Folder) -> str:
    return normal_form(_last_part(folder))
