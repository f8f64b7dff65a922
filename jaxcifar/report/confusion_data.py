"""The data of the page's confusion matrix: counts, and images of wrong predictions."""

import base64
import io
import math
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
_JPEG_QUALITY, _JPEG_SQUARE_PIXELS = 85, 8
_MAX_NAME_LETTERS = 40


def confusion_data(run: FinishedRun, max_bytes: int) -> dict[str, Any] | None:
    """Return the confusion matrix of a run, with images of wrong predictions, for the HTML page.

    Args:
      run: the run.
      max_bytes: maximum size of all images together; images that exceed it are left out.

    Returns:
      a dict, or None if there are more than `MANY_CLASSES` classes and no images. Its keys:
        "kind": always "confusion".
        "names": the names of the classes.
        "matrix": the counts; missing if there are more than `MANY_CLASSES` classes.
        "sprite": one picture with all images side by side, as a data URL; "" without images.
        "columns": the number of images in each row of the picture.
        "size": the height and width of an image in pixels.
        "step": the distance from one image to the next in pixels.
        "cells": the cells of the matrix that have images, as `_cells_with_images` returns them.
    """
    mistakes = _read_mistakes_with_images(run)
    images = mistakes["image"]
    sprite, images_in_sprite = _make_limited_sprite(images, max_bytes)
    image_size = images.shape[1]
    has_images = images_in_sprite > 0
    has_counts = len(run.class_names) <= MANY_CLASSES
    if not (has_images or has_counts):
        return None  # the page would have nothing to show
    sprite_text = base64.b64encode(sprite).decode()
    data: dict[str, Any] = {
        "kind": "confusion",
        "names": [shortened(name, _MAX_NAME_LETTERS) for name in run.class_names],
        "columns": SPRITE_COLUMNS,
        "size": image_size,
        "step": image_size + _sprite_margin(image_size),
        "sprite": f"data:image/jpeg;base64,{sprite_text}" if has_images else "",
        "cells": _cells_with_images(mistakes, images_in_sprite, run.confusion),
    }
    if has_counts:
        data["matrix"] = run.confusion.tolist()
    return data


def _read_mistakes_with_images(run: FinishedRun) -> dict[str, np.ndarray]:
    """Return images of a run's wrong predictions from `confusions.npz` in the run folder.

    Images that contradict the run's confusion matrix are left out.

    Returns:
      a dict of arrays with one element per image: "image" (pixels), "label" (true class),
      "predicted" (predicted class) and "confidence" (probability of that class, 0 to 1). If the
      file is missing or damaged, the dict has only "image", an array of no images.
    """
    folder = RunFolder(run.path)
    try:
        arrays = folder.read_confusions(len(run.class_names))
    except RunError:
        return {"image": np.zeros((0, *image_shape()), np.uint8)}
    label, predicted, confidence = arrays["label"], arrays["predicted"], arrays["confidence"]
    is_mistake = label != predicted
    is_in_confusion_matrix = run.confusion[label, predicted] > 0
    is_probability = (confidence >= 0) & (confidence <= 1)
    is_valid = is_mistake & is_in_confusion_matrix & is_probability
    return {name: array[is_valid][:MAX_CONFUSION_IMAGES] for name, array in arrays.items()}


def _cells_with_images(
    mistakes: dict[str, np.ndarray], image_count: int, confusion: np.ndarray
) -> list[dict[str, Any]]:
    """Return the cells of a confusion matrix that have images, for the HTML page.

    Args:
      mistakes: arrays "label", "predicted" and "confidence", with one element per image.
      image_count: number of images to use, from the first one on.
      confusion: the confusion matrix: true classes as rows, predicted classes as columns.

    Returns:
      a dict for each cell: the class numbers "true" and "predicted"; the "count" of test images in
      the cell; and "images", with the index and the predicted probability of each image.
    """
    cells: dict[tuple[int, int], dict[str, Any]] = {}
    for index in range(image_count):
        label, predicted = int(mistakes["label"][index]), int(mistakes["predicted"][index])
        new_cell = {"true": label, "predicted": predicted, "images": []}
        cell = cells.setdefault((label, predicted), new_cell)
        cell["count"] = int(confusion[label, predicted])
        probability = round(float(mistakes["confidence"][index]), 4)
        cell["images"].append([index, probability])
    return list(cells.values())


def _make_limited_sprite(images: np.ndarray, max_bytes: int) -> tuple[bytes, int]:
    """Return one JPEG file with several images, and the number of images in it.

    The file has as many of the first images as fit in `max_bytes`.
    """
    image_count = len(images)
    while image_count:
        sprite = make_sprite(images[:image_count])
        if len(sprite) <= max_bytes:
            return sprite, image_count
        estimated_count = image_count * max_bytes // len(sprite)
        image_count = min(image_count - 1, estimated_count)
    return b"", 0


def _sprite_margin(image_size: int) -> int:
    """Return how many pixels to add to an image's side to make it a multiple of JPEG's squares.

    Both sizes are in pixels; JPEG's squares are 8 pixels wide.
    """
    squares = math.ceil(image_size / _JPEG_SQUARE_PIXELS)
    return squares * _JPEG_SQUARE_PIXELS - image_size


def make_sprite(images: np.ndarray) -> bytes:
    """Return one JPEG file of many images side by side, in rows of `SPRITE_COLUMNS` images.

    JPEG encodes squares of 8 x 8 pixels. Images of other sizes get a margin, so that no square
    mixes two images.

    Args:
      images: pixels from 0 to 255, `[N, size, size, 3] uint8`.
    """
    image_count, image_size, _, _ = images.shape
    margin = _sprite_margin(image_size)
    tile_size = image_size + margin
    rows = math.ceil(image_count / SPRITE_COLUMNS)
    tiles = np.zeros((rows * SPRITE_COLUMNS, tile_size, tile_size, 3), np.uint8)
    # The last row may end in black tiles, without an image.
    tiles[:image_count] = np.pad(images, ((0, 0), (0, margin), (0, margin), (0, 0)), "edge")
    tiles_by_row_column_y_x = tiles.reshape(rows, SPRITE_COLUMNS, tile_size, tile_size, 3)
    tiles_by_row_y_column_x = tiles_by_row_column_y_x.swapaxes(1, 2)
    sprite_height, sprite_width = rows * tile_size, SPRITE_COLUMNS * tile_size
    sprite_pixels = tiles_by_row_y_column_x.reshape(sprite_height, sprite_width, 3)
    file = io.BytesIO()
    Image.fromarray(sprite_pixels).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()
