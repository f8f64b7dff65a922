"""The user's images, in a folder or in files: prepared once, then read from a cache."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data import binary_records, record_cache
from jaxcifar.data.catalog import CATALOG
from jaxcifar.data.decode import read_splits
from jaxcifar.data.image_folder import ImageFolder, scan_images
from jaxcifar.data.manifest import Manifest
from jaxcifar.data.parquet import read_parquet
from jaxcifar.data.parquet_files import (
    PARQUET_SUFFIX,
    find_unmixed_parquet_files,
    split_of_file,
)
from jaxcifar.data.prepare import NotPreparedError, report_unwritable
from jaxcifar.data.resizing import Resizing
from jaxcifar.data.split import split_off_test
from jaxcifar.data.user_npz import read_npz
from jaxcifar.errors import RunError, UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.paths import expand_home, parse_table_name, require_image_path
from jaxcifar.machine.terminal import PrintLine

_MAX_NAME_LENGTH = 60


class PreparedImages(NamedTuple):
    """Sorted records of "train", "test" and maybe "val", and the description of the records."""

    records: dict[str, binary_records.Records]
    manifest: Manifest


def user_data_title(path: str) -> str:
    """Return the title of the user's images in messages and reports: the folder's or file's name.

    If `path` is a table of labels (a CSV file), the title is the name of the folder that contains
    the table. A title such as "cifar10", which is also the name of a data set of the catalogue,
    gets the addition "(own images)".
    """
    table = parse_table_name(path)
    if table is None:
        folder_or_file = _absolute_path(path)
    else:
        folder_or_file = _absolute_path(str(table.path)).parent
    title = folder_or_file.name or "images"
    needs_addition = resembles_catalog_name(_without_suffix(title))
    return f"{title} (own images)" if needs_addition else title


def user_data_name(path: str) -> str:
    """Return a short name for the user's images that can be part of a file name.

    In the title, all characters but letters, digits, ".", "-" and "_" are replaced.
    """
    title = _without_suffix(user_data_title(path))
    name = re.sub(r"[^\w.-]+", "-", title, flags=re.ASCII).strip("-.")
    return name[:_MAX_NAME_LENGTH] or "images"


def _without_suffix(title: str) -> str:
    return title.removesuffix(".npz").removesuffix(PARQUET_SUFFIX)


def resembles_catalog_name(name: str) -> bool:
    """Return True if a name could be mistaken for a data set of the catalogue."""
    catalog_names: set[str] = set()
    for dataset in CATALOG.values():
        catalog_names |= {
            _lower_letters_and_digits(dataset.name),
            _lower_letters_and_digits(dataset.title),
        }
    return _lower_letters_and_digits(name) in catalog_names


def load_user_data(
    name: str,
    data_dir: Path,
    print_line: PrintLine = print,
    image_size: int = IMAGE_SIZE,
    *,
    may_prepare: bool = True,
) -> PreparedImages:
    """Load the user's images, and prepare them first if they are new or have changed.

    Args:
      name: path of the images. It can be a folder with the images of each class in a folder
        (`train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`), or with a table of labels. It can also
        be that table (`FILE.csv`, or with names of columns `FILE.csv:LABELS` or
        `FILE.csv:FILES:LABELS`), an `.npz` file (`x_train`, `y_train`, `x_test`, `y_test`), a
        parquet file, or a folder of parquet files.
      data_dir: folder for the prepared images.
      print_line: prints a line about each slow step, about files that are ignored, and about images
        that are resized.
      image_size: height and width that the images get.
      may_prepare: False to only read images that were prepared before, and write nothing.

    Raises:
      UsageError: there is no such folder or file.
      NotPreparedError: the images are not prepared, and `may_prepare` is False.
      RunError: the images can't be read, `data_dir` can't be written, or the images need more
        memory than is free.
    """
    path = _absolute_path(name)
    require_image_path(name)
    if path.is_dir() and data_dir.resolve().is_relative_to(path.resolve()):
        raise UsageError(
            f"--data-dir {data_dir}: lies in the folder of the images; choose a folder outside it"
        )
    parquet_files = find_unmixed_parquet_files(path)
    folder = None if parquet_files else scan_images(name)
    source_digest = folder.digest if folder else _source_digest(path, parquet_files)
    cache = data_dir / "own" / _cache_name(name, image_size)
    cached_images = _read_cache(cache, path, source_digest, image_size)
    if cached_images is not None:
        return cached_images
    if not may_prepare:
        raise NotPreparedError(f"{user_data_title(name)} is not prepared in {data_dir}")
    with report_unwritable(data_dir), lock_folder(cache):
        cached_images = _read_cache(cache, path, source_digest, image_size)
        if cached_images is not None:
            return cached_images  # another process was faster
        print_line(
            f"Preparing {user_data_title(name)} in {cache}, once; large images take a while."
        )
        resizing = Resizing(image_size)
        records, class_names = _read_images(path, folder, parquet_files, resizing, print_line)
        resizing_note = resizing.describe()
        if resizing_note:
            print_line(f"{path.name}: {resizing_note}.")
        if "test" not in records:
            images_path = folder.path if folder else path
            records = split_off_test(images_path, records, class_names, print_line)
        if "val" in records:
            print_line(
                f"{path.name}: has its own validation images, {len(records['val']):,}; "
                "--val-fraction has no effect."
            )
        manifest = Manifest.for_records(records, class_names, source_digest)
        record_cache.write_records(cache, records)
        manifest.write(cache)
        return PreparedImages(records, manifest)


def _cache_name(name: str, image_size: int) -> str:
    """Return the cache folder's name for the images at the path `name`, resized to `image_size`."""
    path_digest = _sha256_hex(os.fsencode(_absolute_path(name)))[:12]
    size_suffix = "" if image_size == IMAGE_SIZE else f"-{image_size}"
    return f"{user_data_name(name)}-{path_digest}{size_suffix}"


