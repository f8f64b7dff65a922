"""The TFDS builders of the catalogue, preparing and reading without TensorFlow.

TFDS's own builders of the CIFARs need TensorFlow to prepare: to list files, to open the archive and
to encode arrays. Here the archive is read with `tarfile` and NumPy, and images are handed to TFDS
as `PIL.Image`, which Pillow encodes. What comes out is laid out as stock TFDS lays it out, so each
reads what the other prepared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxcifar.data import cifar100, shapes10_draw
from jaxcifar.data import records as rec
from jaxcifar.data.archive import read_archive
from jaxcifar.data.catalog import WAYS_OUT, KnownDataset, check_content
from jaxcifar.errors import RunError, first_line

Records = Mapping[str, np.ndarray]


class _WholeWriter(tfds.core.ExampleWriter):
    """Hands TFDS a list: of an iterator, its writer of parquet skips ever more examples."""

    def write(self, path: Any, examples: Iterable[Any]) -> Any:
        return super().write(path, list(examples))


class _RecordsBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes records `[N, 3073]` as TFDS examples `{id, image, label}`."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep a builder out of TFDS's registry, which has the stock one of that name."""
        super().__init_subclass__(skip_registration=True, **options)

    def __init__(
        self, entry: KnownDataset, archive: Path | None = None, **tfds_options: Any
    ) -> None:
        self.entry, self.archive = entry, archive
        super().__init__(**tfds_options)

    def _read_records(self, dl_manager: tfds.download.DownloadManager) -> Records:
        raise NotImplementedError

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        records = {s: rec.sort(r) for s, r in self._read_records(dl_manager).items()}
        check_content(records, self.entry, source=self.archive or self.name)
        self.info.features["label"].names = list(self.entry.class_names)
        return {split: self._generate_examples(split, array) for split, array in records.items()}

    def _generate_examples(self, split: str, records: np.ndarray) -> Iterator[tuple[int, dict]]:
        images, labels = rec.unpack(records)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            example_id = f"{split}_{i:05d}"
            yield i, {"id": example_id, "image": Image.fromarray(image), **self._labels(label)}

    def _labels(self, label: np.ndarray) -> dict[str, int]:
        return {"label": int(label)}

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _WholeWriter(self.info.file_format)


class _CifarBuilder(_RecordsBuilder):
    """Reads an archive, the user's or TFDS's download."""

    def _read_records(self, dl_manager: tfds.download.DownloadManager) -> Records:
        form = self.entry.form
        assert form is not None  # only sets that are drawn have none
        return read_archive(self.archive or self._download(dl_manager), form)

    def _download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        try:
            return Path(dl_manager.download(self.download_url))
        except Exception as error:  # of TFDS, requests, urllib3 or the disk
            raise RunError(f"the download failed ({first_line(error)}); {WAYS_OUT}") from error

    @property
    def download_url(self) -> str:
        """Where the archive is fetched from if the user has none."""
        return self._cifar_info.url


class Cifar10(_CifarBuilder, tfds.image_classification.Cifar10):
    """CIFAR-10 under TFDS's own name, version, address and checksum."""

    name = "cifar10"
    # TFDS looks for checksums beside the module of a builder; these are the stock builder's.
    url_infos = tfds.image_classification.Cifar10.url_infos


class Cifar100(_CifarBuilder, tfds.image_classification.Cifar100):
    """CIFAR-100, likewise; the fine labels are the classes."""

    name = "cifar100"
    url_infos = tfds.image_classification.Cifar100.url_infos

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        info.features["coarse_label"].names = list(cifar100.SUPERCLASSES)
        return info

    def _labels(self, label: np.ndarray) -> dict[str, int]:
        return {"label": int(label), "coarse_label": cifar100.COARSE_LABELS[label]}


class Shapes10(_RecordsBuilder):
    """The embedded set: ten kinds of shapes, drawn by `shapes10_draw`."""

    name = "shapes10"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Ten kinds of shapes, drawn procedurally; a stand-in, not CIFAR-10.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _read_records(self, dl_manager: tfds.download.DownloadManager) -> Records:
        sizes = {"train": 10_000, "test": 2_000}
        drawn = {split: shapes10_draw.draw(sizes[split], seed=i) for i, split in enumerate(sizes)}
        return {split: rec.pack(*images_labels) for split, images_labels in drawn.items()}


BUILDERS: dict[str, Callable[..., _RecordsBuilder]] = {
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "shapes10": Shapes10,
}
