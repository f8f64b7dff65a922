"""Prepare a data set of the catalogue once, and later read its records from a checked cache."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.data import binary_records, record_cache
from jaxcifar.data.archive import check_archive
from jaxcifar.data.catalog import (
    DrawImages,
    KnownDataset,
    cache_folder,
    require_expected_images,
)
from jaxcifar.data.manifest import Manifest
from jaxcifar.errors import RunError, UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.paths import expand_home
from jaxcifar.machine.plain_path import path_without_special_characters
from jaxcifar.machine.terminal import PrintLine

_EXAMPLES_PER_READ = 1000  # TFDS reads many examples at once in half the time of single examples


class NotPreparedError(RunError):
    """The images are not prepared yet, and the caller has forbidden to prepare them now."""


def default_data_dir() -> Path:
    """Return TFDS's folder of data sets: `TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.

    Raises:
      UsageError: the path begins with `~`, and the system knows no such home folder.
    """
    path = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = expand_home(path)
    has_unknown_home = bool(folder.parts) and folder.parts[0].startswith("~")
    if has_unknown_home:
        raise UsageError(
            f"{folder}: the system knows no such home folder; say where data sets are with "
            "--data-dir or TFDS_DATA_DIR"
        )
    return folder


@contextlib.contextmanager
def report_unwritable(data_dir: Path) -> Iterator[None]:
    """Turn an `OSError` in the `with` block into a `RunError` that says what to do.

    `data_dir` is the folder of data sets that the block writes to.

    Raises:
      RunError: the block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{data_dir}: can't be written ({error.strerror or error}); make room, or choose "
            "another folder with --data-dir or TFDS_DATA_DIR"
        ) from error


def load_records(
    dataset: KnownDataset,
    data_dir: Path,
    archive: Path | None = None,
    print_line: PrintLine = print,
    may_prepare: bool = True,
) -> dict[str, binary_records.Records]:
    """Load a data set of the catalogue as sorted records, and prepare it first if necessary.

    Args:
      dataset: the data set, such as CIFAR-10.
      data_dir: folder of TensorFlow Datasets (TFDS). A data set that TFDS has prepared here is not
        downloaded again.
      archive: file or folder with the images, read only if they are not prepared yet. None means
        to download the images. shapes10 needs no archive, because its images are generated.
      print_line: prints a line about each slow step.
      may_prepare: False to only read a data set that was prepared before, and write nothing.

    Returns:
      split -> sorted records, one row of label and pixel bytes for each image.

    Raises:
      UsageError: there is no such archive.
      NotPreparedError: the data set is not prepared, and `may_prepare` is False.
      RunError: there is no network, the images are damaged or belong to another data set, their
        format needs another package, or `data_dir` can't be written.
    """
    if archive is not None:
        check_archive(archive)
    cache_path = cache_folder(dataset, data_dir)
    cached_records = _read_cache(cache_path, dataset)
    if cached_records is not None:
        if archive is not None:
            print_line(f"{dataset.title} was prepared before; {archive} is not read.")
        return cached_records
    if not may_prepare:
        raise NotPreparedError(f"{dataset.title} is not prepared in {data_dir}")
    may_need_download = archive is None and dataset.draw is None
    if may_need_download:
        _require_prepared_or_downloadable(dataset, data_dir)  # before any folder is made
    with report_unwritable(data_dir), lock_folder(data_dir / dataset.name):
        records_of_faster_process = _read_cache(cache_path, dataset)
        if records_of_faster_process is not None:
            return records_of_faster_process
        records = _prepare_records(dataset, data_dir, archive, print_line)
        try:
            record_cache.write_records(cache_path, records)
            if dataset.fingerprints is None:
                Manifest.for_records(records, dataset.class_names).write(cache_path)
        except OSError as error:
            reason = error.strerror or error
            print_line(f"{cache_path}: no cache written ({reason}); the next start decodes again.")
        return records


def _prepare_records(
    dataset: KnownDataset, data_dir: Path, archive: Path | None, print_line: PrintLine
) -> dict[str, binary_records.Records]:
    """Return the records of each split of a data set, generated or read by TFDS.

    The images are generated if the data set has a function `draw`. Otherwise TFDS reads its copy in
    `data_dir`. If there is no copy yet, TFDS first makes one: from `archive` or, if `archive` is
    None, from a download.
    """
    if dataset.draw is not None:
        print_line(f"Drawing {dataset.title}, once; this takes some seconds.")
        return _generate_records(dataset, dataset.draw)
    with path_without_special_characters(data_dir) as tfds_data_dir:  # without * and [
        builder = _make_builder(dataset, tfds_data_dir, archive)
        if not builder.is_prepared():
            _prepare_with_tfds(builder, dataset, data_dir, archive, print_line)
        print_line(f"Decoding {dataset.title}, once.")
        return _decode_records(builder, dataset)


