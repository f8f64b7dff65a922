"""The data of the page's confusion matrix: counts, and images of wrong predictions."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from jaxcifar.errors import RunError
from jaxcifar.image_size import image_shape
from jaxcifar.report.classes import MANY_CLASSES
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.mistakes import MAX_CONFUSION_IMAGES
from jaxcifar.runs.plots import shortened

SPRITE_COLUMNS = 20  # images side by side in the sprite
_JPEG_QUALITY, _JPEG_SQUARE = 85, 8
_NAME_LETTERS = 40


def confusion_data(run: FinishedRun, max_bytes: int) -> dict[str, Any] | None:
    """Return the confusion matrix of a run with images of its wrong predictions.

    Args:
      run: the run.
      max_bytes: maximum size of the images; some images are left out if they have more.

    Returns:
      "names", "matrix" (absent for more than `MANY_CLASSES`), "sprite" (all images as one picture,
      side by side), "columns" of the sprite, "size" of an image and its "step" to the next in the
      sprite, and "cells": true class, predicted class, number of
      test images, and the place and probability of each of its images in the sprite. None for many
      classes without images, because nothing could be shown.
    """
    images = _read_images(run)
    sprite, count = _sprite_of_size(images["image"], max_bytes)
    classes, size = len(run.class_names), images["image"].shape[1]
    if classes > MANY_CLASSES and not count:
        return None
    data: dict[str, Any] = {
        "kind": "confusion",
        "names": [shortened(name, _NAME_LETTERS) for name in run.class_names],
        "columns": SPRITE_COLUMNS,
        "size": size,
        "step": size + -size % _JPEG_SQUARE,
        "sprite": f"data:image/jpeg;base64,{base64.b64encode(sprite).decode()}" if count else "",
        "cells": _cells(images, count, run.confusion),
    }
    if classes <= MANY_CLASSES:
        data["matrix"] = run.confusion.tolist()
    return data


def _read_images(run: FinishedRun) -> dict[str, np.ndarray]:
    """Return the content of `confusions.npz`; no images if the file is missing or damaged.

    Only images whose true and predicted class differ are returned, as the matrix counts them.
    """
    folder = RunFolder(run.path)
    try:
        arrays = folder.read_confusions(len(run.class_names))
    except RunError:
        return {"image": np.zeros((0, *image_shape()), np.uint8)}
    counts = run.confusion[arrays["label"], arrays["predicted"]]
    confidence = arrays["confidence"]
    fits = (counts > 0) & (arrays["label"] != arrays["predicted"])
    fits &= (confidence >= 0) & (confidence <= 1)
    return {name: array[fits][:MAX_CONFUSION_IMAGES] for name, array in arrays.items()}


def _cells(
    images: dict[str, np.ndarray], count: int, confusion: np.ndarray
) -> list[dict[str, Any]]:
    """Return the cells of the confusion matrix that have images, in the order of the images."""
    cells: dict[tuple[int, int], dict[str, Any]] = {}
    for place in range(count):
        label, predicted = int(images["label"][place]), int(images["predicted"][place])
        empty = {"true": label, "predicted": predicted, "images": []}
        cell = cells.setdefault((label, predicted), empty)
        cell["count"] = int(confusion[label, predicted])
        cell["images"].append([place, round(float(images["confidence"][place]), 4)])
    return list(cells.values())


def _sprite_of_size(images: np.ndarray, max_bytes: int) -> tuple[bytes, int]:
    """Return a picture of the first images that has at most `max_bytes`, and their number."""
    count = len(images)
    while count:
        picture = make_sprite(images[:count])
        if len(picture) <= max_bytes:
            return picture, count
        count = min(count - 1, count * max_bytes // len(picture))
    return b"", 0


def make_sprite(images: np.ndarray) -> bytes:
    """Return a JPEG of images `[N, size, size, 3] uint8` in rows of `SPRITE_COLUMNS`.

    JPEG encodes squares of 8 pixels by themselves, so no image touches its neighbours: images of
    other sizes get a margin.
    """
    margin = -images.shape[1] % _JPEG_SQUARE
    images = np.pad(images, ((0, 0), (0, margin), (0, margin), (0, 0)), "edge")
    size = images.shape[1]
    rows = -(-len(images) // SPRITE_COLUMNS)
    sheet = np.zeros((rows * SPRITE_COLUMNS, *images.shape[1:]), np.uint8)
    sheet[: len(images)] = images
    grid = sheet.reshape(rows, SPRITE_COLUMNS, size, size, 3).transpose(0, 2, 1, 3, 4)
    picture = Image.fromarray(grid.reshape(rows * size, SPRITE_COLUMNS * size, 3))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()
