"""CIFAR-10.1: new test images for the classes of CIFAR-10.

Recht et al., "Do CIFAR-10 classifiers generalize to CIFAR-10?", 2018;
https://github.com/modestyachts/CIFAR-10.1.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.data import Examples
from jaxcifar.data.catalog import CIFAR10
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.npz import ArrayForm, read_array
from jaxcifar.machine.reading import MEGABYTE, Remedy

IMAGE_COUNT_OF_VERSION = {
    "v6": 2000,
    "v4": 2021,
}  # version -> number of images; the first one is preferred
_IMAGES_FORM = ArrayForm("uint8", (IMAGE_SIZE, IMAGE_SIZE, 3))
_LABELS_FORM = ArrayForm(np.integer)
_MAX_FILE_BYTES = 8 * MEGABYTE
_DOWNLOAD_PLACE = "github.com/modestyachts/CIFAR-10.1 (folder datasets)"
_DOWNLOAD_AGAIN = Remedy(f"get the file again from {_DOWNLOAD_PLACE}")


class Cifar10Point1(NamedTuple):
    """CIFAR-10.1: its version, "v6" or "v4", and its images with CIFAR-10's labels."""

    version: str
    examples: Examples


def load_cifar10_1(folder: Path | None, data_dir: Path) -> Cifar10Point1:
    """Load CIFAR-10.1, new test images for CIFAR-10, from its published files or from TFDS.

    Args:
      folder: folder with `cifar10.1_VERSION_data.npy` and `cifar10.1_VERSION_labels.npy`; None to
        use the copy that TFDS has prepared.
      data_dir: folder of TensorFlow Datasets (TFDS).

    Raises:
      UsageError: the files are missing, or TFDS has not prepared them.
      RunError: the files are damaged, or do not have the published numbers of images and classes.
    """
    if folder is None:
        version, (images, labels) = _load_prepared_by_tfds(data_dir)
    else:
        version, (images, labels) = _load_published_files(folder)
    expected_count = IMAGE_COUNT_OF_VERSION[version]
    class_count = len(CIFAR10.class_names)
    has_expected_count = len(images) == len(labels) == expected_count
    if not has_expected_count or labels.min() < 0 or labels.max() >= class_count:
        raise RunError(
            f"{folder or data_dir}: the files are not CIFAR-10.1 {version}, which has "
            f"{expected_count:,} images of {class_count} classes; get them again from "
            f"{_DOWNLOAD_PLACE}"
        )
    return Cifar10Point1(version, Examples(images, labels.astype(np.int32)))


def _load_published_files(folder: Path) -> Cifar10Point1:
    for version in IMAGE_COUNT_OF_VERSION:
        images_path = folder / f"cifar10.1_{version}_data.npy"
        labels_path = folder / f"cifar10.1_{version}_labels.npy"
        if images_path.exists():
            images = read_array(images_path, _IMAGES_FORM, _DOWNLOAD_AGAIN, _MAX_FILE_BYTES)
            labels = read_array(labels_path, _LABELS_FORM, _DOWNLOAD_AGAIN, _MAX_FILE_BYTES)
            return Cifar10Point1(version, Examples(images, labels))
    raise UsageError(
        f"{folder}: the folder has neither cifar10.1_v6_data.npy nor cifar10.1_v4_data.npy; get "
        f"them from {_DOWNLOAD_PLACE}"
    )


def _load_prepared_by_tfds(data_dir: Path) -> Cifar10Point1:
    from tensorflow_datasets.image_classification.cifar10_1 import Cifar10_1  # takes a second

    for version in IMAGE_COUNT_OF_VERSION:
        try:
            builder = Cifar10_1(config=version, data_dir=data_dir)
            if builder.is_prepared():
                source = builder.as_data_source("test")
                examples = [source[index] for index in range(len(source))]
                images = np.stack([np.asarray(example["image"], np.uint8) for example in examples])
                labels = np.asarray([example["label"] for example in examples])
                return Cifar10Point1(version, Examples(images, labels))
        except Exception as error:  # TFDS can't read files that only TensorFlow reads
            raise RunError(
                f"{data_dir}: CIFAR-10.1 can't be read ({first_line(error)}); give its files as "
                "--on cifar10.1:FOLDER"
            ) from error
    raise UsageError(
        f"--on cifar10.1: TFDS has not prepared it in {data_dir}; get its files from "
        f"{_DOWNLOAD_PLACE} and give their folder as --on cifar10.1:FOLDER"
    )
