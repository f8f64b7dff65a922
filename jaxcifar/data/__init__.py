"""Arrays in: data sets by name, prepared once, split the same way for every run."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.config import Config
from jaxcifar.data.catalog import CATALOG, Entry
from jaxcifar.data.prepare import Say, load_records
from jaxcifar.data.records import unpack
from jaxcifar.data.split import train_val_indices
from jaxcifar.errors import RunError


class Examples(NamedTuple):
    """Images `[N, 32, 32, 3] uint8` and labels `[N] int32`."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Everything a run needs to know of its data.

    Attributes:
      mean: per-channel mean of the training images, `[3] float32`, of pixels in [0, 1].
      std: their per-channel standard deviation, `[3] float32`.
    """

    entry: Entry
    train: Examples
    val: Examples
    test: Examples
    mean: np.ndarray
    std: np.ndarray


def choose_dataset(data_dir: Path, say: Say = print) -> str:
    """The name of the data set that "auto" means: CIFAR-10 if it can be had, else shapes10."""
    try:
        load_records(CATALOG["cifar10"], data_dir, say=say)
    except RunError as error:
        say(f"CIFAR-10 can't be had: {error}")
        return "shapes10"
    return "cifar10"


def load_dataset(config: Config, data_dir: Path, say: Say = print) -> Dataset:
    """Load, and prepare if need be, the data set that `config` names.

    Raises:
      RunError: see `load_records`.
      UsageError: the split leaves no images.
    """
    entry = CATALOG[config.dataset]
    records = load_records(entry, data_dir, say=say)
    labels = records["train"][:, 0]
    train, val = train_val_indices(labels, config.val_fraction, config.train_examples)
    train_records = records["train"][train]
    mean, std = channel_statistics(train_records)
    return Dataset(
        entry=entry,
        train=Examples(*unpack(train_records)),
        val=Examples(*unpack(records["train"][val])),
        test=Examples(*unpack(records["test"])),
        mean=mean,
        std=std,
    )


def channel_statistics(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation `[3] float32` per channel of pixels scaled to [0, 1].

    Exact up to the last rounding: the sums are those of integers.
    """
    values = np.arange(256, dtype=np.float64)
    means, stds = [], []
    for channel in np.split(records[:, 1:], 3, axis=1):
        counts = np.bincount(channel.reshape(-1), minlength=256)
        mean = (counts * values).sum() / counts.sum()
        means.append(mean / 255)
        stds.append(np.sqrt((counts * values**2).sum() / counts.sum() - mean**2) / 255)
    return np.asarray(means, np.float32), np.asarray(stds, np.float32)
