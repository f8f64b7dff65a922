"""Images and labels as CIFAR-10's binary records, in one canonical order.

A record is one label byte and the pixel bytes, channel by channel: 3,072 of an image of 32x32. With
more than 256 classes the label has two bytes, the higher first. Records are sorted as byte strings,
so their order does not depend on the archive or file format that they come from. Therefore their
SHA-256 is a fingerprint of the images and labels, and the split and the training order are the same
for every source.

The length of a record says how large its image is: the pixel bytes are a multiple of three, so the
remainder of a division by three is the number of label bytes.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np

from jaxcifar.array_types import Float32, Int32, Int64, Integer, UInt8
from jaxcifar.image_size import IMAGE_SIZE

CHANNELS = 3
PIXEL_BYTES = CHANNELS * IMAGE_SIZE**2  # of CIFAR's own files
RECORD_BYTES = 1 + PIXEL_BYTES
SPLITS = ("train", "test")
MAX_CLASSES = 2**16
ONE_BYTE_CLASSES = 256  # the largest number of classes whose labels fit into one byte
_MAX_BLOCK_BYTES = 2**26  # of records that are converted at a time
STD_OF_CONSTANT_CHANNEL = 1.0  # the standard deviation of any other channel is at most 0.5

Records = UInt8[np.ndarray, "_ record_bytes"]  # of any number of images


def bytes_per_record(class_count: int, image_size: int = IMAGE_SIZE) -> int:
    """Return the length in bytes of an image's record: one or two label bytes, and the RGB pixels.

    Args:
      class_count: number of classes; the label has two bytes if there are more than 256.
      image_size: height and width of the images.
    """
    label_byte_count = 1 if class_count <= ONE_BYTE_CLASSES else 2
    return label_byte_count + CHANNELS * image_size**2


def empty(
    image_count: int, class_count: int, image_size: int = IMAGE_SIZE
) -> UInt8[np.ndarray, "{image_count} record_bytes"]:
    """Return an uninitialised array for the records of `image_count` images, one row each.

    `class_count` is the number of classes, and `image_size` the height and width of the images.
    """
    return np.empty((image_count, bytes_per_record(class_count, image_size)), np.uint8)


def image_size_of(records: Records) -> int:
    """Return the height and width of the images in records."""
    pixel_byte_count = records.shape[1] - _label_byte_count(records)
    return math.isqrt(pixel_byte_count // CHANNELS)


def _label_byte_count(records: Records) -> int:
    """Return the number of label bytes in each record; the pixel bytes are a multiple of 3."""
    return records.shape[1] % CHANNELS


def fill(
    records: UInt8[np.ndarray, "images record_bytes"],
    images: UInt8[np.ndarray, "images size size 3"],
    labels: Integer[np.ndarray, "images"],
) -> None:
    """Write images and labels into existing records: one row of label and pixel bytes each."""
    labels = np.asarray(labels)
    label_byte_count = _label_byte_count(records)
    low_bytes = labels & 255
    records[:, label_byte_count - 1] = low_bytes
    if label_byte_count == 2:
        high_bytes = labels >> 8
        records[:, 0] = high_bytes
    channels_first = images.transpose(0, 3, 1, 2)
    records[:, label_byte_count:] = channels_first.reshape(len(images), -1)


def pack(
    images: UInt8[np.ndarray, "images size size 3"],
    labels: Integer[np.ndarray, "images"],
    class_count: int = ONE_BYTE_CLASSES,
) -> UInt8[np.ndarray, "images record_bytes"]:
    """Return images and labels as records (rows of label and pixel bytes), in the same order.

    `class_count` is the number of classes; labels have two bytes if there are more than 256.
    """
    records = empty(len(images), class_count, images.shape[1])
    fill(records, images, labels)
    return records


def unpack(
    records: UInt8[np.ndarray, "all record_bytes"],
    chosen_positions: Int64[np.ndarray, "images"] | None = None,
) -> tuple[UInt8[np.ndarray, "images size size 3"], Int32[np.ndarray, "images"]]:
    """Convert records (rows of label and pixel bytes) to images and labels, undoing `pack`.

    The images are converted in blocks, so that no second copy of all of them is in memory.

    Args:
      records: the records, maybe mapped into memory.
      chosen_positions: the positions of the records to return, in this order; None for all.
    """
    image_size = image_size_of(records)
    image_count = len(records) if chosen_positions is None else len(chosen_positions)
    images = np.empty((image_count, image_size, image_size, CHANNELS), np.uint8)
    for rows, block in _record_blocks(records, chosen_positions):
        channels_first = pixels(block).reshape(-1, CHANNELS, image_size, image_size)
        images[rows] = channels_first.transpose(0, 2, 3, 1)
    if chosen_positions is None:
        return images, labels(records)
    return images, labels(records)[chosen_positions]


def _record_blocks(
    records: Records, chosen_positions: np.ndarray | None
) -> Iterator[tuple[slice, Records]]:
    """Yield (slice, records) for blocks of the chosen records, of up to `_MAX_BLOCK_BYTES` each.

    The slice is the block's place among the chosen records. `chosen_positions` has the positions of
    these records, in the order to yield them; None means all records.
    """
    record_count = len(records) if chosen_positions is None else len(chosen_positions)
    records_per_block = max(1, _MAX_BLOCK_BYTES // records.shape[1])
    for first_row in range(0, record_count, records_per_block):
        rows = slice(first_row, min(first_row + records_per_block, record_count))
        if chosen_positions is None:
            yield rows, records[rows]
        else:
            yield rows, records[chosen_positions[rows]]


def pixels(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> UInt8[np.ndarray, "images pixel_bytes"]:
    """Return the pixel bytes of records, without label bytes: first all red, then green, blue."""
    return records[:, _label_byte_count(records) :]


def labels(records: UInt8[np.ndarray, "images record_bytes"]) -> Int32[np.ndarray, "images"]:
    """Return the label of each record: the number in its one or two label bytes."""
    label_columns = records[:, : _label_byte_count(records)].astype(np.int32)
    if label_columns.shape[1] == 1:
        return label_columns[:, 0]
    high_bytes, low_bytes = label_columns.T
    return 256 * high_bytes + low_bytes


def sort(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> UInt8[np.ndarray, "images record_bytes"]:
    """Return records in canonical order: sorted as byte strings."""
    byte_strings = np.ascontiguousarray(records).view(f"V{records.shape[1]}").reshape(-1)
    return records[np.argsort(byte_strings)]


def fingerprint(sorted_records: Records) -> str:
    """Return the SHA-256 (hex) of records, which must be in canonical order."""
    return hashlib.sha256(np.ascontiguousarray(sorted_records).data).hexdigest()


def fingerprints_of(records_of_split: Mapping[str, Records]) -> dict[str, str]:
    """Return split -> SHA-256 (hex) of its records, which must be in canonical order."""
    return {split: fingerprint(records) for split, records in records_of_split.items()}


def channel_statistics(
    records: UInt8[np.ndarray, "images record_bytes"],
    chosen_positions: Int64[np.ndarray, "chosen"] | None = None,
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
    """Return the mean and standard deviation of each colour channel, of pixels scaled to [0, 1].

    Both are computed from the number of pixels of each value, so that rounding errors don't add up.
    A channel with the same value in all pixels gets the standard deviation
    `STD_OF_CONSTANT_CHANNEL` instead of 0, because normalisation divides by it.

    Args:
      records: rows of label and pixel bytes, maybe mapped into memory.
      chosen_positions: the positions of the records to count; None for all.
    """
    pixel_values = np.arange(256, dtype=np.float64)
    means, stds = [], []
    for value_counts in _count_pixel_values(records, chosen_positions):
        pixel_count = value_counts.sum()
        mean = (value_counts * pixel_values).sum() / pixel_count
        mean_square = (value_counts * pixel_values**2).sum() / pixel_count
        variance = mean_square - mean**2
        is_constant = np.count_nonzero(value_counts) == 1
        means.append(mean / 255)
        stds.append(STD_OF_CONSTANT_CHANNEL if is_constant else np.sqrt(variance) / 255)
    return np.asarray(means, np.float32), np.asarray(stds, np.float32)


def _count_pixel_values(records: Records, chosen_positions: np.ndarray | None) -> np.ndarray:
    """Return how often each pixel value occurs in the chosen records, `[channels, 256] int64`.

    `chosen_positions` has the positions of the records; None means all records.
    """
    value_counts = np.zeros((CHANNELS, 256), np.int64)
    for _, record_block in _record_blocks(records, chosen_positions):
        for channel, channel_pixels in enumerate(np.split(pixels(record_block), CHANNELS, axis=1)):
            value_counts[channel] += np.bincount(channel_pixels.reshape(-1), minlength=256)
    return value_counts
