"""The images, labels and statistics that a run uses."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from jaxcifar.array_types import Float32
from jaxcifar.config.experiment import Config
from jaxcifar.data import binary_records, doubts, split_checks
from jaxcifar.data.arrays import SplitArrays, convert_to_records
from jaxcifar.data.catalog import CATALOG
from jaxcifar.data.checksums import replaced_statistics, sha256_of_examples
from jaxcifar.data.doubts import count_copies
from jaxcifar.data.examples import Examples
from jaxcifar.data.resizing import Resizing
from jaxcifar.data.split import split_settings, train_val_indices
from jaxcifar.data.user_data import resembles_catalog_name
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE

DEFAULT_VAL_FRACTION: float = Config.__dataclass_fields__["val_fraction"].metadata["default"]


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
      fold: fold of the training images used for validation, such as "1/5"; "" for none.

    Raises:
      UsageError: a label is out of range, or the images are not squares of one size.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    train: Examples
    val: Examples
    test: Examples
    mean: Float32[np.ndarray, "3"]
    std: Float32[np.ndarray, "3"]
    fold: str = ""
    # Set by `from_records`; None if a caller made the Dataset.
    _known_fingerprints: Mapping[str, str] | None = dataclasses.field(
        default=None, init=False, repr=False
    )
    _split: Mapping[str, Any] | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            examples = getattr(self, split)
            split_title = f"{self.title}: {split}"
            split_checks.require_labels_in_range(split_title, examples.labels, self.num_classes)
            split_checks.require_square_images(split_title, examples.images, self.image_size)

    @classmethod
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        y_test: Any,
        class_names: Iterable[Any] | None = None,
        *,
        x_val: Any = None,
        y_val: Any = None,
        name: str = "arrays",
        val_fraction: float | None = None,
        train_examples: int | None = None,
        fold: str = "",
        image_size: int = IMAGE_SIZE,
    ) -> Self:
        """Return a data set made from arrays in memory.

        Args:
          x_train: training images `[N, H, W, 3]`, `[N, H, W, 1]` or `[N, H, W] uint8`, or channels
            first. Images of another size than `image_size` are cropped to a square and resized.
          y_train: labels of the training images, `[N]` or `[N, 1]`, integers from 0 (or from 1: a
            line says so) or strings; or one-hot, `[N, classes]`.
          x_test: test images, in one of the same shapes.
          y_test: labels of the test images.
          class_names: names of the classes, by label. With None, the names are the numbers of the
            labels or, if the labels are strings, these strings in sorted order.
          x_val: validation images; None to keep some of the training images for validation.
          y_val: labels of the validation images, or None.
          name: name of the data set.
          val_fraction: fraction of the training images of each class that is kept for validation;
            None for 0.1. An error if there are validation images.
          train_examples: largest number of images to train on; None for no limit.
          fold: fold, such as "1/5", to validate on instead of `val_fraction`; "" for none.
          image_size: height and width that images get, 28 to 224.

        Raises:
          UsageError: an array has a wrong shape, type or value; the message names the array.
        """
        if resembles_catalog_name(name):
            raise UsageError(f"the name {name!r} is that of a built-in data set; choose another")
        split_checks.require_one_kind_of_validation(x_val, y_val, val_fraction, fold)
        split_checks.require_usable_split(val_fraction, train_examples, fold)
        arrays_of_split = {
            "train": SplitArrays.in_memory("train", x_train, y_train),
            "test": SplitArrays.in_memory("test", x_test, y_test),
        }
        if x_val is not None:
            arrays_of_split["val"] = SplitArrays.in_memory("val", x_val, y_val)
        records_of_split, final_class_names = convert_to_records(
            arrays_of_split, class_names, Resizing(image_size), print
        )
        return cls.from_records(
            records_of_split,
            binary_records.fingerprints_of(records_of_split),
            DEFAULT_VAL_FRACTION if val_fraction is None else val_fraction,
            train_examples,
            name=name,
            title=name,
            class_names=final_class_names,
            fold=fold,
        )

    @classmethod
    def from_records(
        cls,
        records_of_split: Mapping[str, binary_records.Records],
        fingerprints: Mapping[str, str],
        val_fraction: float,
        train_examples: int | None,
        *,
        name: str,
        title: str,
        class_names: Sequence[str],
        fold: str = "",
    ) -> Self:
        """Return a data set made from sorted records (rows of label and pixel bytes).

        Args:
          records_of_split: "train", "test" and, optionally, "val" -> sorted records. Without "val",
            some training images are kept for validation.
          fingerprints: split -> SHA-256 of its records.
          val_fraction: fraction of the training images of each class that is kept for validation.
          train_examples: largest number of images to train on; None for no limit.
          name: short name, usable in file names.
          title: name in plots and reports.
          class_names: names of the classes, by label.
          fold: fold, such as "1/5", to validate on instead of `val_fraction`; "" for none.

        Raises:
          UsageError: a split would have no images, or `fold` or `val_fraction` has no effect.
        """
        has_own_validation = "val" in records_of_split
        if has_own_validation and (fold or val_fraction != DEFAULT_VAL_FRACTION):
            split_checks.refuse_validation_option(title, val_fraction, fold)
        labels = binary_records.labels(records_of_split["train"])
        if has_own_validation:
            train_indices, _ = train_val_indices(labels, 0.0, train_examples)
            val_examples = binary_records.unpack(records_of_split["val"])
        else:
            train_indices, val_indices = train_val_indices(
                labels, val_fraction, train_examples, fold
            )
            val_examples = binary_records.unpack(records_of_split["train"], val_indices)
        mean, std = binary_records.channel_statistics(records_of_split["train"], train_indices)
        dataset = cls(
            name=name,
            title=title,
            class_names=tuple(class_names),
            train=Examples(*binary_records.unpack(records_of_split["train"], train_indices)),
            val=Examples(*val_examples),
            test=Examples(*binary_records.unpack(records_of_split["test"])),
            mean=mean,
            std=std,
            fold=fold,
        )
        object.__setattr__(dataset, "_known_fingerprints", dict(fingerprints))
        object.__setattr__(dataset, "_split", split_settings(val_fraction, train_examples, fold))
        return dataset

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        """Height and width of the images."""
        return self.train.images.shape[1]

    @property
    def split_settings(self) -> Mapping[str, Any]:
        """The settings of a config by which the training and validation images were chosen."""
        return {"fold": self.fold} if self._split is None else self._split

    @property
    def is_from_catalog(self) -> bool:
        """True if the data set is from the catalogue, so that its name identifies its images."""
        return self._known_fingerprints is not None and self.name in CATALOG

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """The SHA-256 of the images and labels of each split, by split name.

        "train" includes the validation images, unless there is a split "val".
        """
        if self._known_fingerprints is not None:
            return self._known_fingerprints
        splits = {"train": [self.train, self.val], "test": [self.test]}
        return {name: sha256_of_examples(self.num_classes, *splits[name]) for name in splits}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of images, labels and class names, and of a mean or std that the user has set."""
        content = {"class_names": self.class_names, "fingerprints": dict(self.fingerprints)}
        if self._known_fingerprints is None:  # the caller may have chosen other images
            content["val"] = sha256_of_examples(self.num_classes, self.val)
            content |= replaced_statistics(self.train, self.num_classes, self.mean, self.std)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def copy_counts(self) -> Mapping[str, int]:
        """Split name -> number of its images that are exact copies of images in earlier splits.

        "val" comes after "train", "test" after both. Empty without copies, and for catalogue data.
        """
        if self.is_from_catalog:
            return {}
        copy_counts = count_copies(self.train.images, self.val.images, self.test.images)
        return copy_counts if any(copy_counts.values()) else {}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about images that look wrong, one line each; empty if nothing looks wrong."""
        if self.is_from_catalog:
            return ()
        constant_channels = np.flatnonzero(self.std == binary_records.STD_OF_CONSTANT_CHANNEL)
        lines = doubts.describe_doubtful_pixels(self.train.images, constant_channels)
        lines += doubts.describe_unvalidated_classes(self.val.labels, self.class_names)
        lines += doubts.describe_copies(
            self.copy_counts, len(self.val.labels), len(self.test.labels)
        )
        return tuple(f"{self.title}: {line}" for line in lines)
