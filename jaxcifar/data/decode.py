"""Decode the images of a folder, in threads."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.data.image_folder import ImageFile, ImageFolder, raise_problems
from jaxcifar.data.images import read_image
from jaxcifar.data.split import stratified
from jaxcifar.errors import RunError, first_line
from jaxcifar.machine.terminal import PrintLine

_TEST_FRACTION = 1 / 6  # as in CIFAR-10
_MAX_THREADS = 8  # each may hold an image of 64 megapixels
_BLOCK = 64  # images that a thread decodes at a time


def read_folder(folder: ImageFolder, print_line: PrintLine) -> dict[str, rec.Records]:
    """Read the training and test images of a folder.

    A folder without test images is split: a sixth of every class is for testing. The choice depends
    on the images only, not on the names of their files.

    Args:
      folder: the folder.
      print_line: prints a line about files that are ignored, or read in part.

    Returns:
      "train" and "test" -> sorted records.

    Raises:
      RunError: an image can't be read, or there are too few images for the split.
    """
    records = read_splits(folder, print_line)
    return records if "test" in records else _split_off_test(folder.path, records["train"])


def read_splits(folder: ImageFolder, print_line: PrintLine) -> dict[str, rec.Records]:
    """Read the images of each split that a folder has.

    Args:
      folder: the folder.
      print_line: prints a line about files that are ignored, or read in part.

    Returns:
      "train" and, if the folder has it, "test" -> sorted records.

    Raises:
      RunError: an image can't be read.
    """
    if folder.hidden:
        print_line(f"{folder.path}: {folder.hidden:,} hidden files and the like are ignored.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about oddities in files that it can read
        decoded = {
            split: _decode(files, len(folder.class_names)) for split, files in folder.splits.items()
        }
    raise_problems(folder.path, [problem for part in decoded.values() for problem in part.problems])
    animated = [name for part in decoded.values() for name in part.animated]
    if animated:
        print_line(
            f"{folder.path}: {len(animated):,} files hold several frames; only the first frame is "
            f"used ({animated[0]})."
        )
    return {split: rec.sort(part.records) for split, part in decoded.items()}


class _Decoded(NamedTuple):
    """Records of images, messages about damaged files, and the names of files with many frames."""

    records: np.ndarray
    problems: list[str]
    animated: list[str]


def _decode(files: Sequence[ImageFile], classes: int) -> _Decoded:
    records = rec.empty(len(files), classes)
    problems: list[str] = []
    animated: list[str] = []

    def decode_block(first: int) -> None:
        for number in range(first, min(first + _BLOCK, len(files))):
            file = files[number]
            try:
                image, has_more_frames = read_image(file.path)
            except ValueError as error:
                problems.append(f"{file.name}: {first_line(error)}")
                continue
            rec.fill(records[number : number + 1], image[None], np.asarray([file.label]))
            if has_more_frames:
                animated.append(file.name)

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as threads:
        # If this is interrupted, `map` cancels the blocks that have not begun.
        list(threads.map(decode_block, range(0, len(files), _BLOCK)))
    return _Decoded(records, sorted(problems), sorted(animated))


def _split_off_test(path: Path, records: np.ndarray) -> dict[str, rec.Records]:
    """Split sorted records into "train" and "test", which gets a sixth of every class."""
    train, test = stratified(rec.labels(records), _TEST_FRACTION)
    if not len(test):
        raise RunError(
            f"{path}: too few images to take a sixth for testing; add images, or folders test/CLASS"
        )
    return {"train": records[np.sort(train)], "test": records[np.sort(test)]}
