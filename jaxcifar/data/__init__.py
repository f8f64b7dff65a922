"""Load data sets by name or path; every run gets the same split into training and validation."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from jaxcifar.array_types import Float32, Int32, UInt8
from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.data import binary_records
from jaxcifar.data.arrays import ImageBlocks, records_of
from jaxcifar.data.catalog import CATALOG, KnownDataset
from jaxcifar.data.prepare import default_data_dir, load_records
from jaxcifar.data.split import train_val_indices
from jaxcifar.data.user_data import (
    is_catalog_name,
    load_user_data,
    user_data_name,
    user_data_title,
)
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.terminal import PrintLine

__all__ = [
    "CATALOG",
    "Dataset",
    "Examples",
    "KnownDataset",
    "choose_dataset",
    "dataset_title",
    "load_dataset",
]


class Examples(NamedTuple):
    """Images, and the label of each image: the number of its class, counted from 0."""

    images: UInt8[np.ndarray, "images 32 32 3"]
    labels: Int32[np.ndarray, "images"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The training, validation and test images of a run, with names and statistics.

    Attributes:
      name: short name, usable in file names.
      title: name in plots and reports.
      class_names: names of the classes, by label.
      train, val, test: images and labels of each split.
      mean: mean of each channel of the training images, with pixels in [0, 1].
      std: standard deviation of each channel of the training images.

    Raises:
      UsageError: a label is out of range.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    train: Examples
    val: Examples
    test: Examples
    mean: Float32[np.ndarray, "3"]
    std: Float32[np.ndarray, "3"]
    # The fingerprints, set by the functions here that make a Dataset. None if a caller made or
    # changed the Dataset: then the fingerprints are computed from the images.
    _verified: Mapping[str, str] | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            labels = getattr(self, split).labels
            if len(labels) and (labels.min() < 0 or labels.max() >= self.num_classes):
                raise UsageError(
                    f"{self.title}: {split} has labels from {labels.min()} to {labels.max()}, but "
                    f"there are {self.num_classes} classes; count labels from 0"
                )

    @classmethod
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        y_test: Any,
        class_names: Iterable[Any] | None = None,
        *,
        name: str = "arrays",
        val_fraction: float = 0.1,
        train_examples: int | None = None,
    ) -> Self:
        """Return a data set of arrays in memory.

        Args:
          x_train: training images `[N, H, W, 3]`, `[N, H, W, 1]` or `[N, H, W] uint8`. Images of
            another size than 32x32 are cropped to a square and resized.
          y_train: labels of the training images, `[N]` or `[N, 1]`, integers from 0.
          x_test: test images, in one of the same shapes.
          y_test: labels of the test images.
          class_names: names of the classes, by label; None for the numbers of the labels.
          name: name of the data set.
          val_fraction: fraction of the training images of each class that is kept for validation.
          train_examples: largest number of images to train on, or None for all that are left.

        Raises:
          UsageError: an array has a wrong shape, type or value; the message names the array.
        """
        if is_catalog_name(name):
            raise UsageError(
                f"the name {name!r} is that of a built-in data set; choose another name"
            )
        images = {"train": ImageBlocks.of(x_train), "test": ImageBlocks.of(x_test)}
        labels = {"train": np.asarray(y_train), "test": np.asarray(y_test)}
        records, names = records_of(images, labels, class_names)
        fingerprints = {
            split: binary_records.fingerprint(array) for split, array in records.items()
        }
        return cls._from_records(
            records, fingerprints, val_fraction, train_examples, name=name, title=name, names=names
        )

    @classmethod
    def _from_records(
        cls,
        records: Mapping[str, binary_records.Records],
        fingerprints: Mapping[str, str],
        val_fraction: float,
        train_examples: int | None,
        *,
        name: str,
        title: str,
        names: Sequence[str],
    ) -> Self:
        """Return a data set of sorted records; `records` and `fingerprints` are keyed by split."""
        labels = binary_records.labels(records["train"])
        train_indices, val_indices = train_val_indices(labels, val_fraction, train_examples)
        train_records = records["train"][train_indices]
        mean, std = binary_records.channel_statistics(train_records)
        dataset = cls(
            name=name,
            title=title,
            class_names=tuple(names),
            train=Examples(*binary_records.unpack(train_records)),
            val=Examples(*binary_records.unpack(records["train"][val_indices])),
            test=Examples(*binary_records.unpack(records["test"])),
            mean=mean,
            std=std,
        )
        object.__setattr__(dataset, "_verified", dict(fingerprints))
        return dataset

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def is_known(self) -> bool:
        """True if the data set is from the catalogue, so that its name identifies its images."""
        return self._verified is not None and self.name in CATALOG

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """Split -> SHA-256 of its images and labels; "train" includes the validation images."""
        if self._verified is not None:
            return self._verified
        examples_of_split = {"train": (self.train, self.val), "test": (self.test,)}
        return {split: self._digest(*parts) for split, parts in examples_of_split.items()}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all images, labels and class names."""
        content = {"class_names": self.class_names, "fingerprints": dict(self.fingerprints)}
        if self._verified is None:  # the caller may have chosen other images
            content["val"] = self._digest(self.val)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _digest(self, *parts: Examples) -> str:
        records = [
            binary_records.pack(part.images, part.labels, self.num_classes) for part in parts
        ]
        return binary_records.fingerprint(binary_records.sort(np.concatenate(records)))


def choose_dataset(data_dir: Path, print_line: PrintLine = print) -> str:
    """Return the data set that "auto" means: "cifar10" if it can be loaded, else "shapes10"."""
    try:
        load_records(CATALOG["cifar10"], data_dir, print_line=print_line)
    except RunError as error:
        print_line(f"CIFAR-10 can't be loaded: {error}")
        return "shapes10"
    return "cifar10"


def dataset_title(name: str) -> str:
    """Return the title of a data set without reading its images.

    Args:
      name: name of a data set of the catalogue, or path of the user's images.

    Raises:
      UsageError: the name is not in the catalogue and is not a path.
    """
    title = registry.entry("dataset", name).title
    return title if name in CATALOG else user_data_title(name)


def load_dataset(
    config: Config, data_dir: str | Path | None = None, print_line: PrintLine = print
) -> Dataset:
    """Load the data set that `config` names, and prepare it first if necessary.

    Args:
      config: settings; `dataset`, `val_fraction` and `train_examples` are used.
      data_dir: folder of TensorFlow Datasets (TFDS), or None for its default.
      print_line: prints a line about each slow step.

    Raises:
      RunError: the images can't be downloaded, read or written to the cache.
      UsageError: there is no such data set, or the split leaves a part without images.
    """
    name, title = config.dataset, dataset_title(config.dataset)
    split_settings = config.val_fraction, config.train_examples
    data_dir = Path(data_dir or default_data_dir())
    if name not in CATALOG:
        records, manifest = load_user_data(name, data_dir, print_line)
        return Dataset._from_records(
            records,
            manifest.fingerprints,
            *split_settings,
            name=user_data_name(name),
            title=title,
            names=manifest.class_names,
        )
    known_dataset = CATALOG[name]
    records = load_records(known_dataset, data_dir, print_line=print_line)
    fingerprints = known_dataset.fingerprints or {
        split: binary_records.fingerprint(array) for split, array in records.items()
    }
    class_names = known_dataset.class_names
    return Dataset._from_records(
        records, fingerprints, *split_settings, name=name, title=title, names=class_names
    )
