"""Find the splits and the class folders in a folder of images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.data.folder_listing import (
    Folder,
    FolderListing,
    has_image_suffix,
    list_some,
    shown,
)
from jaxcifar.data.split_folders import (
    named_splits,
    refuse_partial_splits,
    refuse_splits_in_class,
    refuse_unnamed_splits,
)
from jaxcifar.data.split_names import SPLIT_WORDS, split_of
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import TABLE_SUFFIXES
from jaxcifar.machine.terminal import pluralize

_MAX_WRAPPERS = 8  # folders around the class folders, one inside another


class Layout(NamedTuple):
    """The class folders of a folder of images.

    Attributes:
      class_names: names of the classes in sorted order, in Unicode's form NFC.
      splits: split -> class name -> folder of the class. The splits are "train", and "val" and
        "test" if there are such folders.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Folder]]


def find_layout(listing: FolderListing) -> Layout | None:
    """Find the splits and class folders of a folder of images.

    Problems, such as files beside the class folders, are added to the listing.

    Args:
      listing: lists the folder and everything in it.

    Returns:
      the class folders of each split; None if there are fewer than two classes to train on.

    Raises:
      RunError: the splits contradict each other, a folder can't be listed, or a class name can't be
        used.
    """
    splits: dict[str, dict[str, Folder]] = {}
    split_folders = _split_folders(listing)
    for split, folder in split_folders.items():
        splits[split] = _class_folders(listing, folder, splits.get("train", {}))
    is_train_named = split_of(split_folders["train"].last_part) is not None
    if len(splits) == 1 and not is_train_named and not listing.problems:
        refuse_unnamed_splits(listing, splits["train"])
    class_names = sorted(splits["train"])
    if len(class_names) < 2:
        return None
    if len(class_names) > MAX_CLASSES:
        raise RunError(f"{listing.root}: more than {MAX_CLASSES:,} classes; merge some classes")
    for split, classes in splits.items():
        for name, folder in classes.items():
            if name not in splits["train"]:
                raise RunError(
                    f"{listing.root}: {shown(folder.name)} is a class without training images; "
                    f"add some to the folder of training images, or remove it from {split}"
                )
    return Layout(tuple(class_names), splits)


def describe_content(listing: FolderListing) -> str:
    """Describe the content of a folder that has no class folders, for an error message.

    For example "30 images, 1 folder (images) and no table". Images in subfolders are counted only
    if there is a single class folder.
    """
    classes = _class_folders(listing, _split_folders(listing)["train"], {})
    if len(classes) == 1:
        [folder] = classes.values()
        count = sum(has_image_suffix(file.name) for file in listing.files(folder))
        return f"one class, {shown(folder.name)}, with {pluralize(count, 'image')}"
    content = listing.children(listing.top)
    image_count = sum(map(has_image_suffix, content.files))
    tables = [name for name in content.files if name.lower().endswith(TABLE_SUFFIXES)]
    folders = [shown(folder.name) for folder in content.folders]
    images = pluralize(image_count, "image") if image_count else "no image of its own"
    return f"{images}, {_count_and_list(folders, 'folder')} and {_count_and_list(tables, 'table')}"


def _count_and_list(names: Sequence[str], noun: str) -> str:
    """Return the number of names, and the first names, such as "2 folders (a, b)"."""
    if not names:
        return f"no {noun}"
    return f"{pluralize(len(names), noun)} ({list_some(names)})"


def _split_folders(listing: FolderListing) -> dict[str, Folder]:
    """Return the folder of each split that a folder of images has, "train" first.

    If the folder is not divided into splits, "train" is the folder that contains the class folders.
    """
    top = _unwrapped(listing, listing.top)
    by_split: dict[str, list[Folder]] = {}
    other_folders = []
    folders = listing.children(top).folders
    for folder, split in zip(folders, named_splits(listing, folders), strict=True):
        if split is None:
            other_folders.append(folder)
        else:
            by_split.setdefault(split, []).append(folder)
    is_divided = "train" in by_split and (len(by_split) > 1 or not other_folders)
    if not is_divided:
        refuse_partial_splits(listing, by_split, other_folders)
        return {"train": top}
    for split, folders in by_split.items():
        if len(folders) > 1:
            raise RunError(
                f"{listing.root}: {shown(folders[0].name)} and {shown(folders[1].name)} both look "
                f"like the {split} folder; keep one of them"
            )
    for folder in other_folders:
        problem = f"{shown(folder.name)} is an extra folder beside train and test"
        listing.add_problem(problem, f"move the folder out of {listing.root}")
    _report_files(listing, top)
    ordered_splits = [split for split in SPLIT_WORDS if split in by_split]
    return {split: by_split[split][0] for split in ordered_splits}


def _unwrapped(listing: FolderListing, folder: Folder, classes: Sequence[str] = ()) -> Folder:
    """Descend from a folder through wrappers, and return the innermost folder.

    A wrapper is a folder whose only subfolder has subfolders itself. Files in a wrapper are
    reported as problems.

    Args:
      listing: lists the folders.
      folder: the outermost folder.
      classes: names of class folders, which are never descended into.
    """
    for _ in range(_MAX_WRAPPERS):
        subfolders = listing.children(folder).folders
        if len(subfolders) != 1:
            return folder
        [only_subfolder] = subfolders
        if split_of(only_subfolder.last_part) or only_subfolder.class_name in classes:
            return folder
        if not listing.children(only_subfolder).folders:
            return folder  # the subfolder has only files: a class, or all the images
        _report_files(listing, folder)
        folder = only_subfolder
    return folder


def _class_folders(
    listing: FolderListing, split_folder: Folder, trained: Mapping[str, Folder]
) -> dict[str, Folder]:
    """Return the class folders in the folder of a split, by class name.

    `trained` is the result for the training split; empty if `split_folder` is the training split.
    """
    parent = _unwrapped(listing, split_folder, tuple(trained))
    _report_files(listing, parent)
    classes: dict[str, Folder] = {}
    for folder in listing.children(parent).folders:
        name = folder.class_name
        if not name.isprintable() or not name.strip():
            raise RunError(f"{listing.root}: class {name!a} can't be printed; rename its folder")
        if name in classes:
            raise RunError(
                f"{listing.root}: the folders {classes[name].last_part!a} and "
                f"{folder.last_part!a} have the same name, {name}, in two forms of Unicode; "
                "put their images into one folder"
            )
        refuse_splits_in_class(listing, folder)
        classes[name] = folder
    return classes


def _report_files(listing: FolderListing, folder: Folder) -> None:
    """Add a problem to the listing for each file that lies beside class folders in `folder`."""
    for name in listing.children(folder).files:
        path = f"{folder.name}/{name}" if folder.name else name
        advice = ""
        if name.lower().endswith(TABLE_SUFFIXES):
            advice = f" (to read labels from it, give --dataset {folder.path / name})"
        listing.add_problem(f"{shown(path)} is not in the folder of a class{advice}")
