"""Read the images in a user's folder or file for an evaluation, preferably the test images."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import UInt8
from jaxcifar.data import Dataset, Examples, binary_records
from jaxcifar.data.decode import read_splits
from jaxcifar.data.doubts import count_copies
from jaxcifar.data.image_folder import ImageFolder, scan_images
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

    The title has the name of the folder or file and, before it, the name of the folder that
    contains it, because folders in different places often have the same name. `evaluation.json`
    keeps one set of images per title.
    """
    table = parse_table_name(path)
    if table is None:
        return last_two_names(expand_home(path))
    title = last_two_names(table.path)
    return f"{title}:{table.column[:_MAX_COLUMN_LENGTH]}" if table.column else title


def read_user_images(
    name: str, run_classes: Sequence[str], print_line: PrintLine, image_size: int
) -> UserImages | None:
    """Read a user's images for an evaluation: the test images, if there are any.

    Without test images, the validation images are read; without both, all images are read.

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
    split = _read_split_to_evaluate(name, run_classes, print_line, resizing)
    if split is None:
        return None
    examples = Examples(*binary_records.unpack(split.records))
    title = title_of_user_images(name)
    print_resizing(title, resizing.original_sizes, image_size, print_line)
    if split.is_only_split:
        return UserImages(title, examples, split.class_names, split="")
    split_title = SPLIT_TITLES[split.name]
    print_line(
        f"{title}: has several splits; only its {len(examples.labels):,} {split_title} images are "
        "evaluated"
    )
    return UserImages(f"{title}, {split_title}", examples, split.class_names, split.name)


class _Split(NamedTuple):
    """The split of a folder or file that is evaluated.

    Attributes:
      name: "test", "val" or "train".
      is_only_split: True if the folder or file has no other split.
      records: the images and labels, packed into bytes.
      class_names: names of the classes of the whole folder or file, by label.
    """

    name: str
    is_only_split: bool
    records: binary_records.Records
    class_names: tuple[str, ...]


def _read_split_to_evaluate(
    name: str, run_classes: Sequence[str], print_line: PrintLine, resizing: Resizing
) -> _Split | None:
    """Read the test images in a folder, table or file, if there are any.

    Without test images, read the validation images; without both, read all images. Return None if
    the path `name` is no folder, table, `.npz` or parquet file.
    """
    path = expand_home(name)
    parquet_files = find_unmixed_parquet_files(path)
    if parquet_files:
        records_of_split, class_names = read_parquet(
            path, parquet_files, resizing, print_line, run_classes
        )
        return _choose_split(records_of_split, class_names)
    folder = scan_images(name, needs_every_class=False)
    if folder is not None:
        return _read_split_of_folder(folder, print_line, resizing)
    is_npz_file = path.suffix == ".npz" and path.is_file()
    if is_npz_file:
        records_of_split, class_names = read_npz(path.resolve(), print_line, resizing, run_classes)
        return _choose_split(records_of_split, class_names)
    return None


def _read_split_of_folder(folder: ImageFolder, print_line: PrintLine, resizing: Resizing) -> _Split:
    """Read the split to evaluate from a folder or a table of labels; other splits are not read."""
    files_of_split = folder.files_of_split
    chosen_name = _choose_split_name(files_of_split)
    files_of_chosen_split = {chosen_name: files_of_split[chosen_name]}
    folder_with_one_split = dataclasses.replace(folder, files_of_split=files_of_chosen_split)
    records = read_splits(folder_with_one_split, print_line, resizing)[chosen_name]
    is_only_split = len(files_of_split) == 1
    return _Split(chosen_name, is_only_split, records, folder.class_names)


def _choose_split(
    records_of_split: Mapping[str, binary_records.Records], class_names: tuple[str, ...]
) -> _Split:
    """Return the split to evaluate: test, else validation, else all images.

    Args:
      records_of_split: the packed images of each split, by the name of the split.
      class_names: names of the classes of all splits, by label.
    """
    chosen_name = _choose_split_name(records_of_split)
    is_only_split = len(records_of_split) == 1
    return _Split(chosen_name, is_only_split, records_of_split[chosen_name], class_names)


def _choose_split_name(splits: Collection[str]) -> str:
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
    copy_count = _count_exact_copies(examples.images, dataset.train.images)
    if copy_count == 0:
        return ""
    return (
        f"{title}: {copy_count:,} of the {len(examples.labels):,} images are also training "
        "images of the run, as exact copies; remove them, because their accuracy says little"
    )


def contains_test_images(examples: Examples, dataset: Dataset) -> bool:
    """Return True if some images to evaluate are exact copies of a run's test images.

    `dataset` is the data set of the run.
    """
    return _count_exact_copies(examples.images, dataset.test.images) > 0


def _count_exact_copies(
    images: UInt8[np.ndarray, "images height width 3"],
    originals: UInt8[np.ndarray, "originals original_height original_width 3"],
) -> int:
    """Return how many of the images equal one of the originals; 0 if their sizes differ."""
    have_same_size = images.shape[1:] == originals.shape[1:]
    if not have_same_size:
        return 0
    no_images = originals[:0]
    copy_counts = count_copies(train=originals, val=no_images, test=images)
    return copy_counts["test"]
