"""Read images and labels from parquet files as Hugging Face publishes them, without trusting them.

Such a file has a column of images, each with the `bytes` of a PNG or JPEG file, and a column of
labels.
"""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcifar.data import binary_records
from jaxcifar.data.arrays import MAX_IMAGES, ImageBlocks, SplitArrays, convert_to_records
from jaxcifar.data.images import DecodedImage, decode_image, hide_pillow_warnings
from jaxcifar.data.parquet_files import group_by_split
from jaxcifar.data.parquet_schema import (
    ParquetColumns,
    find_parquet_columns,
    length_of_longest_string,
)
from jaxcifar.data.resizing import Resizing
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.reading import open_regular_file
from jaxcifar.machine.terminal import PrintLine

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_MAX_IMAGE_BYTES = 2**26  # as stored, of one image
_MAX_UNPACKED_BYTES = 2**40  # of all columns, unpacked
_MAX_UNPACKING_RATIO = 1000  # unpacked to packed bytes
_ALWAYS_PLAUSIBLE_BYTES = 2**28  # up to this unpacked size, any ratio is allowed
_MAX_LABEL_LENGTH = 200  # characters of a label that is a string
_IMAGES_PER_BATCH = 64  # images that are read at a time
_LABELS_PER_BATCH = 10_000
_THREADS = 4


