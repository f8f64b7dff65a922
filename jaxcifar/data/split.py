"""Choose the validation images: a fixed random choice with the same fraction of every class."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Int64, Integer
from jaxcifar.data import binary_records
from jaxcifar.errors import RunError, UsageError

_TEST_FRACTION = 1 / 6  # as in CIFAR-10
_SPLIT_SEED = 2009  # the year of CIFAR-10; never the run's seed, so that all runs share the split


def stratified(
    labels: Integer[np.ndarray, "images"], fraction: float
) -> tuple[Int64[np.ndarray, "rest"], Int64[np.ndarray, "images-rest"]]:
    """Choose images by a fixed random choice, the same fraction of every class.

    Args:
      labels: the label of each image; the choice depends on the order of the images.
      fraction: fraction of each class to choose, 0 to 1.

    Returns:
      indices of the other images and of the chosen images, both in a fixed random order.
    """
    rng = np.random.RandomState(_SPLIT_SEED)  # its stream is frozen across NumPy versions
    order = rng.permutation(len(labels))
    order_by_class = order[np.argsort(labels[order], kind="stable")]
    class_counts = np.bincount(labels)
    class_ends = np.cumsum(class_counts)
    is_chosen = np.zeros(len(labels), bool)
    for end, count in zip(class_ends, class_counts, strict=True):
        indices_of_class = order_by_class[end - count : end]
        chosen_count = round(count * fraction)
        is_chosen[indices_of_class[:chosen_count]] = True
    return order[~is_chosen[order]], order[is_chosen[order]]


def train_val_indices(
    labels: Integer[np.ndarray, "images"], val_fraction: float, train_examples: int | None = None
) -> tuple[Int64[np.ndarray, "train"], Int64[np.ndarray, "val"]]:
    """Choose validation images, the same fraction of every class.

    Args:
      labels: the label of each image; the choice depends on the order of the images.
      val_fraction: fraction of each class used for validation; 0 for no validation images.
      train_examples: largest number of training images, or None for all. The first images in a
        fixed random order are kept.

    Returns:
      training indices, in a fixed random order, and validation indices.

    Raises:
      UsageError: there would be no training images, or no validation images although
        `val_fraction` is not 0.
    """
    train, val = stratified(labels, val_fraction)
    if not len(train) or (val_fraction and not len(val)):
        raise UsageError(
            f"a validation fraction of {val_fraction} leaves {len(train)} images to train on and "
            f"{len(val)} to validate on; choose another"
        )
    return train[:train_examples], val


def split_off_test(
    path: Path, splits: Mapping[str, binary_records.Records]
) -> dict[str, binary_records.Records]:
    """Return `splits` with a sixth of each class of the training images as test images.

    The choice depends on the images only.

    Args:
      path: where the images come from; begins the error message.
      splits: "train" and, optionally, "val" -> sorted records.

    Raises:
      RunError: there are too few images.
    """
    records = splits["train"]
    train, test = stratified(binary_records.labels(records), _TEST_FRACTION)
    if not len(test):
        raise RunError(
            f"{path}: too few images to take a sixth for testing; add images, or test images"
        )
    return {**splits, "train": records[np.sort(train)], "test": records[np.sort(test)]}
