"""Convert arrays, Pillow images, image files and folders to the pixels that a network takes."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcifar.data.arrays import convert_to_squares
from jaxcifar.data.images import read_image, to_square
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE, image_shape
from jaxcifar.trained.photos import Photos, read_photos

_DTYPE_KINDS_OF_PATHS = "OU"  # dtypes of arrays that may hold paths
_CHANNEL_COUNTS = (1, 3)  # of grey and RGB images
_CHANNEL_COUNTS_WITH_ALPHA = (2, 4)  # of grey and RGB images with transparency


def as_photos(images: Any, size: int = IMAGE_SIZE) -> Photos:
    """Convert images from any source to the pixels that a network takes, with their names.

    Damaged files in a folder are left out, with a Python warning for each.

    Args:
      images: an array of images in any form that training takes, an array of one image, a Pillow
        image, the path of an image file or of a folder, or a list of these.
      size: height and width of the images that the network takes.

    Returns:
      the images; the name of a file is its path, and the name of another image its number from 0.

    Raises:
      UsageError: an image can't be read, or there is no image.
    """
    if isinstance(images, str | Path | Image.Image):
        images = [images]
    elif hasattr(images, "__array__"):  # an array of NumPy, JAX or PyTorch
        array = np.asarray(images)
        may_hold_paths = array.dtype.kind in _DTYPE_KINDS_OF_PATHS
        if not may_hold_paths:
            return _numbered_photos(_pixels_of_array("images", array, size))
    elif not isinstance(images, Iterable):
        type_name = type(images).__name__
        raise UsageError(
            f"images: a {type_name} can't be read; give arrays, Pillow images or paths"
        )
    photos_of_elements = [
        _photos_of_element(element, number, size) for number, element in enumerate(images)
    ]
    if not photos_of_elements:
        raise UsageError("images: there is no image to classify; give at least one")
    names = [name for photos in photos_of_elements for name in photos.names]
    pixels = np.concatenate([photos.pixels for photos in photos_of_elements])
    return Photos(names, pixels, remarks=[])


def as_pixels(images: Any, size: int = IMAGE_SIZE) -> np.ndarray:
    """Convert images from any source to pixels, `[N, size, size, 3] uint8`.

    Args:
      images: arrays, Pillow images or paths, in any form that `as_photos` takes.
      size: height and width of the images that the network takes.

    Raises:
      UsageError: an image can't be read, or there is no image.
    """
    return as_photos(images, size).pixels


def _numbered_photos(pixels: np.ndarray) -> Photos:
    names = [str(number) for number in range(len(pixels))]
    return Photos(names, pixels, remarks=[])


def _pixels_of_array(name: str, array: np.ndarray, size: int) -> np.ndarray:
    """Return an array of many images or of one image as pixels, `[N, size, size, 3] uint8`.

    `name` is the name of the array, for messages.

    Raises:
      UsageError: the shape is wrong, or could be one colour image or three grey images.
    """
    has_final_form = array.shape[1:] == image_shape(size) and array.dtype == np.uint8
    if has_final_form and len(array) > 0:
        return array
    is_one_grey_image = array.ndim == 2
    is_one_image_with_channels = array.ndim == 3 and array.shape[-1] in _CHANNEL_COUNTS
    is_one_image_with_alpha = array.ndim == 3 and array.shape[-1] in _CHANNEL_COUNTS_WITH_ALPHA
    could_be_three_images = array.ndim == 3 and len(array) == 3
    if is_one_image_with_alpha:
        raise UsageError(
            f"{name} has shape {array.shape}, an image with an alpha channel; leave it out: "
            f"{name}[..., :-1]"
        )
    if could_be_three_images and not is_one_image_with_channels:
        raise UsageError(
            f"{name} has shape {array.shape}; give one image as [H, W, 3] with channels last "
            f"({name}.transpose(1, 2, 0)), or three grey images as [3, H, W, 1] ({name}[..., None])"
        )
    if is_one_grey_image or is_one_image_with_channels:
        array = array[None]
    return convert_to_squares(name, array, size)


def _photos_of_element(image: Any, number: int, size: int) -> Photos:
    """Read one element of a list of images: a path, a Pillow image or an array.

    The path of a folder gives several images. The element's index in the list, `number`, becomes
    its name. `size` is the height and width of the images that the network takes.
    """
    if isinstance(image, str | Path):
        return _photos_at(Path(image), size)
    name = f"image number {number} (from 0)"
    if isinstance(image, Image.Image):
        try:
            pixels = to_square(image, size)[None]
        except (OSError, ValueError) as error:  # a Pillow image is read only now
            raise UsageError(f"{name}: {error}") from error
        return Photos([str(number)], pixels, remarks=[])
    array = np.asarray(image)
    is_grey_image = array.ndim == 2
    possible_channel_counts = (array.shape[0], array.shape[-1]) if array.ndim == 3 else ()
    is_image_with_channels = any(count in _CHANNEL_COUNTS for count in possible_channel_counts)
    if not is_grey_image and not is_image_with_channels:
        raise UsageError(
            f"{name} has shape {array.shape}; in a list, give images of shape [H, W, 3], [H, W, 1] "
            "or [H, W]"
        )
    pixels = convert_to_squares(name, array[None], size)
    return Photos([str(number)], pixels, remarks=[])


def _photos_at(path: Path, size: int) -> Photos:
    """Read an image file, or the image files in a folder; warn about files that are left out."""
    if not path.is_dir():
        try:
            image = read_image(os.path.realpath(path), size)
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from error
        return Photos([str(path)], image.pixels[None], remarks=[])
    photos = read_photos([path], size)
    for remark in photos.remarks:
        warnings.warn(remark, stacklevel=2)
    return photos
