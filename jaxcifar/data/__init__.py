"""Arrays in: data sets by name or path, prepared once, split the same way for every run."""

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
from jaxcifar.data import records as rec
from jaxcifar.data.arrays import ImageBlocks, records_of
from jaxcifar.data.catalog import CATALOG, KnownDataset
from jaxcifar.data.prepare import Say, default_data_dir, load_records
from jaxcifar.data.split import train_val_indices
from jaxcifar.data.user_data import is_taken, load_own, own_name, own_title
from jaxcifar.errors import RunError, UsageError

__all__ = [
    "CATALOG",
    "Dataset",
    "Examples",
    "KnownDataset",
    "channel_statistics",
    "choose_dataset",
    "dataset_title",
    "load_dataset",
]


class Examples(NamedTuple):
    """Images and their labels, counted from 0."""

    images: UInt8[np.ndarray, "images 32 32 3"]
    labels: Int32[np.ndarray, "images"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The training, validation and test images of a run, with names and statistics.

    Attributes:
      name: short name, usable in file names.
      title: name in plots and reports.
      class_names: name of each class, in the order of the labels.
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
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise UsageError(
                    f"{self.title}: {split} has labels from {labels.min()} to {labels.max()}, but "
                    f"there are {self.num_classes} classes; count them from 0"
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
          x_train: images `[N, H, W, 3]`, `[N, H, W, 1]` or `[N, H, W] uint8`; of another size than
            32x32 they are cropped to a square and resized.
          y_train: labels `[N]` or `[N, 1]`, integers from 0.
          x_test: images likewise.
          y_test: labels likewise.
          class_names: name of each class, in the order of the labels; the numbers by default.
          name: name of the data set.
          val_fraction: fraction of each class's training images that is kept for validation.
          train_examples: largest number of the other images to train on, or None for all.

        Raises:
          UsageError: an array has a wrong shape, type or value; the message names the array.
        """
        if is_taken(name):
            raise UsageError(f"name {name!r}: means a data set of the catalogue; choose another")
        images = {"train": ImageBlocks.of(x_train), "test": ImageBlocks.of(x_test)}
        labels = {"train": np.asarray(y_train), "test": np.asarray(y_test)}
        records, names = records_of(images, labels, class_names)
        fingerprints = {split: rec.fingerprint(array) for split, array in records.items()}
        return cls._of(name, name, names, fingerprints, records, val_fraction, train_examples)

    @classmethod
    def _of(
        cls,
        name: str,
        title: str,
        class_names: Sequence[str],
        fingerprints: Mapping[str, str],
        records: Mapping[str, rec.Records],
        val_fraction: float,
        train_examples: int | None,
    ) -> Self:
        """From sorted records."""
        labels = rec.labels(records["train"])
        train, val = train_val_indices(labels, val_fraction, train_examples)
        train_records = records["train"][train]
        mean, std = channel_statistics(train_records)
        dataset = cls(
            name=name,
            title=title,
            class_names=tuple(class_names),
            train=Examples(*rec.unpack(train_records)),
            val=Examples(*rec.unpack(records["train"][val])),
            test=Examples(*rec.unpack(records["test"])),
            mean=mean,
            std=std,
        )
        object.__setattr__(dataset, "_verified", dict(fingerprints))
        return dataset

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def is_known(self) -> bool:
        """True if the data set is from the catalogue, so that its name identifies its images."""
        return self._verified is not None and self.name in CATALOG

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """SHA-256 of the sorted records of each split, "train" with validation included."""
        if self._verified is not None:
            return self._verified
        parts = {"train": (self.train, self.val), "test": (self.test,)}
        return {split: self._digest(*examples) for split, examples in parts.items()}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over all images, labels and class names."""
        content = {"class_names": self.class_names, "fingerprints": dict(self.fingerprints)}
        if self._verified is None:  # the split may differ from ours, so it is part of the digest
            content["val"] = self._digest(self.val)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _digest(self, *parts: Examples) -> str:
        packed = [rec.pack(part.images, part.labels, self.num_classes) for part in parts]
        return rec.fingerprint(rec.sort(np.concatenate(packed)))


def choose_dataset(data_dir: Path, say: Say = print) -> str:
    """The name of the data set that "auto" means: CIFAR-10 if it can be had, else shapes10."""
    try:
        load_records(CATALOG["cifar10"], data_dir, say=say)
    except RunError as error:
        say(f"CIFAR-10 can't be had: {error}")
        return "shapes10"
    return "cifar10"


def dataset_title(name: str) -> str:
    """Return the title of a data set without reading its images.

    Args:
      name: name of a data set in the catalogue, or path of the user's images.

    Raises:
      UsageError: the name is not in the catalogue and is not a path.
    """
    title = registry.entry("dataset", name).title
    return title if name in CATALOG else own_title(name)


def load_dataset(config: Config, data_dir: str | Path | None = None, say: Say = print) -> Dataset:
    """Load the data set that `config` names, and prepare it first if necessary.

    Args:
      config: config with the data set's name and the settings of the split.
      data_dir: TFDS folder, or None for TFDS's default.
      say: prints a line about each slow step.

    Raises:
      RunError: see `load_records` and `load_own`.
      UsageError: there is no such data set, or the split leaves a part without images.
    """
    name, title = config.dataset, dataset_title(config.dataset)
    data_dir = Path(data_dir or default_data_dir())
    if name in CATALOG:
        entry = CATALOG[name]
        records, class_names = load_records(entry, data_dir, say=say), entry.class_names
        fingerprints = entry.fingerprints or {s: rec.fingerprint(r) for s, r in records.items()}
    else:
        records, manifest = load_own(name, data_dir, say)
        name, class_names, fingerprints = (
            own_name(name),
            manifest.class_names,
            manifest.fingerprints,
        )
    split = config.val_fraction, config.train_examples
    return Dataset._of(name, title, class_names, fingerprints, records, *split)


def channel_statistics(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
    """Return the mean and standard deviation of each channel, of pixels scaled to [0, 1].

    They are exact up to the last rounding, because sums are computed from counts of integers.
    """
    values = np.arange(256, dtype=np.float64)
    means, stds = [], []
    for channel in np.split(rec.pixels(records), 3, axis=1):
        counts = np.bincount(channel.reshape(-1), minlength=256)
        mean = (counts * values).sum() / counts.sum()
        means.append(mean / 255)
        stds.append(np.sqrt((counts * values**2).sum() / counts.sum() - mean**2) / 255)
    return np.asarray(means, np.float32), np.asarray(stds, np.float32)
