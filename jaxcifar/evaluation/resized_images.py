"""Resize the images of a set to the size that a run's network takes, and say so."""

from collections.abc import Collection

import numpy as np

from jaxcifar.array_types import Shaped, UInt8
from jaxcifar.data.arrays import ImageBlocks, convert_to_squares
from jaxcifar.data.resizing import describe_resizing
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.terminal import PrintLine


def resized(
    name: str, array: Shaped[np.ndarray, "images *of_image"], size: int, print_line: PrintLine
) -> UInt8[np.ndarray, "images {size} {size} 3"]:
    """Resize images to the size that a network takes, and print a line if their size changes.

    Args:
      name: name of the images, for messages.
      array: images in any shape and dtype that training accepts.
      size: height and width that the network takes.
      print_line: prints a line.

    Raises:
      UsageError: the array has a wrong shape, type or value.
    """
    pixels = convert_to_squares(name, array, size)
    height_and_width = ImageBlocks.of_array(array).with_channels_last().shape[1:3]
    say_resized(name, {min(height_and_width)}, size, print_line)
    return pixels


def say_resized(
    title: str, original_sizes: Collection[int], size: int, print_line: PrintLine
) -> None:
    """Print a line if images are resized for a network that takes another size than 32x32.

    `original_sizes` are the sizes of the images before they are resized, `size` the new size.
    """
    description = describe_resizing(original_sizes, size)
    if description and size != IMAGE_SIZE:
        print_line(f"{title}: {description}, the size that the network takes.")
