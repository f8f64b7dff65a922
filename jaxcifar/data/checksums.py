"""Checksums of the images of a data set that the user's program made or changed."""

from typing import Any

import numpy as np

from jaxcifar.array_types import Float32
from jaxcifar.data import binary_records
from jaxcifar.data.examples import Examples

_ROUNDING_ERROR = 1e-6  # of a mean or deviation that was computed in another order


def sha256_of_examples(class_count: int, *splits: Examples) -> str:
    """Return one SHA-256 of all images and labels of `splits`; the order of images is ignored."""
    records_of_splits = [binary_records.pack(*split, class_count) for split in splits]
    all_records = np.concatenate(records_of_splits)
    return binary_records.fingerprint(binary_records.sort(all_records))


def replaced_statistics(
    train: Examples, class_count: int, mean: Float32[np.ndarray, "3"], std: Float32[np.ndarray, "3"]
) -> dict[str, Any]:
    """Return {"mean": ..., "std": ...} if the user has replaced the mean or std, else {}.

    They are replaced if they differ from those of the training images by more than rounding errors.

    Args:
      train: the training images.
      class_count: number of classes.
      mean: mean of each channel, with which images are normalised.
      std: standard deviation of each channel, with which images are normalised.
    """
    train_mean, train_std = binary_records.channel_statistics(
        binary_records.pack(*train, class_count)
    )
    has_same_mean = np.allclose(mean, train_mean, rtol=0, atol=_ROUNDING_ERROR)
    has_same_std = np.allclose(std, train_std, rtol=0, atol=_ROUNDING_ERROR)
    if has_same_mean and has_same_std:
        return {}
    return {"mean": np.asarray(mean).tolist(), "std": np.asarray(std).tolist()}
