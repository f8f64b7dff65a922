"""Read images in an `.npy` file with a file `labels.npy` beside it, as CIFAR-10-C is published.

The files of images are mapped into memory, so that only the images in use are read.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Integer, Shaped
from jaxcifar.data.catalog import CATALOG
from jaxcifar.errors import RunError
from jaxcifar.machine.npz import ArrayForm, map_array, read_array
from jaxcifar.machine.reading import MEGABYTE, Remedy

LABELS_FILE = "labels.npy"
_MAX_LABEL_BYTES = 64 * MEGABYTE
_GET_FILE_AGAIN = Remedy("get the file again, or write it with np.save")
_PUBLISHED_DATASETS = {
    "cifar10c": "cifar10",
    "cifar100c": "cifar100",
}  # name of a folder -> data set


def map_images(path: Path) -> Shaped[np.ndarray, "..."]:
    """Return the array in an `.npy` file, mapped into memory; its shape and dtype are not checked.

    Raises:
      RunError: the file can't be read.
    """
    return map_array(Path(os.path.realpath(path)), _GET_FILE_AGAIN)


def published_dataset_of(folder_name: str) -> str | None:
    """Return "cifar10" for the folder name CIFAR-10-C, "cifar100" for CIFAR-100-C; else None."""
    return _PUBLISHED_DATASETS.get(re.sub("[^a-z0-9]", "", folder_name.lower()))


def read_labels_beside(
    image_file: Path, image_count: int, run_class_names: Sequence[str]
) -> tuple[Integer[np.ndarray, "images"], Sequence[str]]:
    """Return the labels in the file `labels.npy` beside a file of images, and their class names.

    In a folder `CIFAR-10-C` or `CIFAR-100-C`, a label is the number of a class of CIFAR-10 or
    CIFAR-100. In other folders it is the number of a class of the run.

    Args:
      image_file: path of the file of images.
      image_count: number of images in the file `image_file`.
      run_class_names: names of the classes that the run's network was trained on, by label.

    Returns:
      the labels, and the names of the classes that they number.

    Raises:
      RunError: the labels can't be read, or do not fit the images or the classes.
    """
    path = image_file.with_name(LABELS_FILE)
    labels_form = ArrayForm(np.integer)
    labels = read_array(
        Path(os.path.realpath(path)), labels_form, _GET_FILE_AGAIN, _MAX_LABEL_BYTES
    )
    if len(labels) != image_count:
        raise RunError(
            f"{path}: has {len(labels):,} labels, but {image_file.name} has {image_count:,} "
            "images; give one label for each image"
        )
    published_dataset = published_dataset_of(image_file.absolute().parent.name)
    class_names = CATALOG[published_dataset].class_names if published_dataset else run_class_names
    last_label = len(class_names) - 1
    if len(labels) and (labels.min() < 0 or labels.max() > last_label):
        wrong_label = labels.min() if labels.min() < 0 else labels.max()
        raise RunError(
            f"{path}: has the label {wrong_label}, but the {len(class_names)} classes have the "
            f"labels 0 to {last_label}; correct the labels"
        )
    return labels, class_names
