"""Read any image that Pillow reads, and convert it to 32x32 RGB pixels."""

import contextlib
import io
import os
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from jaxcifar.array_types import UInt8
from jaxcifar.errors import first_line
from jaxcifar.machine.reading import open_regular_file

SIDE = 32
MAX_PIXELS = 64 * 10**6
_MAX_FILE_BYTES = 2**28  # the size of 64 megapixels of 32 bits
_UNSAFE_FORMATS = {"EPS"}  # Pillow starts Ghostscript, which runs programs in the file


def to_rgb32(image: Image.Image) -> UInt8[np.ndarray, "32 32 3"]:
    """Return the middle square of an image, resized to 32x32 pixels.

    The image is first rotated as its EXIF data say. Transparent pixels become white, and grey
    values of 16 bits are scaled to 8 bits. Pillow's bicubic filter resizes without aliasing.

    Args:
      image: an image of any size and any mode except float; of an animation, the current frame.

    Raises:
      ValueError: the image has too many pixels, or pixels of more than 16 bits.
    """
    check_pixels(*image.size)
    image = ImageOps.exif_transpose(image)
    side = min(image.size)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    square = _to_rgb(image.crop((left, top, left + side, top + side)))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("the image has float pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Scale 16-bit grey values `[H, W]` to uint8; Pillow would clip them instead."""
    if grey.min() < 0 or grey.max() > 65_535:
        raise ValueError("the image has pixels of 32 bits; save it with 8 or 16 bits")
    return ((grey.astype(np.int64) * 255 + 32_767) // 65_535).astype(np.uint8)


def read_image(path: str | Path) -> tuple[UInt8[np.ndarray, "32 32 3"], bool]:
    """Read an image file that is not trusted.

    Args:
      path: a regular file; links are not followed.

    Returns:
      the first frame, converted by `to_rgb32`, and True if the file has more frames.

    Raises:
      ValueError: the file can't be read.
    """
    return _read(open_regular_file(Path(path)))


def decode_image(content: bytes) -> UInt8[np.ndarray, "32 32 3"]:
    """Return the image in the content of a file that is not trusted; see `read_image`.

    Raises:
      ValueError: the content can't be read.
    """
    image, _ = _read(io.BytesIO(content))
    return image


def _read(
    source: contextlib.AbstractContextManager[IO[bytes]],
) -> tuple[UInt8[np.ndarray, "32 32 3"], bool]:
    try:
        with source as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size > _MAX_FILE_BYTES:
                raise ValueError(
                    f"the file has more than {_MAX_FILE_BYTES // 2**20} MiB; make it smaller"
                )
            with Image.open(file, formats=_formats()) as image:
                check_pixels(*image.size)
                is_animated = getattr(image, "is_animated", False) and image.format != "MPO"
                image.load()
                return to_rgb32(image), is_animated
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


def check_pixels(width: int, height: int) -> None:
    """Check that an image of this size does not take too much memory.

    Raises:
      ValueError: there are more than `MAX_PIXELS` pixels, or none.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"the image has {width}x{height} pixels; give 1 to {MAX_PIXELS:,} pixels")


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.OPEN if name not in _UNSAFE_FORMATS]
