"""Read the user's `.npz` file of images and labels, without trusting it.

Images are read in blocks, so that they need not be in memory together. Nothing is allocated for a
size that the file only claims to have.
"""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.data.arrays import ImageBlocks, block_length, records_of
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.npz import ArrayHeader, read_content, read_header
from jaxcifar.machine.reading import open_regular_file
from jaxcifar.machine.terminal import PrintLine

_MAX_BYTES = 2**34  # of all arrays together, unpacked
_MAX_RATIO = 100  # unpacked to packed bytes; files up to `_ALWAYS_BYTES` may have any ratio
_ALWAYS_BYTES = 2**28
_MAX_SMALL_BYTES = 2**26  # of labels, or of class names
_REQUIRED = [f"{kind}_{split}" for split in rec.SPLITS for kind in "xy"]


def read_npz(path: Path, print_line: PrintLine) -> tuple[dict[str, rec.Records], tuple[str, ...]]:
    """Read the arrays `x_train`, `y_train`, `x_test`, `y_test` and, optionally, `class_names`.

    Args:
      path: a regular file; links are not followed.
      print_line: prints a line about arrays that are ignored.

    Returns:
      "train" and "test" -> sorted records; and the class names.

    Raises:
      RunError: the file is damaged, lacks an array, or an array has a wrong shape, type or value.
    """
    try:
        with (
            open_regular_file(path) as file,
            _LimitedReader(file.raw) as limited,
            zipfile.ZipFile(limited) as archive,
        ):
            limited.max_read = _MAX_BYTES
            _check_sizes(archive, os.fstat(file.fileno()).st_size)
            return _read(archive, path, print_line)
    except UsageError as error:
        raise RunError(f"{path}: {error}") from error
    except Exception as error:  # a hostile or damaged file can raise anything
        raise RunError(
            f"{path}: can't be read ({first_line(error)}); write it with "
            "np.savez(PATH, x_train=..., y_train=..., x_test=..., y_test=...)"
        ) from error


class _LimitedReader(io.BufferedReader):
    """A file that limits a single read, because `zipfile` reads the list of members whole."""

    max_read = 2**20

    def read(self, size: int | None = -1) -> bytes:
        has_limit = size is not None and 0 <= size <= self.max_read
        content = super().read(size if has_limit else self.max_read + 1)
        if len(content) > self.max_read:
            raise ValueError("the file has too many arrays; save only those that are read")
        return content


def _check_sizes(archive: zipfile.ZipFile, packed: int) -> None:
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > _MAX_BYTES:
        raise UsageError(
            f"the file unpacks to more than {_MAX_BYTES // 2**30} GiB; make the images smaller"
        )
    if unpacked > max(_MAX_RATIO * packed, _ALWAYS_BYTES):
        raise UsageError(
            f"the file unpacks to more than {_MAX_RATIO} times its size, unlike images"
        )


def _read(
    archive: zipfile.ZipFile, path: Path, print_line: PrintLine
) -> tuple[dict[str, rec.Records], tuple[str, ...]]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if missing := [name for name in _REQUIRED if name not in members]:
        raise UsageError(f"the file lacks {', '.join(missing)}; save {', '.join(_REQUIRED)} in it")
    if ignored := sorted(members.keys() - {*_REQUIRED, "class_names"}):
        print_line(f"{path.name}: {len(ignored):,} other arrays are ignored ({ignored[0]!a}).")
    class_names = None
    if "class_names" in members:
        class_names = _read_small_array(archive, members["class_names"])
        if class_names.ndim != 1 or class_names.dtype.kind not in "US":
            raise UsageError("class_names is not a list of strings; give the name of each class")
        if class_names.dtype.kind == "S":
            class_names = np.char.decode(class_names, "utf-8")
    images = {split: _image_blocks(archive, members[f"x_{split}"]) for split in rec.SPLITS}
    labels = {split: _read_small_array(archive, members[f"y_{split}"]) for split in rec.SPLITS}
    return records_of(images, labels, class_names)


def _image_blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> ImageBlocks:
    with archive.open(info) as file:
        header = _read_checked_header(file, info)

    def blocks() -> Iterator[np.ndarray]:
        images, *image_shape = header.shape
        step = block_length(header.shape, header.dtype)
        with archive.open(info) as file:
            _read_checked_header(file, info)
            for first in range(0, images, step):
                count = min(step, images - first)
                block = ArrayHeader((count, *image_shape), header.dtype)
                yield read_content(file, info.filename, block)

    return ImageBlocks(header.shape, header.dtype, blocks)


def _read_small_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        header = _read_checked_header(file, info)
        if header.size > _MAX_SMALL_BYTES:
            raise UsageError(
                f"array {info.filename} has {header.size:,} bytes, far too many for labels or names"
            )
        return read_content(file, info.filename, header)


def _read_checked_header(file: IO[bytes], info: zipfile.ZipInfo) -> ArrayHeader:
    """Read the header of an array, and check it against the size in the zip file's list."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(
            f"array {info.filename} has another compression than np.savez uses; save it again"
        )
    header = read_header(file, info.filename)
    if header.size != info.file_size - file.tell():
        raise UsageError(
            f"array {info.filename} is damaged: its header does not agree with its size"
        )
    return header