def _read_cache(
    cache: Path, path: Path, source_digest: str, image_size: int
) -> PreparedImages | None:
    """Return the images at `path` from a cache folder, or None if the cache can't be used.

    The cache must be whole. Its images must have the height and width `image_size`, and be made
    from files with the digest `source_digest`.

    Raises:
      RunError: the images need more memory than is free.
    """
    manifest = Manifest.read(cache)
    if manifest is None or manifest.source != source_digest:
        return None
    records_of_split = record_cache.read_records(cache, manifest.fingerprints)
    if records_of_split is None:
        return None
    class_count = len(manifest.class_names)
    record_length = binary_records.bytes_per_record(class_count, image_size)
    if any(records.shape[1] != record_length for records in records_of_split.values()):
        return None
    image_count = sum(map(len, records_of_split.values()))
    try:
        Resizing(image_size).require_memory(image_count, class_count, are_prepared=True)
    except UsageError as error:
        raise RunError(f"{path}: {error}") from error
    return PreparedImages(records_of_split, manifest)


def _read_images(
    path: Path,
    folder: ImageFolder | None,
    parquet_files: Sequence[Path],
    resizing: Resizing,
    print_line: PrintLine,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Read images and labels; return the sorted records of each split, and the class names.

    The images are read from `folder` if it is not None, else from `parquet_files` if there are any,
    or else from the `.npz` file at `path`.
    """
    if folder is not None:
        return read_splits(folder, print_line, resizing), folder.class_names
    if parquet_files:
        return read_parquet(path, parquet_files, resizing, print_line)
    return read_npz(path.resolve(), print_line, resizing)


def _absolute_path(path: str) -> Path:
    return Path(os.path.abspath(expand_home(path)))  # noqa: PTH100 (follows no links)


def _source_digest(path: Path, parquet_files: Sequence[Path]) -> str:
    """Return a digest of the names, splits, sizes and modification times of the user's files.

    The files are the file at `path` or, if `path` is a folder, the parquet files in it.
    """
    if path.is_file():
        return _file_digest(path)
    names_splits_and_states = [
        (os.fsencode(file.relative_to(path)), split_of_file(path, file), _file_digest(file))
        for file in parquet_files
    ]
    return _sha256_hex(repr(names_splits_and_states).encode())


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _sha256_hex(repr((path.name, status.st_size, status.st_mtime_ns)).encode())


def _sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _lower_letters_and_digits(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())
