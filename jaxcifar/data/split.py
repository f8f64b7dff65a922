"""Choose the validation images: a fixed random choice with the same fraction of every class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.array_types import Int64, Integer
from jaxcifar.config.folds import FOLD_RULE, Fold, parse_fold
from jaxcifar.data import binary_records
from jaxcifar.data.doubts import MAX_SHOWN_CLASSES, classes_without_images
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.name_lists import join_first
from jaxcifar.machine.terminal import PrintLine

_TEST_FRACTION = 1 / 6  # as in CIFAR-10
_MIN_IMAGES_FOR_TEST = 4  # of a class: a sixth of 3 images is rounded to none
_SPLIT_SEED = 2009  # the year of CIFAR-10; never the run's seed, so that all runs share the split


def stratified_split(
    labels: Integer[np.ndarray, "images"], fraction: float
) -> tuple[Int64[np.ndarray, "rest"], Int64[np.ndarray, "images-rest"]]:
    """Choose the same fraction of the images of every class, always the same images.

    Args:
      labels: the label of each image; the choice depends on the order of the images.
      fraction: fraction of each class to choose, 0 to 1.

    Returns:
      indices of the other images and of the chosen images, both in a fixed random order.
    """
    shuffled_indices, indices_by_class = _fixed_random_orders(labels)
    class_counts = np.bincount(labels)
    class_ends = np.cumsum(class_counts)
    is_chosen = np.zeros(len(labels), bool)
    for indices_of_class in np.split(indices_by_class, class_ends[:-1]):
        class_count = len(indices_of_class)
        chosen_count = round(class_count * fraction)
        is_chosen[indices_of_class[:chosen_count]] = True
    return _divide_indices(shuffled_indices, is_chosen)


def split_by_fold(
    labels: Integer[np.ndarray, "images"], fold: Fold
) -> tuple[Int64[np.ndarray, "rest"], Int64[np.ndarray, "images-rest"]]:
    """Choose the images of one fold of a cross-validation, as evenly from every class as possible.

    Each image is in exactly one of the folds. The sizes of two folds differ by at most one image,
    in total and in each class.

    Args:
      labels: the label of each image; the choice depends on the order of the images.
      fold: the number of the fold to choose, counted from 1, and the number of folds.

    Returns:
      indices of the other images and of the fold's images, both in a fixed random order.
    """
    shuffled_indices, indices_by_class = _fixed_random_orders(labels)
    is_chosen = np.zeros(len(labels), bool)
    indices_of_fold = indices_by_class[fold.number - 1 :: fold.total]  # as cards are dealt
    is_chosen[indices_of_fold] = True
    return _divide_indices(shuffled_indices, is_chosen)


def _divide_indices(indices: np.ndarray, is_chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices that are not chosen, and the chosen indices, in the order of `indices`."""
    is_chosen_in_order = is_chosen[indices]
    return indices[~is_chosen_in_order], indices[is_chosen_in_order]


def _fixed_random_orders(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return image indices in a fixed random order, and the same indices sorted by class."""
    random = np.random.RandomState(_SPLIT_SEED)  # its stream is frozen across NumPy versions
    shuffled_indices = random.permutation(len(labels))
    order_by_class = np.argsort(labels[shuffled_indices], kind="stable")
    return shuffled_indices, shuffled_indices[order_by_class]


def train_val_indices(
    labels: Integer[np.ndarray, "images"],
    val_fraction: float,
    train_examples: int | None = None,
    fold: str = "",
) -> tuple[Int64[np.ndarray, "train"], Int64[np.ndarray, "val"]]:
    """Split the training images into images to train on and images to validate on.

    Args:
      labels: the label of each image; the choice depends on the order of the images.
      val_fraction: fraction of each class used for validation; 0 for no validation images.
      train_examples: largest number of training images, or None for all. The first images in a
        fixed random order are kept.
      fold: fold, such as "1/5", that is used for validation instead of `val_fraction`; "" for none.

    Returns:
      training indices, in a fixed random order, and validation indices.

    Raises:
      UsageError: `fold` is not of the form "I/K", there would be no training images, or there
        would be no validation images although `val_fraction` or `fold` asks for some.
    """
    if fold:
        parsed_fold = parse_fold(fold)
        if parsed_fold is None:
            raise UsageError(f"fold {fold}: {FOLD_RULE}")
        train_indices, val_indices = split_by_fold(labels, parsed_fold)
    else:
        train_indices, val_indices = stratified_split(labels, val_fraction)
    needs_validation = bool(fold) or val_fraction > 0
    if not len(train_indices) or (needs_validation and not len(val_indices)):
        setting = f"fold {fold}" if fold else f"a validation fraction of {val_fraction}"
        raise UsageError(
            f"{setting} leaves {len(train_indices)} images to train on and "
            f"{len(val_indices)} to validate on; choose another fold or fraction"
        )
    return train_indices[:train_examples], val_indices


def split_settings(val_fraction: float, train_examples: int | None, fold: str) -> dict[str, Any]:
    """Return the arguments of `train_val_indices` as settings for a config.

    If `fold` is set, `val_fraction` is left out, because it has no effect.
    """
    limit = None if train_examples is None else int(train_examples)
    if fold:
        return {"fold": fold, "train_examples": limit}
    return {"fold": "", "val_fraction": float(val_fraction), "train_examples": limit}


def split_off_test(
    path: Path,
    records_of_split: Mapping[str, binary_records.Records],
    class_names: Sequence[str],
    print_line: PrintLine,
) -> dict[str, binary_records.Records]:
    """Take a sixth of each class of the training images as test images; return all splits.

    The choice depends on the images only, not on their files. Records are rows of label and pixel
    bytes, one for each image.

    Args:
      path: where the images come from; its name begins all lines.
      records_of_split: "train" and, optionally, "val" -> sorted records.
      class_names: names of the classes, by label.
      print_line: prints a line about the choice, and about classes too small for a test image.

    Raises:
      RunError: there are too few images.
    """
    train_records = records_of_split["train"]
    labels = binary_records.labels(train_records)
    kept_indices, test_indices = stratified_split(labels, _TEST_FRACTION)
    if not len(test_indices):
        raise RunError(
            f"{path}: too few images to take a sixth for testing; add images, or test images"
        )
    print_line(
        f"{path.name}: no test images; a sixth of each class ({len(test_indices):,} images) is "
        "kept for testing, the same images each time."
    )
    untested_classes = classes_without_images(labels[test_indices], class_names)
    if untested_classes:
        print_line(
            f"{path.name}: {len(untested_classes):,} of {len(class_names):,} classes get no test "
            f"image ({join_first(untested_classes, MAX_SHOWN_CLASSES)}), because they have fewer "
            f"than {_MIN_IMAGES_FOR_TEST} images; add images of them, or test images."
        )
    return {
        **records_of_split,
        "train": train_records[np.sort(kept_indices)],
        "test": train_records[np.sort(test_indices)],
    }
