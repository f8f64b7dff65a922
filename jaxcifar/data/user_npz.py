"""An `.npz` of images and labels as Keras users have them, read as the untrusted input it is.

Arrays are read from the zip file as a stream, and only after their headers are known to agree with
the sizes that the zip file declares: what a header promises is never allocated on its word alone.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.data.arrays import ImageBlocks, block_length, records_of
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.reading import open_regular_file

_MAX_BYTES = 2**34  # unpacked, all arrays together
_MAX_RATIO = 100  # of unpacked to packed bytes, beyond `_ALWAYS_BYTES`
_ALWAYS_BYTES = 2**28
_MAX_SMALL_BYTES = 2**26  # of labels or names
_NEEDED = [f"{kind}_{split}" for split in rec.SPLITS for kind in "xy"]


def read_npz(
    path: Path, say: Callable[[str], None]
) -> tuple[dict[str, rec.Records], tuple[str, ...]]:
    """Read `x_train y_train x_test y_test` and, if it is there, `class_names`.

    Args:
      path: of a regular file; links are not followed.
      say: told what is left out.

    Returns:
      split -> sorted records, and the names of the classes.

    Raises:
      RunError: it is damaged, lacks an array, or has one that is not as it must be.
    """
    try:
        with (
            open_regular_file(path) as plain,
            _Contents(plain.raw) as file,
            zipfile.ZipFile(file) as archive,
        ):
            file.most = _MAX_BYTES
            _check_sizes(archive, os.fstat(file.fileno()).st_size)
            return _read(archive, path, say)
    except UsageError as error:
        raise RunError(f"{path}: {error}") from error
    except Exception as error:  # a hostile or damaged file can raise anything
        raise RunError(
            f"{path}: can't be read ({first_line(error)}); write it with "
            "np.savez(PATH, x_train=..., y_train=..., x_test=..., y_test=...)"
        ) from error


class _Contents(io.BufferedReader):
    """A file of which only so much is read at once; `zipfile` reads a list of contents whole."""

    most = 2**20

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(
            self.most + 1 if size is None or size < 0 else min(size, self.most + 1)
        )
        if len(content) > self.most:
            raise ValueError("it lists far more than a few arrays")
        return content


def _check_sizes(archive: zipfile.ZipFile, packed: int) -> None:
    """Refuse what unpacks to far more than images do."""
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > _MAX_BYTES:
        raise UsageError(f"unpacks to more than {_MAX_BYTES // 2**30} GiB; make its images smaller")
    if unpacked > max(_MAX_RATIO * packed, _ALWAYS_BYTES):
        raise UsageError(f"unpacks to more than {_MAX_RATIO} times its size, as no images do")


def _read(
    archive: zipfile.ZipFile, path: Path, say: Callable[[str], None]
) -> tuple[dict[str, rec.Records], tuple[str, ...]]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if missing := [name for name in _NEEDED if name not in members]:
        raise UsageError(f"lacks {', '.join(missing)}; it must have {', '.join(_NEEDED)}")
    if others := sorted(members.keys() - {*_NEEDED, "class_names"}):
        say(f"{path.name}: {others[0]!a} and {len(others) - 1} others are left out.")
    names = None
    if "class_names" in members:
        names = _small(archive, members["class_names"])
        if names.ndim != 1 or names.dtype.kind not in "US":
            raise UsageError("class_names: give a list of strings")
        names = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
    return records_of(
        {split: _images(archive, members[f"x_{split}"]) for split in rec.SPLITS},
        {split: _small(archive, members[f"y_{split}"]) for split in rec.SPLITS},
        names,
    )


def _images(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> ImageBlocks:
    with archive.open(info) as file:
        shape, dtype = _header(file, info)

    def blocks() -> Iterator[np.ndarray]:
        step, size = block_length(shape, dtype), math.prod(shape[1:])
        with archive.open(info) as file:
            _header(file, info)
            for first in range(0, shape[0], step):
                count = min(step, shape[0] - first)
                yield np.frombuffer(_read_all(file, count * size), dtype).reshape(count, *shape[1:])

    return ImageBlocks(shape, dtype, blocks)


def _small(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        shape, dtype = _header(file, info)
        size = math.prod(shape) * dtype.itemsize
        if size > _MAX_SMALL_BYTES:
            raise UsageError(f"{info.filename}: {size:,} bytes are far too many")
        return np.frombuffer(_read_all(file, size), dtype).reshape(shape)


def _header(file: IO[bytes], info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, of which just so many bytes follow.

    The later versions of the format are for headers longer than any that belongs here.
    """
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(f"{info.filename}: packed in a way that np.savez does not pack")
    if np.lib.format.read_magic(file) != (1, 0):
        raise UsageError(f"{info.filename}: not of version 1.0 of the npy format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise UsageError(f"{info.filename}: pickled objects are not read; save plain arrays")
    if fortran_order and len(shape) > 1:
        raise UsageError(f"{info.filename}: in Fortran order; save np.ascontiguousarray of it")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != info.file_size - file.tell():
        raise UsageError(f"{info.filename}: damaged, its header does not agree with its size")
    return shape, dtype


def _read_all(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise EOFError("an array ends too soon")
    return content
