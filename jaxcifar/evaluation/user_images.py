"""Read the images in a user's folder or file for an evaluation, preferably the test images."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from jaxcifar.data import Dataset, Examples, binary_records
from jaxcifar.data.decode import read_splits
from jaxcifar.data.doubts import count_copies
from jaxcifar.data.image_folder import scan_images
from jaxcifar.data.parquet import read_parquet
from jaxcifar.data.parquet_files import find_unmixed_parquet_files
from jaxcifar.data.resizing import Resizing
from jaxcifar.data.user_npz import read_npz
from jaxcifar.evaluation.resized_images import print_resizing
from jaxcifar.machine.paths import expand_home, last_two_names, parse_table_name
from jaxcifar.machine.terminal import PrintLine

_MAX_COLUMN_LENGTH = 60  # characters of a column's name in a title
SPLIT_TITLES = {"test": "test", "val": "validation", "train": "training"}


class UserImages(NamedTuple):
    """A user's images for an evaluation.

    Attributes:
      title: see `title_of_user_images`; the split is added if there are several.
      examples: the images, and labels by `class_names`.
      class_names: names of the classes in the folder or file, by label.
      split: "test" or "val"; "" if the folder or file is not divided into splits.
    """

    title: str
    examples: Examples
    class_names: tuple[str, ...]
    split: str


def title_of_user_images(path: str) -> str:
    """Return the title of a user's images in an evaluation, such as "lab2/photos".

    The title is the name of the folder or file, after the name of the folder around it: folders in
    different places often have the same name. `evaluation.json` keeps one set of images per title.
    """
    table = parse_table_name(path)
    if table is None:
        return last_two_names(expand_home(path))
    title = last_two_names(table.path)
    return f"{title}:{table.column[:_MAX_COLUMN_LENGTH]}" if table.column else title


def read_user_images(
    name: str, run_classes: Sequence[str], print_line: PrintLine, image_size: int
) -> UserImages | None:
    """Read the test images in a user's folder or file, else its validation images, else all.

    Args:
      name: path of a folder, a table of labels, or an `.npz` or parquet file.
      run_classes: names of the classes of the run to evaluate, by label.
      print_line: prints a line about the chosen split, ignored files, and resized images.
      image_size: height and width that the images get.

    Returns:
      the images; None if the path is none of these.

    Raises:
      RunError: the images can't be read.
    """
    resizing = Resizing(image_size)
    chosen_split = _read_chosen_split(name, run_classes, print_line, resizing)
    if chosen_split is None:
        return None
    split, class_names = chosen_split.split, chosen_split.class_names
    examples = Examples(*binary_records.unpack(chosen_split.records))
    title = title_of_user_images(name)
    print_resizing(title, resizing.original_sizes, image_size, print_line)
    if chosen_split.is_only_split:
        return UserImages(title, examples, class_names, split="")
    split_title = SPLIT_TITLES[split]
    print_line(
        f"{title}: has several splits; only its {len(examples.labels):,} {split_title} images are "
        "evaluated"
    )
    return UserImages(f"{title}, {split_title}", examples, class_names, split)


class _ChosenSplit(NamedTuple):
    """The split of a folder or file that is evaluated: its name, packed images and classes."""

    split: str
    is_only_split: bool
    records: binary_records.Records
    class_names: tuple[str, ...]


def _read_chosen_split(
    name: str, run_classes: Sequence[str], print_line: PrintLine, resizing: Resizing
) -> _ChosenSplit | None:
    """Read the split to evaluate from a folder, table or file; None if `name` is none of these."""
    path = expand_home(name)
    parquet_files = find_unmixed_parquet_files(path)
    if parquet_files:
        records_of_split, class_names = read_parquet(
            path, parquet_files, resizing, print_line, run_classes
        )
        return _choose_records(records_of_split, class_names)
    folder = scan_images(name, needs_every_class=False)
    if folder is not None:
        files_of_split = folder.files_of_split
        split = _choose_split(files_of_split)
        folder_with_one_split = dataclasses.replace(
            folder, files_of_split={split: files_of_split[split]}
        )
        records = read_splits(folder_with_one_split, print_line, resizing)[split]
        return _ChosenSplit(split, len(files_of_split) == 1, records, folder.class_names)
    if path.suffix == ".npz" and path.is_file():
        records_of_split, class_names = read_npz(path.resolve(), print_line, resizing, run_classes)
        return _choose_records(records_of_split, class_names)
    return None


def _choose_records(
    records_of_split: Mapping[str, binary_records.Records], class_names: tuple[str, ...]
) -> _ChosenSplit:
    """Return the split to evaluate, given the packed images of each split and all classes."""
    split = _choose_split(records_of_split)
    return _ChosenSplit(split, len(records_of_split) == 1, records_of_split[split], class_names)


def _choose_split(splits: Collection[str]) -> str:
    """Return the split to evaluate: "test", else "val", else "train", which then has all images."""
    return next(split for split in SPLIT_TITLES if split in splits)


def describe_training_copies(title: str, examples: Examples, dataset: Dataset) -> str:
    """Return a warning if images to evaluate are exact copies of a run's training images.

    Args:
      title: name of the images to evaluate.
      examples: the images to evaluate.
      dataset: the data set of the run.

    Returns:
      one line; an empty string if there are no copies, or if the sizes of the images differ.
    """
    train_images = dataset.train.images
    if train_images.shape[1:] != examples.images.shape[1:]:
        return ""
    no_images = train_images[:0]
    copy_counts = count_copies(train=train_images, val=no_images, test=examples.images)
    copy_count = copy_counts["test"]
    if not copy_count:
        return ""
    return (
        f"{title}: {copy_count:,} of the {len(examples.labels):,} images are also training "
        "images of the run, as exact copies; remove them, because their accuracy says little"
    )


def contains_test_images(examples: Examples, dataset: Dataset) -> bool:
    """Return True if some images to evaluate are exact copies of a run's test images.

    `dataset` is the data set of the run.
    """
    test_images = dataset.test.images
    if test_images.shape[1:] != examples.images.shape[1:]:
        return False
    no_images = test_images[:0]
    copy_counts = count_copies(train=test_images, val=no_images, test=examples.images)
    return copy_counts["test"] > 0
