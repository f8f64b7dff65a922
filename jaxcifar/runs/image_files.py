"""The `.npz` files of a run folder that contain images: their arrays, writing and reading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.image_size import STORED_SIDES, image_shape
from jaxcifar.machine import files
from jaxcifar.machine.npz import ArrayForm, read_arrays
from jaxcifar.machine.reading import MEGABYTE, Remedy, report_errors

_IMAGE_FORM = ArrayForm("uint8", image_shape(), STORED_SIDES)
# The arrays of `mistakes.npz` and `confusions.npz`: index and label of test images, and so on.
MISTAKE_ARRAYS = {
    "index": ArrayForm("int32"),
    "label": ArrayForm("int32"),
    "predicted": ArrayForm("int32"),
    "confidence": ArrayForm("float32"),
    "image": _IMAGE_FORM,
}
# The arrays of `training_images.npz`; each image has three augmented versions.
TRAINING_IMAGE_ARRAYS = {
    "index": ArrayForm("int32"),
    "label": ArrayForm("int32"),
    "image": _IMAGE_FORM,
    "augmented": ArrayForm("uint8", (3, *image_shape()), STORED_SIDES),
}
_MAX_IMAGES_BYTES = 2 * MEGABYTE  # of a file of images
_CLASS_NUMBER_ARRAYS = ("label", "predicted")  # arrays of class numbers


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an `.npz` file.

    Raises:
      OSError: the file can't be written.
    """
    arrays_by_name: dict[str, Any] = {**arrays}
    with files.atomic_write(path) as file:
        np.savez_compressed(file, **arrays_by_name)


def read_images(
    path: Path, forms: Mapping[str, ArrayForm], class_count: int, remedy: Remedy
) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file with images of `class_count` classes.

    Args:
      path: the file.
      forms: dtype and shape of each array that the file must have, by the array's name.
      class_count: number of classes.
      remedy: the advice in the message if the file can't be used.

    Raises:
      RunError: the file can't be read, or a value in it is out of range.
    """
    arrays = read_arrays(path, forms, remedy, _MAX_IMAGES_BYTES)
    with report_errors(path, remedy):
        for name in _CLASS_NUMBER_ARRAYS:
            class_numbers = arrays.get(name, np.zeros(0))
            is_valid = (class_numbers >= 0) & (class_numbers < class_count)
            if not is_valid.all():
                largest = class_count - 1
                raise ValueError(f"{name} has a class number that is not from 0 to {largest}")
    return arrays
