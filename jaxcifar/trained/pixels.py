"""Convert arrays, Pillow images and image files to the pixels that a network takes."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcifar.data.images import read_image, to_rgb32
from jaxcifar.errors import UsageError


def as_pixels(images: Any) -> np.ndarray:
    """Return images as pixels, `[N, 32, 32, 3] uint8`.

    Args:
      images: an array, a Pillow image, the path of an image file, or a list of these.

    Raises:
      UsageError: an image can't be read, or there is no image.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4:
        is_ready = images.shape[1:] == (32, 32, 3) and images.dtype == np.uint8
        if is_ready and len(images) > 0:
            return images
    elif isinstance(images, str | Path | Image.Image | np.ndarray):
        images = [images]
    elif not isinstance(images, Iterable):
        type_name = type(images).__name__
        raise UsageError(
            f"images: a {type_name} can't be read; give arrays, Pillow images or paths"
        )
    pixels = [_pixels_of_one(image, number) for number, image in enumerate(images)]
    if not pixels:
        raise UsageError("images: there is no image to classify; give at least one")
    return np.stack(pixels)


def _pixels_of_one(image: Any, number: int) -> np.ndarray:
    """Return one image as pixels, `[32, 32, 3] uint8`; errors mention its place, `number`."""
    try:
        if isinstance(image, str | Path):
            return read_image(os.path.realpath(image))[0]
        if isinstance(image, Image.Image):
            return to_rgb32(image)
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(f"has shape {array.shape} and type {array.dtype}, not [H, W, 3] uint8")
        return to_rgb32(Image.fromarray(array))
    except (OSError, ValueError) as error:  # also of a Pillow image, which is read only now
        name = image if isinstance(image, str | Path) else f"image number {number} (from 0)"
        raise UsageError(f"{name}: {error}") from error
