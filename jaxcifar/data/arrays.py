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
      blocks: function that returns an iterator over consecutive parts of the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[Shaped[np.ndarray, "block *of_image"]]]

    @classmethod
    def of(cls, array: Any) -> Self:
        """Return an `ImageBlocks` for images in memory; the blocks are slices of `array`."""
        array = np.asarray(array)
        images_per_block = block_length(array.shape, array.dtype)

        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, len(array), images_per_block):
                yield array[start : start + images_per_block]

        return cls(array.shape, array.dtype, blocks)

    @property
    def is_channels_first(self) -> bool:
        """True for `[N, 3, H, W]` and `[N, 1, H, W]`, unless the last axis has length 1 or 3."""
        has_channels_last = self.shape[3:] in ((1,), (3,))
        return len(self.shape) == 4 and self.shape[1] in (1, 3) and not has_channels_last

    def channels_last(self) -> "ImageBlocks":
        """Return these images with the channels as the last axis, `[N, H, W, channels]`.

        Images that are not channels first stay unchanged.
        """
        if not self.is_channels_first:
            return self
        count, channels, height, width = self.shape
        return ImageBlocks(
            (count, height, width, channels),
            self.dtype,
            lambda: (block.transpose(0, 2, 3, 1) for block in self.blocks()),
        )


def block_length(shape: Sequence[int], dtype: np.dtype) -> int:
    """Return how many images are read at a time: as many as fit into `BLOCK_BYTES`, but at least 1.

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
    """Check images and labels, and convert them to sorted rows of label and pixel bytes (records).

    Args:
      splits: "train" and other splits -> images and labels. Images are `[N, H, W, 3]`,
        `[N, H, W, 1]` or `[N, H, W] uint8`, or channels first. Images of another size than that of
        `resizing` are cropped to a square and resized. `number_classes` says what labels may be.
      class_names: names of the classes, by label. With None, the names are the numbers of the
        labels or, if the labels are strings, these strings in sorted order.
      resizing: height and width that images get; None for 32x32. The original sizes of the images
        are added to this object.
      print_line: prints a line if the images take much memory, or if the labels count from 1.

    Returns:
      the sorted records of each split, by split name; and the class names.

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
    class_numbers, final_names = number_classes(labels, given_names, print_line)
    image_count = sum(map(len, class_numbers.values()))
    resizing.require_memory(image_count, len(final_names), print_line)
    records = {}
    for split in splits:
        unsorted = _pack_blocks(images[split], class_numbers[split], len(final_names), resizing)
        records[split] = binary_records.sort(unsorted)
    return records, final_names


def _pack_blocks(
    images: ImageBlocks, labels: np.ndarray, class_count: int, resizing: Resizing
) -> binary_records.Records:
    """Return checked images and their class numbers as records, in the order of the images.

    Records are rows of label and pixel bytes. `resizing` gives the height and width
    of the images in the records.
    """
    records = binary_records.empty(len(labels), class_count, resizing.size)
    start = 0
    for block in images.blocks():
        rows = slice(start, start + len(block))
        squares = _to_squares(block, resizing)
        binary_records.fill(records[rows], squares, labels[rows])
        start = rows.stop
    return records


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
    """Return the NumPy expression that converts float images to uint8, as advice for the user.

    The expression multiplies by 255 unless the first block of images has a value above 1.
    """
    first_block = next(images.blocks(), np.zeros(0))
    highest = first_block.max(initial=0)
    if highest > 1:
        return f"these go to {highest:g}: {name}.round().clip(0, 255).astype('uint8')"
    return f"if they go from 0 to 1, ({name} * 255).round().astype('uint8')"


def _to_squares(block: np.ndarray, resizing: Resizing) -> np.ndarray:
    """Return checked images as RGB squares `[n, size, size, 3] uint8`.

    `block` is `[n, H, W]`, `[n, H, W, 1]` or `[n, H, W, 3] uint8`. The original size of the images
    is added to `resizing`.
    """
    size = resizing.size
    height, width = block.shape[1:3]
    resizing.original_sizes.add(min(height, width))
    if block.ndim == 4 and block.shape[3] == 1:
        block = block[..., 0]
    if (height, width) != (size, size):
        block = np.ascontiguousarray(block)
        return np.stack([to_square(Image.fromarray(image), size) for image in block])
    is_grey = block.ndim == 3
    return np.repeat(block[..., None], 3, axis=3) if is_grey else block


def pixels_of(
    name: str, images: Any, size: int = IMAGE_SIZE
) -> UInt8[np.ndarray, "images {size} {size} 3"]:
    """Check an array of images as training does, and convert the images to RGB squares.

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
