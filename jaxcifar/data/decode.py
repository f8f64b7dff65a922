"""The images of a folder, decoded in threads to records."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.data.image_folder import ImageFile, ImageFolder, refuse
from jaxcifar.data.images import read_image
from jaxcifar.data.split import stratified
from jaxcifar.errors import RunError, first_line

_TEST_PART = 1 / 6  # as in CIFAR-10
_THREADS = 8  # at most: each may hold an image of 64 megapixels
_AT_ONCE = 64  # images that a thread takes at a time


def read_folder(folder: ImageFolder, say: Callable[[str], None]) -> dict[str, rec.Records]:
    """Read all images of a folder, to train on some and test on others.

    Args:
      folder: as it was listed.
      say: told what is left out of it, or read in part.

    Returns:
      "train" and "test" -> sorted records; the latter a sixth of every class, chosen by the images
      themselves, if the folder has no test images.

    Raises:
      RunError: an image can't be read, or there are too few to take some for testing.
    """
    records = read_parts(folder, say)
    return records if "test" in records else _take_test(folder.path, records["train"])


def read_parts(folder: ImageFolder, say: Callable[[str], None]) -> dict[str, rec.Records]:
    """Read all images of a folder: "train" and, if it has such, "test" -> sorted records.

    Raises:
      RunError: an image can't be read.
    """
    if folder.hidden:
        say(f"{folder.path}: {folder.hidden:,} hidden files and the like are left out.")
    classes = len(folder.class_names)
    wrong: list[str] = []
    animated: list[str] = []
    records = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of oddities in files that it can read
        for split, files in folder.splits.items():
            records[split] = _decode(files, classes, wrong, animated)
    refuse(folder.path, wrong)
    if animated:
        say(
            f"{folder.path}: {len(animated):,} files hold several frames, of which the first is "
            f"taken ({animated[0]})."
        )
    return {split: rec.sort(array) for split, array in records.items()}


def _decode(
    files: Sequence[ImageFile], classes: int, wrong: list[str], animated: list[str]
) -> np.ndarray:
    """Records of files, in their order; adds the names of those that are odd."""
    records = rec.empty(len(files), classes)

    def read(first: int) -> tuple[list[str], list[str]]:
        bad, moving = [], []
        for place in range(first, min(first + _AT_ONCE, len(files))):
            file = files[place]
            try:
                image, more = read_image(file.path)
            except ValueError as error:
                bad.append(f"{file.name} {first_line(error)}")
                continue
            rec.fill(records[place : place + 1], image[None], np.asarray([file.label]))
            if more:
                moving.append(file.name)
        return bad, moving

    # If this is interrupted, `map` cancels what has not begun.
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
        for bad, moving in threads.map(read, range(0, len(files), _AT_ONCE)):
            wrong += bad
            animated += moving
    return records


def _take_test(path: Path, records: np.ndarray) -> dict[str, rec.Records]:
    """Split sorted records; their order, and so the choice, depends on the images alone."""
    train, test = stratified(rec.labels(records), _TEST_PART)
    if not len(test):
        raise RunError(f"{path}: too few images to take some for testing; add some, or test/CLASS")
    return {"train": records[np.sort(train)], "test": records[np.sort(test)]}
