"""Image files to be classified: found in folders, read one by one, drawn with what was said."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.data.images import read_image
from jaxcifar.errors import UsageError, printable
from jaxcifar.machine.files import replacing
from jaxcifar.trained.classifier import Predictions

MOST_FILES = 100_000
_COLUMNS = 5  # of a sheet
MOST_ON_SHEET = 200


class Photos(NamedTuple):
    """Files that were read.

    Attributes:
      names: their paths.
      pixels: `[N, 32, 32, 3] uint8`, as the network sees them.
      remarks: what is to be said of files, a line each: of what is left out of folders.
    """

    names: list[str]
    pixels: np.ndarray
    remarks: list[str]


def read_pictures(paths: Sequence[Path]) -> Photos:
    """Read image files, and those in folders, at any depth; hidden ones are passed over.

    A link is followed where it is named, and not in a folder.

    Raises:
      UsageError: a path named is no image, a folder has none, or there are too many files.
    """
    names: list[str] = []
    pixels: list[np.ndarray] = []
    remarks: list[str] = []
    for path in paths:
        inside = path.is_dir()
        files = _files(path) if inside else [path]
        found = len(names)
        for file in files:
            try:
                image, more = read_image(file if inside else os.path.realpath(file))
            except ValueError as error:
                if not inside:
                    raise UsageError(f"{file}: {error}") from error
                remarks.append(f"left out: {file}: {error}")
                continue
            names.append(str(file))
            if more:
                remarks.append(f"{file}: has several frames; the first is taken")
            pixels.append(image)
        if len(names) == found:
            raise UsageError(f"{path}: holds no images; give image files or folders of them")
    return Photos(names, np.stack(pixels), remarks)


def _files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):  # follows no links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        if len(files) > MOST_FILES:
            raise UsageError(f"{folder}: more than {MOST_FILES:,} files; give fewer")
    return files


def draw_sheet(path: Path, pictures: Photos, predictions: Predictions) -> None:
    """Draw images as the network sees them, and above each what it says.

    Args:
      path: of the file; its suffix tells the format.
      pictures: the first `MOST_ON_SHEET` of them are drawn.
      predictions: of them.

    Raises:
      OSError: it can't be written.
    """
    from matplotlib.figure import Figure

    count = min(len(pictures.names), MOST_ON_SHEET)
    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 2.4 * rows), layout="constrained")
    all_axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in all_axes:
        axes.axis("off")
    for place, axes in enumerate(all_axes[:count]):
        name = printable(Path(pictures.names[place]).name, 24)
        label, odds = printable(predictions.labels[place], 16), predictions.probabilities[place]
        axes.imshow(pictures.pixels[place], interpolation="nearest")
        axes.set_title(f"{name}\n{label} {odds.max():.0%}", fontsize=9, parse_math=False)
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."), dpi=100)
