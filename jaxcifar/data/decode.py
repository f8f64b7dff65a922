"""Decode the images of a folder, in threads."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Integer, UInt8
from jaxcifar.data import binary_records
from jaxcifar.data.folder_problems import raise_problems
from jaxcifar.data.image_folder import ImageFile, ImageFolder
from jaxcifar.data.images import hide_pillow_warnings, read_image
from jaxcifar.data.resizing import Resizing
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.terminal import PrintLine

MAX_THREADS = 8  # each may hold an image of 64 megapixels
_FILES_PER_BLOCK = 64  # images that a thread decodes at a time


def read_splits(
    folder: ImageFolder, print_line: PrintLine, resizing: Resizing | None = None
) -> dict[str, binary_records.Records]:
    """Read the images of each split that a folder has.

    Args:
      folder: the names and labels of the image files.
      print_line: prints a line about ignored files, and about animations, of which only the first
        frame is read.
      resizing: height and width that images get; None for 32x32. The original sizes of the images
        are added to this object.

    Returns:
      the sorted records of "train", and of "test" and "val" if the folder has them.

    Raises:
      RunError: an image can't be read, or the images take too much memory.
    """
    resizing = resizing or Resizing()
    file_count = sum(map(len, folder.files_of_split.values()))
    try:
        resizing.require_memory(file_count, len(folder.class_names), print_line)
    except UsageError as error:
        raise RunError(f"{folder.path}: {error}") from error
    for note in folder.notes:
        print_line(note)
    if folder.ignored_count:
        print_line(
            f"{folder.path}: {folder.ignored_count:,} hidden files and the like are ignored."
        )
    with hide_pillow_warnings():
        decoded_images_of_split = {
            split: _decode_files(files, len(folder.class_names), resizing)
            for split, files in folder.files_of_split.items()
        }
    problems: list[str] = []
    animated_files: list[str] = []
    for decoded in decoded_images_of_split.values():
        problems += decoded.problems
        animated_files += decoded.animated_files
    raise_problems(folder.path, problems)
    if animated_files:
        print_line(
            f"{folder.path}: {len(animated_files):,} files hold several frames; only the first "
            f"frame is used ({animated_files[0]})."
        )
    return {
        split: binary_records.sort(decoded.records)
        for split, decoded in decoded_images_of_split.items()
    }


def find_file_names(
    folder: ImageFolder,
    images: UInt8[np.ndarray, "images size size 3"],
    labels: Integer[np.ndarray, "images"],
    split: str = "train",
) -> list[str]:
    """Return the name of the file that each image in `images` was read from.

    The files of the same split and classes are decoded and compared with the images. If several
    files have the pixels and the label of an image, the name of the first file is returned; if no
    file has them, "".

    Args:
      folder: the folder that the images were read from.
      images: images as `read_splits` converted them: squares of one size.
      labels: the label that each image has in the folder.
      split: the split of the images. In a folder without this split, "train" is searched.
    """
    class_count = len(folder.class_names)
    labels_of_images = set(labels.tolist())
    split_files = folder.files_of_split.get(split, folder.files_of_split["train"])
    candidate_files = [file for file in split_files if file.label in labels_of_images]
    with hide_pillow_warnings():
        decoded = _decode_files(candidate_files, class_count, Resizing(images.shape[1]))
    file_name_of_record: dict[bytes, str] = {}
    for file, record in zip(candidate_files, decoded.records, strict=True):
        file_name_of_record.setdefault(record.tobytes(), file.printable_path)
    records = binary_records.pack(images, labels, class_count)
    return [file_name_of_record.get(record.tobytes(), "") for record in records]


class _DecodedImages(NamedTuple):
    """Records of images, messages about damaged files, and the names of files with many frames."""

    records: np.ndarray
    problems: list[str]
    animated_files: list[str]


def _decode_files(
    files: Sequence[ImageFile], class_count: int, resizing: Resizing
) -> _DecodedImages:
    records = binary_records.empty(len(files), class_count, resizing.size)

    def decode_block(first_row: int) -> _DecodedImages:
        rows = slice(first_row, first_row + _FILES_PER_BLOCK)
        return _decode_into(records[rows], files[rows], resizing)

    cpu_count = os.cpu_count() or 1
    with ThreadPoolExecutor(min(MAX_THREADS, cpu_count)) as threads:
        # If this is interrupted, `map` cancels the blocks that have not begun.
        blocks = list(threads.map(decode_block, range(0, len(files), _FILES_PER_BLOCK)))
    problems = [problem for block in blocks for problem in block.problems]
    animated_files = [name for block in blocks for name in block.animated_files]
    return _DecodedImages(records, sorted(problems), sorted(animated_files))


def _decode_into(
    records: np.ndarray, files: Sequence[ImageFile], resizing: Resizing
) -> _DecodedImages:
    """Decode each image file into its row of `records`; return the records and the problems.

    The row of a damaged file is not written, and a message about the file is among the problems.
    """
    problems: list[str] = []
    animated_files: list[str] = []
    for index, file in enumerate(files):
        try:
            image = read_image(file.path, resizing.size)
        except ValueError as error:
            problems.append(f"{file.printable_path}: {first_line(error)}")
            continue
        record_of_image = records[index : index + 1]
        binary_records.fill(record_of_image, image.pixels[None], np.asarray([file.label]))
        resizing.original_sizes.add(image.original_size)
        if image.has_more_frames:
            animated_files.append(file.printable_path)
    return _DecodedImages(records, problems, animated_files)
