"""Read the images in a user's folder or file for an evaluation, preferably the test images."""

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

from jaxcifar.data import Dataset, Examples, binary_records
from jaxcifar.data.decode import read_splits
from jaxcifar.data.doubts import count_copies
from jaxcifar.data.image_folder import scan_images
from jaxcifar.data.parquet import read_parquet
from jaxcifar.data.parquet_files import find_unmixed_parquet_files
from jaxcifar.data.resizing import Resizing
from jaxcifar.data.user_data import user_data_title
from jaxcifar.data.user_npz import read_npz
from jaxcifar.evaluation.resized_images import say_resized
from jaxcifar.machine.paths import expand_home
from jaxcifar.machine.terminal import PrintLine

SPLIT_TITLES = {"test": "test", "val": "validation", "train": "training"}


class UserImages(NamedTuple):
    """A user's images for an evaluation.

    Attributes:
      title: name of the folder or file; the split is added if there are several.
      examples: the images, and labels by `class_names`.
      class_names: names of the classes in the folder or file, by label.
      split: "test" or "val"; "" if the folder or file is not divided into splits.
    """

    title: str
    examples: Examples
    class_names: tuple[str, ...]
    split: str


def read_user_images(name: str, print_line: PrintLine, image_size: int) -> UserImages | None:
    """Read the test images in a user's folder or file, else its validation images, else all.

    Args:
      name: path of a folder, a table of labels, or an `.npz` or parquet file.
      print_line: prints a line about the chosen split, ignored files, and resized images.
      image_size: height and width that the images get.

    Returns:
      the images; None if the path is none of these.

    Raises:
      RunError: the images can't be read.
    """
    path, resizing = expand_home(name), Resizing(image_size)
    class_names: tuple[str, ...]
    if parquet_files := find_unmixed_parquet_files(path):
        records, class_names = read_parquet(path, parquet_files, resizing, print_line)
        splits: Collection[str] = records.keys()
    elif (folder := scan_images(name)) is not None:
        splits, class_names = folder.files_of_split.keys(), folder.class_names
        chosen = _choose_split(splits)
        chosen_folder = dataclasses.replace(
            folder, files_of_split={chosen: folder.files_of_split[chosen]}
        )
        records = read_splits(chosen_folder, print_line, resizing)
    elif path.suffix == ".npz" and path.is_file():
        records, class_names = read_npz(path.resolve(), print_line, resizing)
        splits = records.keys()
    else:
        return None
    chosen = _choose_split(splits)
    examples = Examples(*binary_records.unpack(records[chosen]))
    title = user_data_title(name)
    say_resized(title, resizing.original_sizes, image_size, print_line)
    if len(splits) == 1:
        return UserImages(title, examples, class_names, split="")
    split_title = SPLIT_TITLES[chosen]
    print_line(
        f"{title}: has several splits; only its {len(examples.labels):,} {split_title} images are "
        "evaluated"
    )
    return UserImages(f"{title}, {split_title}", examples, class_names, chosen)


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
    train = dataset.train.images
    if train.shape[1:] != examples.images.shape[1:]:
        return ""
    no_images = train[:0]
    count = count_copies(train, no_images, examples.images)["test"]
    if not count:
        return ""
    return (
        f"{title}: {count:,} of the {len(examples.labels):,} images are also training images of "
        "the run, as exact copies; the accuracy on them says little"
    )
