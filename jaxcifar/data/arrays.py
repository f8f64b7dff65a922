"""Check the user's arrays of images and labels, and convert them to records."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

from jaxcifar.array_types import Shaped, UInt8
from jaxcifar.data import binary_records
from jaxcifar.data.images import require_pixel_count, to_square
from jaxcifar.data.label_forms import NamedLabels
from jaxcifar.data.resizing import Resizing
from jaxcifar.data.user_labels import number_classes
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.terminal import PrintLine

_CHANNEL_COUNTS = (1, 3)  # of grey images, and of colour images
MAX_IMAGES = 10**6  # at 32x32 pixels, their records take 3 GB
BLOCK_BYTES = 2**24  # of images at a time


@dataclasses.dataclass(frozen=True)
class ImageBlocks:
    """Images that are read in blocks, so that they need not be in memory together.

    Attributes:
      shape: shape of the array of all images, not checked yet.
      dtype: dtype of the array, not checked yet.
      read_blocks: function that returns an iterator over consecutive parts of the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read_blocks: Callable[[], Iterator[Shaped[np.ndarray, "block *of_image"]]]

    @classmethod
    def of_array(cls, array: Any) -> Self:
        """Return an `ImageBlocks` for images in memory; the blocks are slices of `array`."""
        array = np.asarray(array)
        block_length = count_images_per_block(array.shape, array.dtype)

        def read_blocks() -> Iterator[np.ndarray]:
            for start in range(0, len(array), block_length):
                yield array[start : start + block_length]

        return cls(array.shape, array.dtype, read_blocks)

    @property
    def has_channels_first(self) -> bool:
        """True for `[N, 3, H, W]` and `[N, 1, H, W]`, unless the last axis has length 1 or 3."""
        if len(self.shape) != 4:
            return False
        _, second_length, _, last_length = self.shape
        return second_length in _CHANNEL_COUNTS and last_length not in _CHANNEL_COUNTS

    def with_channels_last(self) -> "ImageBlocks":
        """Return these images with the channels as the last axis, `[N, H, W, channels]`.

        Images that are not channels first stay unchanged.
        """
        if not self.has_channels_first:
            return self
        image_count, channels, height, width = self.shape
        return ImageBlocks(
            (image_count, height, width, channels),
            self.dtype,
            lambda: (block.transpose(0, 2, 3, 1) for block in self.read_blocks()),
        )


def count_images_per_block(shape: Sequence[int], dtype: np.dtype) -> int:
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
    image_array: str
    label_array: str

    @classmethod
    def in_memory(cls, split: str, images: Any, labels: Any) -> Self:
        """Return arrays in memory as `x_SPLIT` and `y_SPLIT`, the names in error messages."""
        return cls(ImageBlocks.of_array(images), np.asarray(labels), f"x_{split}", f"y_{split}")


