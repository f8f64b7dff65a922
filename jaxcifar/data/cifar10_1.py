"""CIFAR-10.1: new test images for CIFAR-10's classes, by its published files or TFDS.

Recht et al., "Do CIFAR-10 classifiers generalize to CIFAR-10?", 2018, and
https://github.com/modestyachts/CIFAR-10.1. Labels are CIFAR-10's.
"""

from pathlib import Path

import numpy as np

from jaxcifar.data import Examples
from jaxcifar.data.catalog import CIFAR10
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.npz import ArrayForm, read_array
from jaxcifar.machine.reading import MEGABYTE, Remedy

VERSIONS = {"v6": 2000, "v4": 2021}  # the number of images; where both are, the first is taken
_IMAGES, _LABELS = ArrayForm("uint8", (32, 32, 3)), ArrayForm(np.integer)
_MOST_BYTES = 8 * MEGABYTE
_HOME = "github.com/modestyachts/CIFAR-10.1 (folder datasets)"
_AGAIN = Remedy(f"get the file again from {_HOME}")


def load_cifar10_1(folder: Path | None, data_dir: Path) -> tuple[str, Examples]:
    """Its images and labels.

    Args:
      folder: with `cifar10.1_VERSION_data.npy` and `cifar10.1_VERSION_labels.npy`; None for what
        TFDS has prepared.
      data_dir: TFDS's folder.

    Returns:
      "v6" or "v4", and the examples.

    Raises:
      UsageError: they are not there.
      RunError: they can't be read, or are not as published.
    """
    version, examples = _by_tfds(data_dir) if folder is None else _by_files(folder)
    images, labels = examples
    counts = {len(images), len(labels)}
    in_range = not len(labels) or 0 <= labels.min() <= labels.max() < len(CIFAR10.class_names)
    if counts != {VERSIONS[version]} or not in_range:
        raise RunError(
            f"{folder or data_dir}: CIFAR-10.1 {version} has {VERSIONS[version]:,} images of "
            f"{len(CIFAR10.class_names)} classes, this has others; get it again from {_HOME}"
        )
    return version, Examples(images, labels.astype(np.int32))


def _by_files(folder: Path) -> tuple[str, Examples]:
    for version in VERSIONS:
        files = [folder / f"cifar10.1_{version}_{what}.npy" for what in ("data", "labels")]
        if files[0].exists():
            images, labels = map(_read, files, (_IMAGES, _LABELS))
            return version, Examples(images, labels)
    raise UsageError(f"{folder}: has no cifar10.1_v6_data.npy or _v4_; get them from {_HOME}")


def _read(path: Path, kind: ArrayForm) -> np.ndarray:
    return read_array(path, kind, _AGAIN, _MOST_BYTES)


def _by_tfds(data_dir: Path) -> tuple[str, Examples]:
    from tensorflow_datasets.image_classification.cifar10_1 import Cifar10_1  # takes a second

    for version in VERSIONS:
        try:
            builder = Cifar10_1(config=version, data_dir=data_dir)
            if builder.is_prepared():
                source = builder.as_data_source("test")
                read = [source[i] for i in range(len(source))]
                images = np.stack([np.asarray(example["image"], np.uint8) for example in read])
                labels = np.asarray([example["label"] for example in read])
                return version, Examples(images, labels)
        except Exception as error:  # of TFDS, on files that it did not prepare or only TF reads
            raise RunError(
                f"{data_dir}: CIFAR-10.1 can't be read ({first_line(error)}); give its files as "
                "--on cifar10.1:FOLDER"
            ) from error
    raise UsageError(
        f"--on cifar10.1: TFDS has not prepared it in {data_dir}; get its files from {_HOME} and "
        "give their folder as --on cifar10.1:FOLDER"
    )
