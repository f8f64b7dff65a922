"""What is known of the data sets before any file is read."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcifar.data.records import fingerprint
from jaxcifar.data.shapes10_draw import CLASS_NAMES
from jaxcifar.errors import RunError

WAYS_OUT = (
    "give an archive you have with `python -m experiments.prepare --archive PATH`, or use the "
    "embedded images with --dataset shapes10"
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A data set by name.

    Attributes:
      title: what plots and reports call it.
      version: of the TFDS builder.
      fingerprints: split -> SHA-256 of its sorted records (see `records`).
    """

    name: str
    title: str
    version: str
    class_names: tuple[str, ...]
    fingerprints: Mapping[str, str]


def check_fingerprints(records: Mapping[str, np.ndarray], entry: Entry, source: object) -> None:
    """Compare sorted records with what the data set is known to hold.

    Raises:
      RunError: a split differs; the message names it and the source.
    """
    wrong = [
        f"{split} split is wrong ({len(records[split]):,} images, not those of {entry.title})"
        for split, expected in entry.fingerprints.items()
        if fingerprint(records[split]) != expected
    ]
    if wrong:
        raise RunError(f"{source}: {'; '.join(wrong)}: damaged or foreign, get a fresh copy")


def cache_folder(entry: Entry, data_dir: Path) -> Path:
    """Where the decoded records of a data set lie, beside TFDS's own files."""
    return data_dir / entry.name / f"{entry.version}-jaxcifar"


CIFAR10 = Entry(
    name="cifar10",
    title="CIFAR-10",
    version="3.0.2",
    class_names=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    fingerprints={
        "train": "72083841cd0fa633f09b24c0833cf6d6a1809caff400317117334e0aa6b0ed46",
        "test": "f1bbb931260cda782c84c1948c82d910e2c193cb1d56756293f445027090946b",
    },
)  # fmt: skip

SHAPES10 = Entry(
    name="shapes10",
    title="shapes10 (synthetic, not CIFAR-10)",
    version="1.0.0",
    class_names=CLASS_NAMES,
    fingerprints={
        "train": "a7213a6d4446adb618f73b7149d6a895b7e435f32647ab26903f3507e7d5f854",
        "test": "1e707c3d31af0cf37f4d771e84ccfb20c9b251d25ecb93a65ef554266fb6889d",
    },
)

CATALOG = {entry.name: entry for entry in (CIFAR10, SHAPES10)}
