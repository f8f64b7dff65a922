"""Read the user's `.npz` file of images and labels, without trusting it.

Images are read in blocks, so that they need not be in memory together. Nothing is allocated for a
size that the file only claims to have.
"""

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from jaxcifar.data import binary_records
from jaxcifar.data.array_names import recognise_arrays
from jaxcifar.data.arrays import (
    ImageBlocks,
    SplitArrays,
    convert_to_records,
    count_images_per_block,
)
from jaxcifar.data.resizing import Resizing
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.npz import ArrayHeader, read_content, read_header
from jaxcifar.machine.reading import open_regular_file
from jaxcifar.machine.terminal import PrintLine

_MAX_UNPACKED_BYTES = 2**34  # of all arrays together, unpacked
_MAX_UNPACKING_RATIO = 100  # unpacked to packed bytes
_ALWAYS_PLAUSIBLE_BYTES = 2**28  # up to this unpacked size, any ratio is allowed
_MAX_SMALL_BYTES = 2**28  # of labels, or of class names


def read_npz(
    path: Path,
    print_line: PrintLine,
    resizing: Resizing | None = None,
    run_classes: Sequence[str] | None = None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Read images and labels from the user's `.npz` file as sorted records, without trusting it.

    The arrays of the file are `x_train`, `y_train`, `x_test`, `y_test` and, optionally,
    `class_names`. `recognise_arrays` says which other names they can have. Test images can be
    missing, and there can be validation images.

    Args:
      path: a regular file; links are not followed.
      print_line: prints a line about arrays that are ignored, or read as channels first.
      resizing: height and width that images get; None for 32x32. The original sizes of the images
        are added to this object.
      run_classes: names of the classes of a run to evaluate on the images of any split; None to
        train on the images. To evaluate, no class and no split needs to have images.

    Returns:
      the sorted records (rows of label and pixel bytes) of "train" and, if the file has them,
      "test" and "val"; and the class names.

    Raises:
      RunError: the file is damaged, lacks an array, or an array has a wrong shape, type or value.
    """
    try:
        with (
            open_regular_file(path) as file,
            _LimitedReader(file.raw) as limited_file,
            zipfile.ZipFile(limited_file) as archive,
        ):
            # The list of members has been read; an array may be larger.
            limited_file.max_bytes_per_read = _MAX_UNPACKED_BYTES
            _require_plausible_sizes(archive, os.fstat(file.fileno()).st_size)
            return _read_arrays(archive, path, print_line, resizing, run_classes)
    except UsageError as error:
        raise RunError(f"{path}: {error}") from error
    except Exception as error:  # a hostile or damaged file can raise anything
        raise RunError(
            f"{path}: can't be read ({first_line(error)}); write it with "
            "np.savez(PATH, x_train=..., y_train=..., x_test=..., y_test=...)"
        ) from error


class _LimitedReader(io.BufferedReader):
    """A file whose single reads have a limit, because `zipfile` reads the list of members whole."""

    max_bytes_per_read = 2**20

    def read(self, size: int | None = -1) -> bytes:
        is_within_limit = size is not None and 0 <= size <= self.max_bytes_per_read
        content = super().read(size if is_within_limit else self.max_bytes_per_read + 1)
        if len(content) > self.max_bytes_per_read:
            raise ValueError("the file has too many arrays; save only images, labels and names")
        return content


def _require_plausible_sizes(archive: zipfile.ZipFile, packed_bytes: int) -> None:
    unpacked_bytes = sum(member.file_size for member in archive.infolist())
    if unpacked_bytes > _MAX_UNPACKED_BYTES:
        raise UsageError(
            f"the file unpacks to more than {_MAX_UNPACKED_BYTES // 2**30} GiB; make the images "
            "smaller"
        )
    if unpacked_bytes > max(_MAX_UNPACKING_RATIO * packed_bytes, _ALWAYS_PLAUSIBLE_BYTES):
        raise UsageError(
            f"the file unpacks to more than {_MAX_UNPACKING_RATIO} times its size, unlike images; "
            "check the arrays and save the file again"
        )


def _read_arrays(
    archive: zipfile.ZipFile,
    path: Path,
    print_line: PrintLine,
    resizing: Resizing | None,
    run_classes: Sequence[str] | None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Read images and labels from an open `.npz` file, whose sizes have been checked.

    Returns:
      the images with their labels, for each split that the file has, and the names of the classes.
    """
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    recognised = recognise_arrays(members, needs_training=run_classes is None)
    if recognised.ignored_arrays:
        ignored_count = len(recognised.ignored_arrays)
        first_name = recognised.ignored_arrays[0]
        print_line(f"{path.name}: {ignored_count:,} other arrays are ignored ({first_name!a}).")
    class_names = None
    if recognised.class_name_array is not None:
        member = members[recognised.class_name_array]
        class_names = _read_class_names(archive, member, recognised.class_name_array)
    arrays_of_split = {}
    for split, (image_array, label_array) in recognised.arrays_of_split.items():
        images = _image_blocks_of_member(archive, members[image_array])
        labels = _read_small_array(archive, members[label_array])
        if images.has_channels_first:
            print_line(f"{path.name}: {image_array} has channels first, {images.shape}.")
        arrays_of_split[split] = SplitArrays(images, labels, image_array, label_array)
    return convert_to_records(arrays_of_split, class_names, resizing, print_line, run_classes)


def _read_class_names(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, array_name: str
) -> np.ndarray:
    class_names = _read_small_array(archive, member)
    if class_names.ndim != 1 or class_names.dtype.kind not in "US":
        raise UsageError(f"{array_name} is not a list of strings; give the name of each class")
    if class_names.dtype.kind == "S":
        return np.char.decode(class_names, "utf-8")
    return class_names


def _image_blocks_of_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ImageBlocks:
    """Return the images in a member of a zip file; a block is unpacked only when it is read."""
    with archive.open(member) as file:
        header = _read_checked_header(file, member)
    read_blocks = partial(_read_image_blocks, archive, member)
    return ImageBlocks(header.shape, header.dtype, read_blocks)


def _read_image_blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[np.ndarray]:
    """Yield consecutive blocks of the images in a member of a zip file."""
    with archive.open(member) as file:
        header = _read_checked_header(file, member)
        image_count, *image_shape = header.shape
        images_per_block = count_images_per_block(header.shape, header.dtype)
        for first_image in range(0, image_count, images_per_block):
            block_length = min(images_per_block, image_count - first_image)
            block_header = ArrayHeader((block_length, *image_shape), header.dtype)
            yield read_content(file, member.filename, block_header)


def _read_small_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        header = _read_checked_header(file, member)
        if header.byte_count > _MAX_SMALL_BYTES:
            raise UsageError(
                f"array {member.filename} has {header.byte_count:,} bytes, far too many for labels "
                "or names; save one label for each image"
            )
        return read_content(file, member.filename, header)


def _read_checked_header(file: IO[bytes], member: zipfile.ZipInfo) -> ArrayHeader:
    """Read the header of an array; check that it agrees with the size in the zip file's list."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(
            f"array {member.filename} has another compression than np.savez uses; save the arrays "
            "again with np.savez"
        )
    header = read_header(file, member.filename)
    if header.byte_count != member.file_size - file.tell():
        raise UsageError(
            f"array {member.filename} is damaged: its header does not agree with its size; save "
            "the arrays again with np.savez"
        )
    return header
