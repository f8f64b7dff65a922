"""TFDS builders that prepare and read CIFAR-10 and CIFAR-100 without TensorFlow.

TFDS's own builders of CIFAR-10 and CIFAR-100 need TensorFlow to list files, read the archive and
encode images. Here `read_archive` reads the archive, and TFDS is given `PIL.Image` objects, which
Pillow encodes. The prepared files have TFDS's own layout, so TFDS's builders can read them, and
these builders read files that TFDS's builders prepared.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxcifar.data import binary_records, cifar100
from jaxcifar.data.archive import read_archive
from jaxcifar.data.catalog import ADVICE_WITHOUT_DOWNLOAD, KnownDataset, require_expected_images
from jaxcifar.errors import RunError, first_line

_MAX_NETWORK_SECONDS = 8.0  # TFDS itself would retry for minutes before it gives up


class _ListWriter(tfds.core.ExampleWriter):
    """A writer that gives TFDS a list, because TFDS's parquet writer skips iterators' examples."""

    def write(self, path: Any, examples: Iterable[Any]) -> Any:
        return super().write(path, list(examples))


def _connection_problem(url: str) -> str:
    """Return the name of the error that a request to `url` raises; "" if the server answers."""
    import requests

    try:
        response = requests.head(url, timeout=_MAX_NETWORK_SECONDS, allow_redirects=True)
        response.raise_for_status()
    except requests.RequestException as error:
        return type(error).__name__
    return ""


class _ArchiveBuilder(tfds.core.GeneratorBasedBuilder):
    """A TFDS builder that makes examples from the user's archive, or from a downloaded archive."""

    _cifar_info: Any  # of TFDS's own builder, the other base of each subclass

    def __init_subclass__(cls, **options: Any) -> None:
        """Do not register the class, because TFDS has registered its own builder of that name."""
        super().__init_subclass__(skip_registration=True, **options)

    def __init__(
        self, known_dataset: KnownDataset, archive: Path | None = None, **tfds_options: Any
    ) -> None:
        self.known_dataset, self.archive = known_dataset, archive
        super().__init__(**tfds_options)

    @property
    def download_url(self) -> str:
        """Web address of the data set's archive."""
        return self._cifar_info.url

    def require_server(self) -> None:
        """Raise an error if the server of `download_url` does not answer in a few seconds.

        Raises:
          RunError: the server does not answer, or answers with an error.
        """
        problems: list[str] = []

        def try_connection() -> None:
            problems.append(_connection_problem(self.download_url))

        # A thread, because nothing else limits the time of a name look-up.
        thread = threading.Thread(target=try_connection, daemon=True)
        thread.start()
        thread.join(_MAX_NETWORK_SECONDS)
        has_finished_in_time = len(problems) > 0
        problem = problems[0] if has_finished_in_time else "no answer"
        if problem:
            raise RunError(
                f"no network: {self.download_url} can't be reached ({problem}); "
                f"{ADVICE_WITHOUT_DOWNLOAD}"
            )

    def _download_archive(self, dl_manager: tfds.download.DownloadManager) -> Path:
        try:
            return Path(dl_manager.download(self.download_url))
        except Exception as error:  # from TFDS, requests, urllib3 or the disk
            raise RunError(
                f"{self.download_url}: the download failed ({first_line(error)}); "
                f"{ADVICE_WITHOUT_DOWNLOAD}"
            ) from error

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        layout = self.known_dataset.archive_layout
        assert layout is not None  # data sets without archives have no builder
        archive = self.archive or self._download_archive(dl_manager)
        unsorted_records = read_archive(archive, layout)
        records_of_split = {
            split: binary_records.sort(records) for split, records in unsorted_records.items()
        }
        require_expected_images(
            records_of_split, self.known_dataset, source=self.archive or self.name
        )
        self.info.features["label"].names = list(self.known_dataset.class_names)
        return {
            split: self._generate_examples(split, records)
            for split, records in records_of_split.items()
        }

    def _generate_examples(self, split: str, records: np.ndarray) -> Iterator[tuple[int, dict]]:
        images, labels = binary_records.unpack(records)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            example_id = f"{split}_{index:05d}"
            example = {
                "id": example_id,
                "image": Image.fromarray(image),
                **self._label_features(label),
            }
            yield index, example

    def _label_features(self, label: np.integer) -> dict[str, int]:
        return {"label": int(label)}

    def _example_writer(self) -> tfds.core.ExampleWriter:
        assert self.info.file_format is not None  # `tfds_options` name one
        return _ListWriter(self.info.file_format)


class Cifar10(_ArchiveBuilder, tfds.image_classification.Cifar10):
    """CIFAR-10 with TFDS's name, version, address and checksum."""

    name = "cifar10"
    # TFDS would look for the checksums in the folder of this module.
    url_infos = tfds.image_classification.Cifar10.url_infos


class Cifar100(_ArchiveBuilder, tfds.image_classification.Cifar100):
    """CIFAR-100 with TFDS's name, version, address and checksum; fine labels are the classes."""

    name = "cifar100"
    url_infos = tfds.image_classification.Cifar100.url_infos

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()
        info.features["coarse_label"].names = list(cifar100.SUPERCLASSES)
        return info

    def _label_features(self, label: np.integer) -> dict[str, int]:
        return {"label": int(label), "coarse_label": cifar100.COARSE_LABELS[label]}


BUILDERS: dict[str, Callable[..., _ArchiveBuilder]] = {"cifar10": Cifar10, "cifar100": Cifar100}
