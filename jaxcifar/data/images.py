"""Any image that Pillow reads, brought to what the networks take: 32x32 pixels, RGB."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jaxcifar.array_types import UInt8
from jaxcifar.errors import first_line
from jaxcifar.machine.reading import open_regular_file

SIDE = 32
MAX_PIXELS = 64 * 10**6
_MAX_FILE_BYTES = 2**28  # of an image file; 64 megapixels of 32 bits are as much
# Pillow reads EPS by starting Ghostscript, which runs what the file says.
_NEVER = {"EPS"}


def to_rgb32(image: Image.Image) -> UInt8[np.ndarray, "32 32 3"]:
    """The middle square of an image, at 32x32 pixels.

    Turned as its EXIF data say, transparency on white, 16-bit grey scaled to 8 bits, resized by
    Pillow's bicubic filter, which widens when it shrinks an image and so leaves no aliases.

    Args:
      image: of any size and mode but float; of an animation its current frame.

    Raises:
      ValueError: it has too many pixels, or no such form as can be shown.
    """
    check_pixels(*image.size)
    image = ImageOps.exif_transpose(image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = _to_rgb(image.crop((left, top, left + side, top + side)))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("has float pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    """Grey values of 16 bits `[H, W]` -> `[H, W] uint8`; Pillow itself would cut them off."""
    if grey.min() < 0 or grey.max() > 65_535:
        raise ValueError("has pixels of 32 bits; save it with 8 or 16")
    return ((grey.astype(np.int64) * 255 + 32_767) // 65_535).astype(np.uint8)


def read_image(path: str | Path) -> tuple[UInt8[np.ndarray, "32 32 3"], bool]:
    """Read an image file that is not trusted.

    Args:
      path: of a regular file, which is all that is opened; links are not followed.

    Returns:
      what `to_rgb32` gives for its first frame, and whether it has more.

    Raises:
      ValueError: it can't be read; the message has the reason.
    """
    try:
        with open_regular_file(Path(path)) as file:
            if os.fstat(file.fileno()).st_size > _MAX_FILE_BYTES:
                raise ValueError(f"has more than {_MAX_FILE_BYTES // 2**20} MiB")
            with Image.open(file, formats=_formats()) as image:
                check_pixels(*image.size)
                more = getattr(image, "is_animated", False) and image.format != "MPO"
                image.load()
                return to_rgb32(image), more
    except Image.UnidentifiedImageError:
        raise ValueError("is no image that Pillow reads, or a damaged one") from None
    except Image.DecompressionBombError:
        raise ValueError(f"has more than {MAX_PIXELS:,} pixels") from None
    except ValueError:
        raise
    except OSError as error:  # Pillow's own have no number
        reason = f"is damaged ({first_line(error)})"
        raise ValueError(f"can't be read ({error.strerror})" if error.errno else reason) from error
    except Exception as error:  # a hostile or damaged image can raise anything
        raise ValueError(f"is damaged ({first_line(error)})") from error


def check_pixels(width: int, height: int) -> None:
    """Refuse what would take too much memory.

    Raises:
      ValueError: there are too many pixels, or none.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"has {width}x{height} pixels; from 1 to {MAX_PIXELS:,} are read")


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.OPEN if name not in _NEVER]
