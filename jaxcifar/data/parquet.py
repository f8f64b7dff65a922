"""Read images and labels from parquet files as Hugging Face publishes them, without trusting them.

Such a file has a column of images, each with the `bytes` of a PNG or JPEG file, and a column of
labels.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcifar.data import binary_records
from jaxcifar.data.arrays import MAX_IMAGES, ImageBlocks, SplitArrays, records_of
from jaxcifar.data.images import DecodedImage, decode_image
from jaxcifar.data.parquet_files import group_by_split
from jaxcifar.data.parquet_schema import Columns, find_columns, longest_string
from jaxcifar.data.resizing import Resizing
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.reading import open_regular_file
from jaxcifar.machine.terminal import PrintLine

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_MAX_IMAGE_BYTES = 2**26  # as stored, of one image
_MAX_BYTES = 2**40  # of all columns, unpacked
_MAX_RATIO = 1000  # unpacked to packed bytes; files up to `_ALWAYS_BYTES` may have any ratio
_ALWAYS_BYTES = 2**28
_MAX_LABEL = 200  # characters of a label that is a string
_IMAGE_BATCH = 64  # images that are read at a time
_LABEL_BATCH = 10_000
_THREADS = 4


def read_parquet(
    path: Path,
    files: Sequence[Path],
    resizing: Resizing | None = None,
    print_line: PrintLine | None = None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Read images and labels from parquet files as sorted records: rows of label and pixel bytes.

    Args:
      path: the file or folder of the user; begins the error messages.
      files: the parquet files at this path.
      resizing: size that images get, 32x32 if None; their original sizes are added to this object.
      print_line: prints a line about files whose names do not say their split, and about labels
        that count from 1; None to print nothing.

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
        files_by_split = group_by_split(path, files, print_line)
        tables = {split: _Table(paths, resizing) for split, paths in files_by_split.items()}
        if "train" not in tables:
            raise UsageError("there is no parquet file of the training images, train-*.parquet")
        arrays = {split: table.arrays(split) for split, table in tables.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about oddities in files that it can read
            class_names = tables["train"].columns.class_names
            return records_of(arrays, class_names, Resizing(resizing.size), print_line)
    except UsageError as error:
        raise RunError(f"{path}: {error}") from error


class _Table:
    """The parquet files of a split.

    Attributes:
      files: the files, in the order of their rows.
      columns: the columns with images and labels, the same in all files.
      counts: number of rows of each file.
    """

    def __init__(self, files: Sequence[Path], resizing: Resizing) -> None:
        self.files, self._resizing = files, resizing
        with _opened(files[0]) as first:
            self.columns: Columns = find_columns(first.schema_arrow)
        self.counts = []
        for file in files:
            with _opened(file) as opened:
                self.counts.append(_checked_count(file, opened))
        if sum(self.counts) > MAX_IMAGES:
            raise UsageError(f"{files[0].name}: has more than {MAX_IMAGES:,} images; give fewer")

    def arrays(self, split: str) -> SplitArrays:
        """Return images and labels; images are decoded block by block while they are read."""
        size = self._resizing.size
        images = ImageBlocks((sum(self.counts), size, size, 3), np.dtype(np.uint8), self._blocks)
        labels = self._labels()
        image_name = f"column {self.columns.image} ({split})"
        label_name = f"column {self.columns.label} ({split})"
        return SplitArrays(images, labels, image_name, label_name)

    def _labels(self) -> np.ndarray:
        """Read the column of labels, integers or strings, `[N]`."""
        name = self.columns.label
        label_arrays = []
        for column in self._column_parts(name, _LABEL_BATCH):
            if column.null_count:
                raise UsageError(f"column {name} has rows without a label; remove these rows")
            if longest_string(column) > _MAX_LABEL:
                raise UsageError(
                    f"column {name} has a label of over {_MAX_LABEL} characters; shorten it"
                )
            label_arrays.append(np.asarray(column.to_numpy(zero_copy_only=False)))
        return np.concatenate(label_arrays) if label_arrays else np.zeros(0, np.int64)

    def _blocks(self) -> Iterator[np.ndarray]:
        """Yield the images of all rows in blocks, decoded and resized."""
        with ThreadPoolExecutor(_THREADS) as threads:
            for column in self._column_parts(self.columns.image, _IMAGE_BATCH):
                contents = self.columns.image_bytes(column)
                if contents.null_count:
                    raise UsageError(
                        f"column {self.columns.image} has rows without the bytes of an image; save "
                        "the images in the file, not only their paths"
                    )
                images = list(threads.map(partial(_decode, size=self._resizing.size), contents))
                self._resizing.original_sizes.update(image.original_size for image in images)
                yield np.stack([image.pixels for image in images])

    def _column_parts(self, column: str, rows: int) -> Iterator[Any]:
        """Yield a column of all files, at most `rows` rows at a time; check the number of rows."""
        for file, expected in zip(self.files, self.counts, strict=True):
            count = 0
            with _opened(file) as opened:
                for batch in opened.iter_batches(rows, columns=[column], use_threads=False):
                    count += len(batch)
                    if count > expected:
                        break
                    yield batch.column(0)
            if count != expected:
                raise UsageError(f"{file.name} is damaged: it has {count:,} of {expected:,} rows")


def _decode(content: Any, size: int) -> DecodedImage:
    if content.as_buffer().size > _MAX_IMAGE_BYTES:
        raise UsageError(f"an image has more than {_MAX_IMAGE_BYTES // 2**20} MiB; make it smaller")
    try:
        return decode_image(content.as_py(), size)
    except ValueError as error:
        raise UsageError(f"an image can't be read: {first_line(error)}") from error


@contextlib.contextmanager
def _opened(file: Path) -> "Iterator[ParquetFile]":
    """Open a parquet file; an error in the `with` block becomes a `UsageError` of one line."""
    from pyarrow.parquet import ParquetFile

    try:
        # Hugging Face's cache of downloads consists of symbolic links.
        with open_regular_file(file, follow_links=True) as opened:
            yield ParquetFile(opened, pre_buffer=False, buffer_size=2**20)
    except UsageError:
        raise
    except Exception as error:  # a hostile or damaged file can raise anything
        raise UsageError(
            f"{file.name} can't be read ({first_line(error)}); download it again"
        ) from error


def _checked_count(file: Path, opened: "ParquetFile") -> int:
    """Return the number of rows of a parquet file; raise if the unpacked size is too large."""
    metadata = opened.metadata
    packed = file.stat().st_size
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    largest_plausible = max(_MAX_RATIO * packed, _ALWAYS_BYTES)
    if unpacked > min(_MAX_BYTES, largest_plausible):
        raise UsageError(f"{file.name} unpacks to {unpacked:,} bytes, unlike images")
    return metadata.num_rows
