"""Find image files, read them, and draw them with their predicted classes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.data.images import read_image
from jaxcifar.errors import UsageError, printable
from jaxcifar.machine.files import atomic_write
from jaxcifar.trained.classifier import Predictions

MAX_FILES = 100_000
_COLUMNS = 5  # images in a row of the drawing
MAX_ON_SHEET = 200


class Photos(NamedTuple):
    """Image files that were read.

    Attributes:
      names: paths of the files.
      pixels: the images as the network sees them, `[N, 32, 32, 3] uint8`.
      remarks: one line for each file that was left out or only read in part.
    """

    names: list[str]
    pixels: np.ndarray
    remarks: list[str]


def read_photos(paths: Sequence[Path]) -> Photos:
    """Read image files, and all image files in folders and their subfolders.

    Hidden files are ignored. A symbolic link is followed if it is one of `paths`, but not if it
    lies in a folder.

    Args:
      paths: image files and folders.

    Raises:
      UsageError: a file in `paths` is not an image, a folder has no images, or there are more than
        `MAX_FILES` files in a folder.
    """
    names: list[str] = []
    pixels: list[np.ndarray] = []
    remarks: list[str] = []
    for path in paths:
        is_folder = path.is_dir()
        files = _list_files(path) if is_folder else [path]
        count_before = len(names)
        for file in files:
            try:
                image, has_more_frames = read_image(file if is_folder else os.path.realpath(file))
            except ValueError as error:
                if not is_folder:
                    raise UsageError(f"{file}: {error}") from error
                remarks.append(f"left out: {file}: {error}")
                continue
            names.append(str(file))
            pixels.append(image)
            if has_more_frames:
                remarks.append(f"{file}: has several frames; only the first is classified")
        if len(names) == count_before:
            raise UsageError(f"{path}: contains no images; give image files or folders of images")
    return Photos(names, np.stack(pixels), remarks)


def _list_files(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, in order of their names."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):  # follows no links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        if len(files) > MAX_FILES:
            raise UsageError(f"{folder}: has more than {MAX_FILES:,} files; give a smaller folder")
    return files


def draw_sheet(path: Path, photos: Photos, predictions: Predictions) -> None:
    """Draw images with their names and predicted classes into one picture.

    Args:
      path: the picture's file; its suffix chooses the format.
      photos: the images; the first `MAX_ON_SHEET` are drawn.
      predictions: the predictions of the same images.

    Raises:
      OSError: the file can't be written.
    """
    from matplotlib.figure import Figure

    count = min(len(photos.names), MAX_ON_SHEET)
    rows = -(-count // _COLUMNS)  # rounded up
    figure = Figure(figsize=(2 * _COLUMNS, 2.4 * rows), layout="constrained")
    all_axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in all_axes:
        axes.axis("off")
    for number, axes in enumerate(all_axes[:count]):
        name = printable(Path(photos.names[number]).name, 24)
        label = printable(predictions.labels[number], 16)
        probability = predictions.probabilities[number].max()
        axes.imshow(photos.pixels[number], interpolation="nearest")
        axes.set_title(f"{name}\n{label} {probability:.0%}", fontsize=9, parse_math=False)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), dpi=100)