def read_parquet(
    path: Path,
    files: Sequence[Path],
    resizing: Resizing | None = None,
    print_line: PrintLine | None = None,
    run_classes: Sequence[str] | None = None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Read images and labels from parquet files as sorted records: rows of label and pixel bytes.

    Args:
      path: the file or folder of the user; begins the error messages.
      files: the parquet files at this path.
      resizing: size that images get, 32x32 if None; their original sizes are added to this object.
      print_line: prints a line about files whose names do not say their split, and about labels
        that count from 1; None to print nothing.
      run_classes: names of the classes of a run to evaluate on the images of any split; None to
        train on the images.

    Returns:
      the records of "train" and, if there are such files, "test" and "val"; and the class names.

    Raises:
      RunError: a file is damaged, or has no images and labels that can be used.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise RunError(f"{path}: parquet files need pyarrow; pip install pyarrow") from None
    resizing = resizing or Resizing()
    try:
        paths_of_split = group_by_split(path, files, print_line)
        files_of_split = {
            split: _SplitFiles(paths, resizing) for split, paths in paths_of_split.items()
        }
        if "train" not in files_of_split and run_classes is None:
            raise UsageError(
                "there is no parquet file of the training images; name one train-*.parquet"
            )
        arrays_of_split = {
            split: split_files.read_arrays(split) for split, split_files in files_of_split.items()
        }
        files_of_first_split = next(iter(files_of_split.values()))  # of "train", if there are any
        class_names = files_of_first_split.columns.class_names
        # The blocks of images are squares already, and `resizing` has their original sizes.
        resizing_of_squares = Resizing(resizing.size)
        with hide_pillow_warnings():
            return convert_to_records(
                arrays_of_split, class_names, resizing_of_squares, print_line, run_classes
            )
    except UsageError as error:
        raise RunError(f"{path}: {error}") from error


class _SplitFiles:
    """The parquet files of a split.

    Attributes:
      files: the files, in the order of their rows.
      columns: the columns with images and labels, the same in all files.
      row_counts: number of rows of each file.
    """

    def __init__(self, files: Sequence[Path], resizing: Resizing) -> None:
        self.files, self._resizing = files, resizing
        with _open_parquet(files[0]) as first_file:
            self.columns: ParquetColumns = find_parquet_columns(first_file.schema_arrow)
        self.row_counts = []
        for file in files:
            with _open_parquet(file) as parquet_file:
                self.row_counts.append(_row_count_if_plausible_size(file, parquet_file))
        self._image_count = sum(self.row_counts)
        if self._image_count > MAX_IMAGES:
            raise UsageError(
                f"{files[0].name}: has more than {MAX_IMAGES:,} images; give fewer images"
            )

    def read_arrays(self, split: str) -> SplitArrays:
        """Return the images and labels; an image is decoded only when its block is read.

        `split` is the name of the split, for error messages.
        """
        size = self._resizing.size
        shape = (self._image_count, size, size, 3)
        images = ImageBlocks(shape, np.dtype(np.uint8), self._read_image_blocks)
        labels = self._read_labels()
        image_array = f"column {self.columns.image_column} ({split})"
        label_array = f"column {self.columns.label_column} ({split})"
        return SplitArrays(images, labels, image_array, label_array)

    def _read_labels(self) -> np.ndarray:
        """Read the column of labels, integers or strings, `[N]`."""
        column_name = self.columns.label_column
        label_batches = []
        for batch in self._read_column(column_name, _LABELS_PER_BATCH):
            if batch.null_count:
                raise UsageError(
                    f"column {column_name} has rows without a label; remove these rows"
                )
            if length_of_longest_string(batch) > _MAX_LABEL_LENGTH:
                raise UsageError(
                    f"column {column_name} has a label of over {_MAX_LABEL_LENGTH} characters; "
                    "shorten it"
                )
            label_batches.append(np.asarray(batch.to_numpy(zero_copy_only=False)))
        return np.concatenate(label_batches) if label_batches else np.zeros(0, np.int64)

    def _read_image_blocks(self) -> Iterator[np.ndarray]:
        """Yield the images of all rows in blocks, decoded and resized."""
        with ThreadPoolExecutor(_THREADS) as threads:
            decode = partial(_decode_cell, size=self._resizing.size)
            for batch in self._read_column(self.columns.image_column, _IMAGES_PER_BATCH):
                image_files = self.columns.image_files_in(batch)
                if image_files.null_count:
                    raise UsageError(
                        f"column {self.columns.image_column} has rows without the bytes of an "
                        "image; save the images in the file, not only their paths"
                    )
                images = list(threads.map(decode, image_files))
                self._resizing.original_sizes.update(image.original_size for image in images)
                yield np.stack([image.pixels for image in images])

    def _read_column(self, column: str, batch_size: int) -> Iterator[Any]:
        """Yield a column of all files, `batch_size` rows at a time; check the number of rows."""
        for file, expected_count in zip(self.files, self.row_counts, strict=True):
            row_count = 0
            with _open_parquet(file) as parquet_file:
                batches = parquet_file.iter_batches(batch_size, columns=[column], use_threads=False)
                for batch in batches:
                    row_count += len(batch)
                    has_too_many_rows = row_count > expected_count
                    if has_too_many_rows:  # reported below
                        break
                    yield batch.column(0)
            if row_count != expected_count:
                raise UsageError(
                    f"{file.name} is damaged: it has {row_count:,} of {expected_count:,} rows; "
                    "download it again"
                )


def _decode_cell(image_file: Any, size: int) -> DecodedImage:
    if image_file.as_buffer().size > _MAX_IMAGE_BYTES:
        raise UsageError(f"an image has more than {_MAX_IMAGE_BYTES // 2**20} MiB; make it smaller")
    try:
        return decode_image(image_file.as_py(), size)
    except ValueError as error:
        reason = first_line(error)
        reason_has_remedy = ";" in reason
        remedy = "" if reason_has_remedy else "; replace it, or remove its row"
        raise UsageError(f"an image can't be read: {reason}{remedy}") from error


@contextlib.contextmanager
def _open_parquet(file: Path) -> "Iterator[ParquetFile]":
    """Open a parquet file; an error in the `with` block becomes a `UsageError` of one line."""
    from pyarrow.parquet import ParquetFile

    try:
        # Hugging Face's cache of downloads consists of symbolic links.
        with open_regular_file(file, follow_links=True) as binary_file:
            yield ParquetFile(binary_file, pre_buffer=False, buffer_size=2**20)
    except UsageError:
        raise
    except Exception as error:  # a hostile or damaged file can raise anything
        raise UsageError(
            f"{file.name} can't be read ({first_line(error)}); download it again"
        ) from error


def _row_count_if_plausible_size(file: Path, parquet_file: "ParquetFile") -> int:
    """Return the number of rows of a parquet file; raise if the unpacked size is too large."""
    metadata = parquet_file.metadata
    packed_bytes = file.stat().st_size
    row_groups = map(metadata.row_group, range(metadata.num_row_groups))
    unpacked_bytes = sum(row_group.total_byte_size for row_group in row_groups)
    largest_plausible_bytes = max(_MAX_UNPACKING_RATIO * packed_bytes, _ALWAYS_PLAUSIBLE_BYTES)
    if unpacked_bytes > min(_MAX_UNPACKED_BYTES, largest_plausible_bytes):
        raise UsageError(
            f"{file.name} unpacks to {unpacked_bytes:,} bytes, unlike images; save the images "
            "again as PNG or JPEG"
        )
    return metadata.num_rows
