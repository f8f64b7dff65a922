"""Check the user's arrays of images and labels, and convert them to records."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

from jaxcifar.array_types import Shaped, UInt8
from jaxcifar.data import binary_records
from jaxcifar.data.images import check_pixels, to_square
from jaxcifar.data.resizing import Resizing
from jaxcifar.data.user_labels import NamedLabels, number_classes
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.terminal import PrintLine

MAX_IMAGES = 10**6  # at 32x32 pixels, their records take 3 GB
BLOCK_BYTES = 2**24  # of images at a time


@dataclasses.dataclass(frozen=True)
class ImageBlocks:
    """Images that are read in blocks, so that they need not be in memory together.

    Attributes:
      shape: shape of the array of all images, not checked yet.
      dtype: dtype of the array, not checked yet.
      blocks: returns an iterator over consecutive parts of the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[Shaped[np.ndarray, "block *of_image"]]]

    @classmethod
    def of(cls, array: Any) -> Self:
        """Return an array in memory as blocks of images."""
        array = np.asarray(array)
        step = block_length(array.shape, array.dtype)
        return cls(
            array.shape,
            array.dtype,
            lambda: (array[start : start + step] for start in range(0, len(array), step)),
        )

    @property
    def is_channels_first(self) -> bool:
        """True if the shape is `[N, 3, H, W]` or `[N, 1, H, W]`, and can't be channels last."""
        has_channels_last = self.shape[3:] in ((1,), (3,))
        return len(self.shape) == 4 and self.shape[1] in (1, 3) and not has_channels_last

    def channels_last(self) -> "ImageBlocks":
        """Return the images with channels last; images in other shapes stay as they are."""
        if not self.is_channels_first:
            return self
        count, channels, height, width = self.shape
        return ImageBlocks(
            (count, height, width, channels),
            self.dtype,
            lambda: (block.transpose(0, 2, 3, 1) for block in self.blocks()),
        )


def block_length(shape: Sequence[int], dtype: np.dtype) -> int:
    """Return the number of images that fit into a block of `BLOCK_BYTES`, but at least 1.

    Args:
      shape: shape of the array of all images.
      dtype: dtype of the array.
    """
    image_bytes = int(np.prod(shape[1:], dtype=float)) * dtype.itemsize
    return max(1, BLOCK_BYTES // max(1, image_bytes))


class SplitArrays(NamedTuple):
    """The images and labels of a split, not checked yet, and the names of their arrays."""

    images: ImageBlocks
    labels: Shaped[np.ndarray, "..."]
    image_name: str
    label_name: str


def records_of(
    splits: Mapping[str, SplitArrays],
    class_names: Iterable[Any] | None,
    resizing: Resizing | None = None,
    print_line: PrintLine | None = None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Check images and labels, and convert them to sorted records of label and pixel bytes.

    Args:
      splits: "train" and other splits -> images and labels. Images are `[N, H, W, 3]`,
        `[N, H, W, 1]` or `[N, H, W] uint8`, or channels first; `to_square` converts images of
        another size. `number_classes` says what labels may be.
      class_names: names of the classes, by label; None for the numbers of the labels, or for the
        strings in sorted order.
      resizing: the size that images get, and records the sizes that they had; None for 32x32.
      print_line: prints a line if the images take much memory.

    Returns:
      split -> sorted records; and the class names.

    Raises:
      UsageError: an array has a wrong shape, type or value, and the message names the array; or
        the images take too much memory.
    """
    resizing = resizing or Resizing()
    images = {split: arrays.images.channels_last() for split, arrays in splits.items()}
    labels = {}
    for split, arrays in splits.items():
        _check_images(arrays.image_name, images[split])
        count = images[split].shape[0]
        labels[split] = NamedLabels(arrays.label_name, arrays.labels, count)
    given_names = None if class_names is None else [str(name) for name in class_names]
    numbers, names = number_classes(labels, given_names)
    resizing.require_memory(sum(map(len, numbers.values())), len(names), print_line)
    records = {}
    for split in splits:
        array = binary_records.empty(len(numbers[split]), len(names), resizing.size)
        first = 0
        for block in images[split].blocks():
            rows = slice(first, first + len(block))
            squares = _to_squares(block, resizing)
            binary_records.fill(array[rows], squares, numbers[split][rows])
            first = rows.stop
        records[split] = binary_records.sort(array)
    return records, names


def _check_images(name: str, images: ImageBlocks) -> None:
    shape = images.shape
    if images.dtype != np.uint8:
        advice = "give uint8 from 0 to 255"
        if images.dtype.kind == "f":
            advice += f"; {_float_advice(name, images)}"
        raise UsageError(f"{name} has {images.dtype} pixels; {advice}")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
        raise UsageError(f"{name} has shape {shape}; give [N, H, W, 3], [N, H, W, 1] or [N, H, W]")
    if not 0 < shape[0] <= MAX_IMAGES:
        raise UsageError(f"{name} has {shape[0]:,} images; give 1 to {MAX_IMAGES:,} images")
    try:
        check_pixels(shape[2], shape[1])
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _float_advice(name: str, images: ImageBlocks) -> str:
    """Return how to convert images of floats, which go from 0 to 1 or to 255."""
    first_block = next(images.blocks(), np.zeros(0))
    highest = first_block.max(initial=0)
    if highest > 1:
        return f"these go to {highest:g}: {name}.round().clip(0, 255).astype('uint8')"
    return f"if they go from 0 to 1, ({name} * 255).round().astype('uint8')"


def _to_squares(block: np.ndarray, resizing: Resizing) -> np.ndarray:
    """Return a block of checked images as `[n, size, size, 3] uint8`."""
    size = resizing.size
    resizing.original_sizes.add(min(block.shape[1:3]))
    if block.ndim == 4 and block.shape[3] == 1:
        block = block[..., 0]
    if block.shape[1:3] != (size, size):
        block = np.ascontiguousarray(block)
        return np.stack([to_square(Image.fromarray(image), size) for image in block])
    return block if block.ndim == 4 else np.repeat(block[..., None], 3, axis=3)


def pixels_of(
    name: str, images: Any, size: int = IMAGE_SIZE
) -> UInt8[np.ndarray, "images {size} {size} 3"]:
    """Check an array of images as for training, and return it as squares of RGB pixels.

    Args:
      name: name of the array, for messages.
      images: an array of images in any form that training takes, at least one image.
      size: height and width of the squares.

    Raises:
      UsageError: the array has a wrong shape, type or value.
    """
    blocks = ImageBlocks.of(images).channels_last()
    _check_images(name, blocks)
    resizing = Resizing(size)
    return np.concatenate([_to_squares(block, resizing) for block in blocks.blocks()])