def _read_cache(cache: Path, dataset: KnownDataset) -> dict[str, binary_records.Records] | None:
    """Return the records of each split in a cache folder; None if the cache can't be used."""
    fingerprints = dataset.fingerprints
    if fingerprints is None:  # then they were computed when the data set was prepared
        manifest = Manifest.read(cache)
        if manifest is None or manifest.class_names != dataset.class_names:
            return None
        fingerprints = manifest.fingerprints
    return record_cache.read_records(cache, fingerprints)


def _make_builder(dataset: KnownDataset, data_dir: Path, archive: Path | None) -> Any:
    from jaxcifar.data.builders import BUILDERS  # TFDS takes a second to import

    return BUILDERS[dataset.name](dataset, archive, data_dir=data_dir)


def _generate_records(
    dataset: KnownDataset, generate_images: DrawImages
) -> dict[str, binary_records.Records]:
    records_of_split = {}
    for seed, (split, images_per_class) in enumerate(dataset.class_counts.items()):
        image_count = images_per_class * len(dataset.class_names)
        images, labels = generate_images(image_count, seed)
        records_of_split[split] = binary_records.sort(binary_records.pack(images, labels))
    require_expected_images(records_of_split, dataset, source=dataset.title)
    return records_of_split


def _prepare_with_tfds(
    builder: Any, dataset: KnownDataset, data_dir: Path, archive: Path | None, print_line: PrintLine
) -> None:
    """Prepare a data set with TFDS, and print each step.

    `builder` takes the images from `archive` or, if `archive` is None, downloads them. The
    builder writes them to `data_dir`.
    """
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()  # it would fill a log file with incomplete lines
    for leftover in (data_dir / dataset.name).glob("incomplete.*"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    if archive is None:
        url = builder.download_url
        megabytes = builder.url_infos[url].size / 1e6
        print_line(f"Downloading {dataset.title} ({megabytes:.0f} MB) from {url}")
    print_line(f"Preparing {dataset.title} in {data_dir}, once; this takes about half a minute.")
    with contextlib.redirect_stdout(io.StringIO()):  # hides TFDS's own messages
        builder.download_and_prepare(file_format="parquet")


def _decode_records(builder: Any, dataset: KnownDataset) -> dict[str, binary_records.Records]:
    """Return the sorted records, by split, of a data set that TFDS has prepared."""
    sources = _open_sources(builder)
    records_of_split = {}
    for split in binary_records.SPLITS:
        images, labels = _read_examples(sources[split])
        records_of_split[split] = binary_records.sort(binary_records.pack(images, labels))
    require_expected_images(records_of_split, dataset, source=builder.data_dir)
    return records_of_split


def _open_sources(builder: Any) -> Any:
    """Return TFDS's data source of each split, by split name, without reading images."""
    file_format = builder.info.file_format.value
    if file_format == "array_record" and not find_spec("array_record"):
        raise RunError(
            f"{builder.data_dir}: prepared in the format array_record, which only the package "
            "array-record reads; install it, or choose another folder with --data-dir"
        )
    try:
        return builder.as_data_source()
    except NotImplementedError:
        raise RunError(
            f"{builder.data_dir}: prepared in the format {file_format}, which only TensorFlow "
            "reads; choose another folder with --data-dir, or remove this one"
        ) from None


def _read_examples(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the images `[N, 32, 32, 3] uint8` and labels `[N] uint8` of a TFDS data source."""
    image_count = len(source)
    images = np.empty((image_count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    labels = np.empty(image_count, np.uint8)
    for first_index in range(0, image_count, _EXAMPLES_PER_READ):
        indices = range(first_index, min(first_index + _EXAMPLES_PER_READ, image_count))
        examples = source.__getitems__(indices)
        for index, example in zip(indices, examples, strict=True):
            images[index] = example["image"]
            labels[index] = example["label"]
    return images, labels


def _require_prepared_or_downloadable(dataset: KnownDataset, data_dir: Path) -> None:
    """Raise an error if TFDS has not prepared a data set and can't download it now."""
    with path_without_special_characters(data_dir) as tfds_data_dir:
        builder = _make_builder(dataset, tfds_data_dir, archive=None)
        if not builder.is_prepared():
            builder.require_server()
