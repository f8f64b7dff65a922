"""TFDS builders that prepare and read the data sets of the catalogue without TensorFlow.

TFDS's own builders of CIFAR-10 and CIFAR-100 need TensorFlow to list files, read the archive and
encode images. Here `read_archive` reads the archive, and TFDS is given `PIL.Image` objects, which
Pillow encodes. The prepared files have TFDS's own layout, so TFDS's builders can read them, and
these builders read files that TFDS's builders prepared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxcifar.data import cifar100
from jaxcifar.data import records as rec
from jaxcifar.data.archive import read_archive
from jaxcifar.data.catalog import WAYS_OUT, Draw, KnownDataset, check_content
from jaxcifar.errors import RunError, first_line

Splits = Mapping[str, rec.Records]


class _ListWriter(tfds.core.ExampleWriter):
    """A writer that gives TFDS a list, because its parquet writer skips examples of iterators."""

    def write(self, path: Any, examples: Iterable[Any]) -> Any:
        return super().write(path, list(examples))


class _RecordsBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder that writes records as TFDS examples `{id, image, label}`."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Do not register the class, because TFDS has registered its own builder of that name."""
        super().__init_subclass__(skip_registration=True, **options)

    def __init__(
        self, entry: KnownDataset, archive: Path | None = None, **tfds_options: Any
    ) -> None:
        self.entry, self.archive = entry, archive
        super().__init__(**tfds_options)

    def _read_records(self, dl_manager: tfds.download.DownloadManager) -> Splits:
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

    def _labels(self, label: np.integer) -> dict[str, int]:
        return {"label": int(label)}

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _ListWriter(self.info.file_format)


class _CifarBuilder(_RecordsBuilder):
    """A builder that reads the user's archive, or downloads one."""

    def _read_records(self, dl_manager: tfds.download.DownloadManager) -> Splits:
        form = self.entry.form
        assert form is not None  # only data sets that are drawn have no archives
        return read_archive(self.archive or self._download(dl_manager), form)

    def _download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        try:
            return Path(dl_manager.download(self.download_url))
        except Exception as error:  # from TFDS, requests, urllib3 or the disk
            raise RunError(f"the download failed ({first_line(error)}); {WAYS_OUT}") from error

    @property
    def download_url(self) -> str:
        """Address of the archive."""
        return self._cifar_info.url


class Cifar10(_CifarBuilder, tfds.image_classification.Cifar10):
    """CIFAR-10 with TFDS's name, version, address and checksum."""

    name = "cifar10"
    # TFDS would look for the checksums in the folder of this module.
    url_infos = tfds.image_classification.Cifar10.url_infos


class Cifar100(_CifarBuilder, tfds.image_classification.Cifar100):
    """CIFAR-100 with TFDS's name, version, address and checksum; fine labels are the classes."""

    name = "cifar100"
    url_infos = tfds.image_classification.Cifar100.url_infos

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        info.features["coarse_label"].names = list(cifar100.SUPERCLASSES)
        return info

    def _labels(self, label: np.integer) -> dict[str, int]:
        return {"label": int(label), "coarse_label": cifar100.COARSE_LABELS[label]}


BUILDERS: dict[str, Callable[..., _RecordsBuilder]] = {"cifar10": Cifar10, "cifar100": Cifar100}


def create_builder(
    entry: KnownDataset, data_dir: Path, archive: Path | None = None
) -> _RecordsBuilder:
    """Return the TFDS builder that prepares and reads a data set.

    Args:
      entry: the data set.
      data_dir: TFDS folder.
      archive: the user's archive; None to download the data set. Drawn data sets need neither.
    """
    kind = BUILDERS[entry.name] if entry.draw is None else _drawn_builder(entry, entry.draw)
    return kind(entry, archive, data_dir=data_dir)


def _drawn_builder(entry: KnownDataset, draw: Draw) -> type[_RecordsBuilder]:
    """Return a builder class for a data set whose images are drawn by a function."""

    class Drawn(_RecordsBuilder):
        name = entry.name
        VERSION = tfds.core.Version(entry.version)

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(32, 32, 3)),
                "label": tfds.features.ClassLabel(num_classes=len(entry.class_names)),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{entry.title}, drawn by a program",
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _read_records(self, dl_manager: tfds.download.DownloadManager) -> Splits:
            records = {}
            for seed, (split, images_per_class) in enumerate(entry.class_counts.items()):
                count = images_per_class * len(entry.class_names)
                images, labels = draw(count, seed)
                records[split] = rec.pack(images, labels)
            return records

    return Drawn
