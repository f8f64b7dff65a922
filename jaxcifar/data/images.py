"""Read any image that Pillow reads, and convert it to a square of RGB pixels."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from jaxcifar.array_types import UInt8
from jaxcifar.errors import first_line
from jaxcifar.image_size import IMAGE_SIZE, LARGEST_STORED_SIZE
from jaxcifar.machine.reading import open_regular_file

MAX_PIXELS = 64 * 10**6
_MAX_16_BITS = 2**16 - 1  # the largest value of 16 bits
_MAX_FILE_BYTES = 2**28  # the size of 64 megapixels of 32 bits
_UNSAFE_FORMATS = {"EPS"}  # Pillow starts Ghostscript, which runs programs in the file


class DecodedImage(NamedTuple):
    """An image that was read.

    Attributes:
      pixels: the middle square, resized.
      original_size: height and width of the middle square, before it was resized.
      has_more_frames: True if only the first of several frames was read.
    """

    pixels: UInt8[np.ndarray, "size size 3"]
    original_size: int
    has_more_frames: bool


def to_square(image: Image.Image, size: int = IMAGE_SIZE) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Return the middle square of an image, resized to `size` x `size` pixels.

    The image is first rotated as its EXIF data say. Transparent pixels become white, and grey
    values of 16 bits are scaled to 8 bits. Pillow's bicubic filter resizes without aliasing.

    Args:
      image: an image of any size and any mode except float. Of an animation, the current frame is
        used.
      size: height and width of the result.

    Raises:
      ValueError: the image has too many pixels, or pixels of more than 16 bits.
    """
    require_pixel_count(*image.size)
    image = ImageOps.exif_transpose(image)
    side = min(image.size)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    square = _to_rgb(image.crop((left, top, left + side, top + side)))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("the image has float pixels; save it with 8 or 16 bits")
    has_integers_above_8_bits = image.mode.startswith("I")
    if has_integers_above_8_bits:
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    has_transparency = image.mode.endswith(("A", "a")) or "transparency" in image.info
    if has_transparency:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Scale 16-bit grey values `[H, W]` to uint8; Pillow would clip them instead."""
    if grey.min() < 0 or grey.max() > _MAX_16_BITS:
        raise ValueError("the image has pixels of 32 bits; save it with 8 or 16 bits")
    half = _MAX_16_BITS // 2  # added before the division, so that the result is rounded
    return ((grey.astype(np.int64) * 255 + half) // _MAX_16_BITS).astype(np.uint8)


@contextlib.contextmanager
def hide_pillow_warnings() -> Iterator[None]:
    """Hide the warnings in the `with` block; Pillow warns about oddities in files it can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_image(path: str | Path, size: int = IMAGE_SIZE) -> DecodedImage:
    """Read an image file that is not trusted, and convert it to a square of RGB pixels.

    Args:
      path: a regular file; links are not followed.
      size: height and width to which `to_square` converts the first frame.

    Raises:
      ValueError: the file can't be read.
    """
    return _read_and_decode(open_regular_file(Path(path)), size)


def decode_image(content: bytes, size: int = IMAGE_SIZE) -> DecodedImage:
    """Decode the content of an untrusted image file, and convert it to a square of RGB pixels.

    Args:
      content: the content of an image file.
      size: height and width to which `to_square` converts the first frame.

    Raises:
      ValueError: the content can't be read.
    """
    return _read_and_decode(io.BytesIO(content), size)


def _read_and_decode(
    source: contextlib.AbstractContextManager[IO[bytes]], size: int
) -> DecodedImage:
    """Decode the image in an open file; turn any error into a `ValueError` of one line."""
    try:
        with source as file:
            return _decode(file, size)
    except Image.UnidentifiedImageError:
        raise ValueError("the file is not an image that Pillow reads, or is damaged") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"the image has more than {MAX_PIXELS:,} pixels; make it smaller"
        ) from None
    except ValueError:
        raise
    except Exception as error:  # a hostile or damaged image can raise anything
        if isinstance(error, OSError) and error.errno:  # Pillow's own errors have no number
            raise ValueError(f"the file can't be read ({error.strerror})") from error
        raise ValueError(f"the image is damaged ({first_line(error)})") from error


def _decode(file: IO[bytes], size: int) -> DecodedImage:
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file_bytes > _MAX_FILE_BYTES:
        raise ValueError(f"the file has more than {_MAX_FILE_BYTES // 2**20} MiB; make it smaller")
    with Image.open(file, formats=_safe_formats()) as image:
        require_pixel_count(*image.size)
        has_several_frames = bool(getattr(image, "is_animated", False))
        shows_one_scene = image.format == "MPO"  # pictures from several lenses of a camera
        is_animated = has_several_frames and not shows_one_scene
        image.load()
        shorter_side = min(image.size)
        return DecodedImage(to_square(image, size), shorter_side, is_animated)


def require_pixel_count(width: int, height: int) -> None:
    """Check that an image of this width and height does not take too much memory.

    Raises:
      ValueError: there are more than `MAX_PIXELS` pixels, or none.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"the image has {width}x{height} pixels; give 1 to {MAX_PIXELS:,} pixels")


def _safe_formats() -> list[str]:
    Image.init()
    return [name for name in Image.OPEN if name not in _UNSAFE_FORMATS]


def shrink_to_stored_size(
    images: UInt8[np.ndarray, "*images size size 3"],
) -> UInt8[np.ndarray, "*images new_size new_size 3"]:
    """Reduce images to `LARGEST_STORED_SIZE` pixels a side; smaller images stay unchanged.

    Each new pixel is the mean of the pixels that it replaces.
    """
    *outer_axes, height, width, channels = images.shape
    if height <= LARGEST_STORED_SIZE:
        return images
    side = LARGEST_STORED_SIZE
    flat_images = images.reshape(-1, height, width, channels)
    shrunk_images = np.empty((len(flat_images), side, side, channels), np.uint8)
    for number, image in enumerate(flat_images):
        resized = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        shrunk_images[number] = np.asarray(resized)
    return shrunk_images.reshape(*outer_axes, side, side, channels)
