"""Resize the images of a set to the size that a run's network takes, and say so."""

from collections.abc import Collection

import numpy as np

from jaxcifar.array_types import Shaped, UInt8
from jaxcifar.data.arrays import ImageBlocks, convert_to_squares
from jaxcifar.data.resizing import describe_resizing
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.terminal import PrintLine


def resize_images(
    name: str,
    images: Shaped[np.ndarray, "images *of_image"],
    image_size: int,
    print_line: PrintLine,
) -> UInt8[np.ndarray, "images {image_size} {image_size} 3"]:
    """Resize images to the size that a network takes, and print a line if their size changes.

    Args:
      name: name of the images, for messages.
      images: images in any shape and dtype that training accepts.
      image_size: height and width that the network takes.
      print_line: prints a line.

    Raises:
      UsageError: the array has a wrong shape, type or value.
    """
    pixels = convert_to_squares(name, images, image_size)
    height, width = ImageBlocks.of_array(images).with_channels_last().shape[1:3]
    original_size = min(height, width)
    print_resizing(name, {original_size}, image_size, print_line)
    return pixels


def print_resizing(
    title: str, original_sizes: Collection[int], image_size: int, print_line: PrintLine
) -> None:
    """Print a line if images were resized, and the network takes another size than 32x32.

    `original_sizes` has the sizes of the images before they were resized. `image_size` is the size
    that the network takes.
    """
    description = describe_resizing(original_sizes, image_size)
    if description and image_size != IMAGE_SIZE:
        print_line(f"{title}: {description}, the size that the network takes.")
