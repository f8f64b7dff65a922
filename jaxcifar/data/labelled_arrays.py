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

LABELS = "labels.npy"
_MAX_LABEL_BYTES = 64 * MEGABYTE
_GET_AGAIN = Remedy("get the file again, or write it with np.save")
_PUBLISHED = {"cifar10c": "cifar10", "cifar100c": "cifar100"}  # name of a folder -> data set


def map_images(path: Path) -> Shaped[np.ndarray, "..."]:
    """Return the array in an `.npy` file, mapped into memory; its shape and dtype are not checked.

    Raises:
      RunError: the file can't be read.
    """
    return map_array(Path(os.path.realpath(path)), _GET_AGAIN)


def read_labels(
    images: Path, count: int, run_classes: Sequence[str]
) -> tuple[Integer[np.ndarray, "images"], Sequence[str]]:
    """Return the labels in the file `labels.npy` beside a file of images, and their class names.

    In a folder `CIFAR-10-C` or `CIFAR-100-C`, a label is the number of a class of CIFAR-10 or
    CIFAR-100. In other folders it is the number of a class of the run.

    Args:
      images: path of the file of images.
      count: number of images in the file `images`.
      run_classes: names of the classes that the run's network was trained on, by label.

    Returns:
      the labels, and the names of the classes that they number.

    Raises:
      RunError: the labels can't be read, or do not fit the images or the classes.
    """
    path = images.with_name(LABELS)
    form = ArrayForm(np.integer)
    labels = read_array(Path(os.path.realpath(path)), form, _GET_AGAIN, _MAX_LABEL_BYTES)
    if len(labels) != count:
        raise RunError(
            f"{path}: has {len(labels):,} labels, but {images.name} has {count:,} images; give one "
            "label for each image"
        )
    folder_name = images.absolute().parent.name.lower()
    published_dataset = _PUBLISHED.get(re.sub("[^a-z0-9]", "", folder_name))
    class_names = CATALOG[published_dataset].class_names if published_dataset else run_classes
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise RunError(
            f"{path}: has the label {wrong}; the {len(class_names)} classes have the labels 0 to "
            f"{len(class_names) - 1}"
        )
    return labels, class_names
