"""Find the splits and the class folders in a folder of images."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from jaxcifar.data.binary_records import MAX_CLASSES
from jaxcifar.data.folder_listing import (
    MAX_SHOWN_NAMES,
    Folder,
    FolderListing,
    has_image_suffix,
    printable_name,
)
from jaxcifar.data.split_folders import (
    refuse_partial_splits,
    refuse_splits_in_class,
    refuse_unnamed_splits,
    splits_of_folder_names,
)
from jaxcifar.data.split_names import SPLIT_WORDS, split_of_name
from jaxcifar.errors import RunError
from jaxcifar.machine.name_lists import join_first
from jaxcifar.machine.paths import TABLE_SUFFIXES
from jaxcifar.machine.terminal import pluralize

_MAX_WRAPPER_FOLDERS = 8  # folders around the class folders, one inside another


class FolderLayout(NamedTuple):
    """The class folders of a folder of images.

    Attributes:
      class_names: names of the classes in sorted order, in Unicode's form NFC.
      class_folders_of_split: split -> class name -> folder of the class. The splits are "train",
        and "val" and "test" if there are such folders.
    """

    class_names: tuple[str, ...]
    class_folders_of_split: Mapping[str, Mapping[str, Folder]]


def find_folder_layout(listing: FolderListing, min_classes: int = 2) -> FolderLayout | None:
    """Find the splits and class folders of a folder of images.

    Problems, such as files beside the class folders, are added to the listing.

    Args:
      listing: lists the folder and everything in it.
      min_classes: least number of classes; 1 for an evaluation.

    Returns:
      the class folders of each split; None if there are fewer training classes than `min_classes`.

    Raises:
      RunError: the splits contradict each other, a folder can't be listed, or a class name can't be
        used.
    """
    folder_of_split = _find_split_folders(listing)
    train_folder = folder_of_split.pop("train")
    train_class_folders = _find_class_folders(listing, train_folder)
    class_names = sorted(train_class_folders)
    class_folders_of_split = {"train": train_class_folders}
    for split, folder in folder_of_split.items():
        class_folders_of_split[split] = _find_class_folders(listing, folder, class_names)
    has_only_training_images = not folder_of_split
    train_folder_has_split_name = split_of_name(train_folder.own_name) is not None
    may_have_unnamed_splits = has_only_training_images and not train_folder_has_split_name
    if may_have_unnamed_splits and not listing.problems:
        refuse_unnamed_splits(listing, train_class_folders)
    if len(class_names) < min_classes:
        return None
    if len(class_names) > MAX_CLASSES:
        raise RunError(f"{listing.root}: more than {MAX_CLASSES:,} classes; merge some classes")
    _refuse_untrained_classes(listing, class_folders_of_split)
    return FolderLayout(tuple(class_names), class_folders_of_split)


def _refuse_untrained_classes(
    listing: FolderListing, class_folders_of_split: Mapping[str, Mapping[str, Folder]]
) -> None:
    """Raise an error if a class of another split is not a class of the training images."""
    train_class_folders = class_folders_of_split["train"]
    for split, class_folders in class_folders_of_split.items():
        for name, folder in class_folders.items():
            if name not in train_class_folders:
                raise RunError(
                    f"{listing.root}: {folder.printable_path} is a class without training "
                    f"images; add some to the folder of training images, or remove it from {split}"
                )


def describe_content(listing: FolderListing) -> str:
    """Describe the content of a folder that has no class folders, for an error message.

    For example "30 images, 1 folder (images) and no table". Images in subfolders are counted only
    if there is a single class folder.
    """
    train_folder = _find_split_folders(listing)["train"]
    class_folders = _find_class_folders(listing, train_folder)
    if len(class_folders) == 1:
        [folder] = class_folders.values()
        image_count = sum(
            has_image_suffix(file.relative_path) for file in listing.files_below(folder)
        )
        return f"one class, {folder.printable_path}, with {pluralize(image_count, 'image')}"
    content = listing.children(listing.root_folder)
    image_count = sum(map(has_image_suffix, content.file_names))
    table_names = [name for name in content.file_names if name.lower().endswith(TABLE_SUFFIXES)]
    folder_names = [folder.printable_path for folder in content.subfolders]
    image_text = pluralize(image_count, "image") if image_count else "no image of its own"
    folder_text = _count_and_list(folder_names, "folder")
    table_text = _count_and_list(table_names, "table")
    return f"{image_text}, {folder_text} and {table_text}"


def _count_and_list(names: Sequence[str], noun: str) -> str:
    """Return the number of names, and the first names, such as "2 folders (a, b)"."""
    if not names:
        return f"no {noun}"
    return f"{pluralize(len(names), noun)} ({join_first(names, MAX_SHOWN_NAMES)})"


def _find_split_folders(listing: FolderListing) -> dict[str, Folder]:
    """Return the folder of each split that a folder of images has, "train" first.

    If the folder is not divided into splits, "train" is the folder that contains the class folders.
    """
    innermost_folder = _skip_wrapper_folders(listing, listing.root_folder)
    folders_of_split: dict[str, list[Folder]] = {}
    other_folders = []
    folders = listing.children(innermost_folder).subfolders
    for folder, split in zip(folders, splits_of_folder_names(listing, folders), strict=True):
        if split is None:
            other_folders.append(folder)
        else:
            folders_of_split.setdefault(split, []).append(folder)
    has_several_splits = len(folders_of_split) > 1
    has_only_split_folders = not other_folders
    names_fit_together = has_several_splits or has_only_split_folders
    is_divided_into_splits = "train" in folders_of_split and names_fit_together
    if not is_divided_into_splits:
        refuse_partial_splits(listing, folders_of_split, other_folders)
        return {"train": innermost_folder}
    folder_of_split = {
        split: _only_folder_of_split(listing, split, folders_of_split[split])
        for split in SPLIT_WORDS
        if split in folders_of_split
    }
    for folder in other_folders:
        problem = f"{folder.printable_path} is an extra folder beside train and test"
        listing.add_problem(problem, f"move the folder out of {listing.root}")
    _report_misplaced_files(listing, innermost_folder)
    return folder_of_split


def _only_folder_of_split(listing: FolderListing, split: str, folders: Sequence[Folder]) -> Folder:
    """Return the only folder in `folders`, all named like `split`; raise if there are several."""
    if len(folders) > 1:
        first, second = (folder.printable_path for folder in folders[:2])
        raise RunError(
            f"{listing.root}: {first} and {second} both look like the {split} folder; keep one of "
            "them"
        )
    return folders[0]


def _skip_wrapper_folders(
    listing: FolderListing, folder: Folder, class_names: Collection[str] = ()
) -> Folder:
    """Descend from a folder through wrappers, and return the innermost folder.

    A wrapper is a folder whose only subfolder has subfolders itself. Files in a wrapper are
    reported as problems.

    Args:
      listing: lists the folders.
      folder: the outermost folder.
      class_names: names of class folders, which are never descended into.
    """
    for _ in range(_MAX_WRAPPER_FOLDERS):
        subfolders = listing.children(folder).subfolders
        if len(subfolders) != 1:
            return folder
        [only_subfolder] = subfolders
        is_split = split_of_name(only_subfolder.own_name) is not None
        is_class = only_subfolder.class_name in class_names
        if is_split or is_class:
            return folder
        has_subfolders = bool(listing.children(only_subfolder).subfolders)
        if not has_subfolders:
            return folder
        _report_misplaced_files(listing, folder)
        folder = only_subfolder
    return folder


def _find_class_folders(
    listing: FolderListing, split_folder: Folder, train_class_names: Collection[str] = ()
) -> dict[str, Folder]:
    """Return the class folders in the folder of a split, by class name.

    `train_class_names` has the classes of the training split, which are found first. In another
    split, a folder with one of these names is a class, even if it is the only folder.
    """
    parent = _skip_wrapper_folders(listing, split_folder, train_class_names)
    _report_misplaced_files(listing, parent)
    class_folders: dict[str, Folder] = {}
    for folder in listing.children(parent).subfolders:
        name = folder.class_name
        if not name.isprintable() or not name.strip():
            raise RunError(f"{listing.root}: class {name!a} can't be printed; rename its folder")
        if name in class_folders:
            raise RunError(
                f"{listing.root}: the folders {class_folders[name].own_name!a} and "
                f"{folder.own_name!a} have the same name, {name}, in two forms of Unicode; "
                "put their images into one folder"
            )
        refuse_splits_in_class(listing, folder)
        class_folders[name] = folder
    return class_folders


def _report_misplaced_files(listing: FolderListing, folder: Folder) -> None:
    """Add a problem to the listing for each file that lies beside class folders in `folder`."""
    for file_name in listing.children(folder).file_names:
        path = f"{folder.relative_path}/{file_name}" if folder.relative_path else file_name
        advice = ""
        if file_name.lower().endswith(TABLE_SUFFIXES):
            advice = f" (to read labels from it, give --dataset {folder.path / file_name})"
        listing.add_problem(f"{printable_name(path)} is not in the folder of a class{advice}")