def convert_to_records(
    arrays_of_split: Mapping[str, SplitArrays],
    class_names: Iterable[Any] | None,
    resizing: Resizing | None = None,
    print_line: PrintLine | None = None,
    run_classes: Sequence[str] | None = None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Check images and labels, and convert them to sorted rows of label and pixel bytes (records).

    Args:
      arrays_of_split: "train" and other splits -> images and labels. Images are `[N, H, W, 3]`,
        `[N, H, W, 1]` or `[N, H, W] uint8`, or channels first. Images of another size than that of
        `resizing` are cropped to a square and resized. `number_classes` says what labels may be.
      class_names: names of the classes, by label. With None, the names are the numbers of the
        labels or, if the labels are strings, these strings in sorted order.
      resizing: height and width that images get; None for 32x32. The original sizes of the images
        are added to this object.
      print_line: prints a line if the images take much memory, or if the labels count from 1.
      run_classes: names of the classes of a run to evaluate, see `number_classes`; None to train.

    Returns:
      the sorted records of each split, by split name; and the class names.

    Raises:
      UsageError: an array has a wrong shape, type or value, and the message names the array; or
        the images take too much memory.
    """
    resizing = resizing or Resizing()
    images_of_split: dict[str, ImageBlocks] = {}
    labels_of_split: dict[str, NamedLabels] = {}
    for split, arrays in arrays_of_split.items():
        images = arrays.images.with_channels_last()
        _check_images(arrays.image_array, images)
        images_of_split[split] = images
        image_count = images.shape[0]
        labels_of_split[split] = NamedLabels(arrays.label_array, arrays.labels, image_count)
    if isinstance(class_names, str | Mapping):
        type_name = type(class_names).__name__
        raise UsageError(f"class_names is a {type_name}; give a list of names, by label")
    names_from_user = None if class_names is None else [str(name) for name in class_names]
    class_numbers_of_split, final_class_names = number_classes(
        labels_of_split, names_from_user, print_line, run_classes
    )
    class_count = len(final_class_names)
    total_image_count = sum(map(len, class_numbers_of_split.values()))
    resizing.require_memory(total_image_count, class_count, print_line)
    records_of_split: dict[str, binary_records.Records] = {}
    for split, class_numbers in class_numbers_of_split.items():
        unsorted_records = _pack_images(
            images_of_split[split], class_numbers, class_count, resizing
        )
        records_of_split[split] = binary_records.sort(unsorted_records)
    return records_of_split, final_class_names


def _pack_images(
    images: ImageBlocks, class_numbers: np.ndarray, class_count: int, resizing: Resizing
) -> binary_records.Records:
    """Return checked images and their class numbers as records, in the order of the images.

    Records are rows of label and pixel bytes. `resizing` gives the height and width
    of the images in the records.
    """
    records = binary_records.empty(len(class_numbers), class_count, resizing.size)
    first_row = 0
    for image_block in images.read_blocks():
        rows = slice(first_row, first_row + len(image_block))
        squares = _to_rgb_squares(image_block, resizing)
        binary_records.fill(records[rows], squares, class_numbers[rows])
        first_row = rows.stop
    return records


def _check_images(array_name: str, images: ImageBlocks) -> None:
    shape = images.shape
    if images.dtype != np.uint8:
        advice = "give uint8 from 0 to 255"
        if images.dtype.kind == "f":
            advice += f"; {_advice_for_floats(array_name, images)}"
        raise UsageError(f"{array_name} has {images.dtype} pixels; {advice}")
    are_grey = len(shape) == 3
    have_usable_channels = len(shape) == 4 and shape[3] in (1, 3)
    if not are_grey and not have_usable_channels:
        raise UsageError(
            f"{array_name} has shape {shape}; give [N, H, W, 3], [N, H, W, 1] or [N, H, W]"
        )
    image_count, height, width = shape[:3]
    if not 0 < image_count <= MAX_IMAGES:
        raise UsageError(
            f"{array_name} has {image_count:,} images; give 1 to {MAX_IMAGES:,} images"
        )
    try:
        require_pixel_count(width, height)
    except ValueError as error:
        raise UsageError(f"{array_name}: {error}") from None


def _advice_for_floats(array_name: str, images: ImageBlocks) -> str:
    """Return advice for the user on how to convert float images to uint8.

    If the first images have values above 1, the advice is to round; otherwise, to multiply by 255.
    If they have negative values, the advice is to undo the normalisation.
    """
    first_block = next(images.read_blocks(), np.zeros(0))
    lowest_value, highest_value = first_block.min(initial=0), first_block.max(initial=0)
    if lowest_value < 0:
        return (
            f"these go from {lowest_value:g} to {highest_value:g}: undo their normalisation first, "
            "because training normalises the images itself"
        )
    if highest_value > 1:
        return f"these go to {highest_value:g}: {array_name}.round().clip(0, 255).astype('uint8')"
    return f"if they go from 0 to 1, ({array_name} * 255).round().astype('uint8')"


def _to_rgb_squares(image_block: np.ndarray, resizing: Resizing) -> np.ndarray:
    """Return checked images as RGB squares `[n, size, size, 3] uint8`.

    `image_block` is `[n, H, W]`, `[n, H, W, 1]` or `[n, H, W, 3] uint8`. The original size of the
    images is added to `resizing`.
    """
    size = resizing.size
    image_count, height, width = image_block.shape[:3]
    resizing.original_sizes.add(min(height, width))
    is_grey = image_block.ndim == 3 or image_block.shape[3] == 1
    if (height, width) != (size, size):
        shape_for_pillow = (image_count, height, width) if is_grey else image_block.shape
        images_for_pillow = np.ascontiguousarray(image_block).reshape(shape_for_pillow)
        return np.stack([to_square(Image.fromarray(image), size) for image in images_for_pillow])
    if is_grey:
        grey_channel = image_block.reshape(image_count, height, width, 1)
        return np.repeat(grey_channel, 3, axis=3)
    return image_block


def convert_to_squares(
    array_name: str, images: Any, size: int = IMAGE_SIZE
) -> UInt8[np.ndarray, "images {size} {size} 3"]:
    """Check an array of images as training does, and convert the images to RGB squares.

    Args:
      array_name: name of the array, for messages.
      images: an array of images in any form that training takes, at least one image.
      size: height and width of the squares.

    Raises:
      UsageError: the array has a wrong shape, type or value.
    """
    blocks = ImageBlocks.of_array(images).with_channels_last()
    _check_images(array_name, blocks)
    resizing = Resizing(size)
    return np.concatenate([_to_rgb_squares(block, resizing) for block in blocks.read_blocks()])
