"""The data sets with a name, and how to recognise their images."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Int32, Integer, UInt8
from jaxcifar.config import registry
from jaxcifar.data import binary_records, cifar100, shapes10_draw
from jaxcifar.data.archive import CIFAR10_LAYOUT, CIFAR100_LAYOUT, ArchiveLayout
from jaxcifar.errors import RunError
from jaxcifar.machine.command_line import shell_command

ADVICE_WITHOUT_DOWNLOAD = (  # advice if a data set can't be downloaded
    f"give an archive you have with `{shell_command('prepare')} --archive PATH` (for CIFAR-100, "
    "add --dataset cifar100), or use the embedded images with --dataset shapes10"
)


# Takes a number of images and a seed; returns images and their labels.
DrawImages = Callable[
    [int, int], tuple[UInt8[np.ndarray, "images size size 3"], Integer[np.ndarray, "images"]]
]


@dataclasses.dataclass(frozen=True)
class KnownDataset:
    """A data set of the catalogue.

    Attributes:
      name: name in options, such as "cifar10".
      version: version of the TFDS builder.
      class_names: names of the classes, by label.
      fingerprints: split -> SHA-256 of its sorted records (see `binary_records`); None if unknown.
      class_counts: split -> number of images of each class.
      archive_layout: layout of the archives; None if the images are generated.
      draw: function that generates images. It takes their number and a seed, and returns images
        `[N, H, W, 3] uint8` and labels `[N] uint8`. None if the data set has archives.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    fingerprints: Mapping[str, str] | None
    class_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    archive_layout: ArchiveLayout | None = None
    draw: DrawImages | None = None

    @property
    def title(self) -> str:
        """The name in plots and reports."""
        return registry.KINDS["dataset"][self.name].title

    @property
    def verification_text(self) -> str:
        """What `require_expected_images` verifies: "content verified" or "counts verified"."""
        return "content verified" if self.fingerprints is not None else "counts verified"

    def labels(self, split: str) -> Int32[np.ndarray, "images"]:
        """Return the labels of a split's images, sorted by class."""
        labels = np.arange(len(self.class_names), dtype=np.int32)
        return np.repeat(labels, self.class_counts[split])


def require_expected_images(
    records_of_split: Mapping[str, binary_records.Records], dataset: KnownDataset, source: object
) -> None:
    """Check that records (rows of label and pixel bytes) are the images and labels of a data set.

    The catalogue has a checksum of each split. If it has none, only the number of images of each
    class is checked.

    Args:
      records_of_split: split -> sorted records.
      dataset: the data set of the catalogue.
      source: where the records come from, such as a path; begins the error message.

    Raises:
      RunError: a split has other images or labels.
    """
    problems = [
        f"the {split} split ({len(records):,} images) is not that of {dataset.title}"
        for split, records in records_of_split.items()
        if not _are_expected_images(records, dataset, split)
    ]
    if problems:
        raise RunError(f"{source}: {' and '.join(problems)}; get a new copy of the data set")


def _are_expected_images(records: np.ndarray, dataset: KnownDataset, split: str) -> bool:
    """Return True if records are the images that the catalogue expects in a split of `dataset`.

    Their checksum is compared or, if the catalogue has none, the number of images of each class.
    """
    if dataset.fingerprints is not None:
        return binary_records.fingerprint(records) == dataset.fingerprints[split]
    images_per_class = dataset.class_counts[split]
    expected_counts = np.full(len(dataset.class_names), images_per_class)
    actual_counts = np.bincount(binary_records.labels(records), minlength=len(expected_counts))
    return np.array_equal(actual_counts, expected_counts)


def cache_folder(dataset: KnownDataset, data_dir: Path) -> Path:
    """Return the folder inside `data_dir` for a data set's cached records."""
    return data_dir / dataset.name / f"{dataset.version}-jaxcifar"


CIFAR10 = KnownDataset(
    name="cifar10",
    version="3.0.2",
    class_names=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    fingerprints={
        "train": "72083841cd0fa633f09b24c0833cf6d6a1809caff400317117334e0aa6b0ed46",
        "test": "f1bbb931260cda782c84c1948c82d910e2c193cb1d56756293f445027090946b",
    },
    class_counts={"train": 5000, "test": 1000},
    archive_layout=CIFAR10_LAYOUT,
)  # fmt: skip

CIFAR100 = KnownDataset(
    name="cifar100",
    version="3.0.2",
    class_names=cifar100.CLASS_NAMES,
    fingerprints=None,
    class_counts={"train": 500, "test": 100},
    archive_layout=CIFAR100_LAYOUT,
)

SHAPES10 = KnownDataset(
    name="shapes10",
    version="1.0.0",
    class_names=shapes10_draw.CLASS_NAMES,
    fingerprints={
        "train": "a7213a6d4446adb618f73b7149d6a895b7e435f32647ab26903f3507e7d5f854",
        "test": "1e707c3d31af0cf37f4d771e84ccfb20c9b251d25ecb93a65ef554266fb6889d",
    },
    class_counts={"train": 1000, "test": 200},
    draw=shapes10_draw.draw_images,
)

CATALOG = {dataset.name: dataset for dataset in (CIFAR10, CIFAR100, SHAPES10)}
