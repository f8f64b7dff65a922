"""Images and labels as CIFAR-10's binary records, in one canonical order.

A record is one label byte and the pixel bytes, channel by channel: 3,072 of an image of 32x32. With
more than 256 classes the label has two bytes, the higher first. Records are sorted as byte strings,
so their order does not depend on the archive or file format that they come from. Therefore their
SHA-256 is a fingerprint of the images and labels, and the split and the training order are the same
for every source.

The length of a record says how large its image is: the pixel bytes are a multiple of three, so the
remainder of a division by three is the number of label bytes.
"""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Float32, Int32, Int64, Integer, UInt8
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.files import atomic_write
from jaxcifar.machine.reading import open_regular_file

CHANNELS = 3
PIXEL_BYTES = CHANNELS * IMAGE_SIZE**2  # of CIFAR's own files
RECORD_BYTES = 1 + PIXEL_BYTES
SPLITS = ("train", "test")
MAX_CLASSES = 2**16
_BLOCK_BYTES = 2**26  # of records that are converted at a time
STD_OF_CONSTANT = 1.0  # for channels without variation; the std of any other channel is at most 0.5

Records = UInt8[np.ndarray, "_ record_bytes"]  # of any number of images


def record_bytes(classes: int, image_size: int = IMAGE_SIZE) -> int:
    """Return the length in bytes of an image's record: one or two label bytes, and the RGB pixels.

    Args:
      classes: number of classes; the label has two bytes if there are more than 256.
      image_size: height and width of the images.
    """
    label_bytes = 1 if classes <= 256 else 2
    return label_bytes + CHANNELS * image_size**2


def empty(
    count: int, classes: int, image_size: int = IMAGE_SIZE
) -> UInt8[np.ndarray, "{count} record_bytes"]:
    """Return an uninitialised array for the records of `count` images, one row of bytes each.

    `classes` is the number of classes, and `image_size` the height and width of the images.
    """
    return np.empty((count, record_bytes(classes, image_size)), np.uint8)


def image_size_of(records: Records) -> int:
    """Return the height and width of the images in records."""
    pixel_bytes = records.shape[1] - _label_bytes(records)
    return math.isqrt(pixel_bytes // CHANNELS)


def _label_bytes(records: Records) -> int:
    """Return the number of label bytes in each record; the pixel bytes are a multiple of 3."""
    return records.shape[1] % CHANNELS


def fill(
    records: UInt8[np.ndarray, "images record_bytes"],
    images: UInt8[np.ndarray, "images size size 3"],
    labels: Integer[np.ndarray, "images"],
) -> None:
    """Write images and labels into existing records: one row of label and pixel bytes each."""
    labels = np.asarray(labels)
    label_bytes = _label_bytes(records)
    records[:, label_bytes - 1] = labels & 255  # the low byte
    if label_bytes == 2:
        high_bytes = labels >> 8
        records[:, 0] = high_bytes
    channels_first = images.transpose(0, 3, 1, 2)
    records[:, label_bytes:] = channels_first.reshape(len(images), -1)


def pack(
    images: UInt8[np.ndarray, "images size size 3"],
    labels: Integer[np.ndarray, "images"],
    classes: int = 256,
) -> UInt8[np.ndarray, "images record_bytes"]:
    """Return images and labels as records (rows of label and pixel bytes), in the same order.

    `classes` is the number of classes; labels have two bytes if there are more than 256.
    """
    records = empty(len(images), classes, images.shape[1])
    fill(records, images, labels)
    return records


def unpack(
    records: UInt8[np.ndarray, "all record_bytes"],
    chosen: Int64[np.ndarray, "images"] | None = None,
) -> tuple[UInt8[np.ndarray, "images size size 3"], Int32[np.ndarray, "images"]]:
    """Convert records (rows of label and pixel bytes) to images and labels, undoing `pack`.

    The images are converted in blocks, so that no second copy of all of them is in memory.

    Args:
      records: the records, maybe mapped into memory.
      chosen: the positions of the records to return, in this order; None for all.
    """
    size = image_size_of(records)
    count = len(records) if chosen is None else len(chosen)
    images = np.empty((count, size, size, CHANNELS), np.uint8)
    for rows, block in _blocks(records, chosen):
        channels_first = pixels(block).reshape(-1, CHANNELS, size, size)
        images[rows] = channels_first.transpose(0, 2, 3, 1)
    all_labels = labels(records)
    return images, all_labels if chosen is None else all_labels[chosen]


def _blocks(records: Records, chosen: np.ndarray | None) -> Iterator[tuple[slice, Records]]:
    """Yield (slice, records) for blocks of the chosen records, of up to `_BLOCK_BYTES` each.

    The slice is the block's place among the chosen records. `chosen` has the positions of these
    records, in the order to yield them; None means all records.
    """
    count = len(records) if chosen is None else len(chosen)
    step = max(1, _BLOCK_BYTES // records.shape[1])
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        if chosen is None:
            yield rows, records[rows]
        else:
            yield rows, records[chosen[rows]]


def pixels(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> UInt8[np.ndarray, "images pixel_bytes"]:
    """Return the pixel bytes of records, without label bytes: first all red, then green, blue."""
    return records[:, _label_bytes(records) :]


def labels(records: UInt8[np.ndarray, "images record_bytes"]) -> Int32[np.ndarray, "images"]:
    """Return the label of each record: the number in its one or two label bytes."""
    label_bytes = records[:, : _label_bytes(records)].astype(np.int32)
    if label_bytes.shape[1] == 1:
        return label_bytes[:, 0]
    high_bytes, low_bytes = label_bytes.T
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


def channel_statistics(
    records: UInt8[np.ndarray, "images record_bytes"],
    chosen: Int64[np.ndarray, "chosen"] | None = None,
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
    """Return the mean and standard deviation of each colour channel, of pixels scaled to [0, 1].

    Both are exact except for the last rounding, because they are computed from the number of pixels
    of each value. For a channel that has the same value in all pixels, the standard deviation is
    `STD_OF_CONSTANT`. So dividing by it is possible, and normalisation makes this channel 0.

    Args:
      records: rows of label and pixel bytes, maybe mapped into memory.
      chosen: the positions of the records to count; None for all.
    """
    pixel_values = np.arange(256, dtype=np.float64)
    means, stds = [], []
    for counts in _count_pixel_values(records, chosen):
        mean = (counts * pixel_values).sum() / counts.sum()
        mean_square = (counts * pixel_values**2).sum() / counts.sum()
        variance = mean_square - mean**2
        is_constant = np.count_nonzero(counts) == 1
        means.append(mean / 255)
        stds.append(STD_OF_CONSTANT if is_constant else np.sqrt(variance) / 255)
    return np.asarray(means, np.float32), np.asarray(stds, np.float32)


def _count_pixel_values(records: Records, chosen: np.ndarray | None) -> np.ndarray:
    """Return how often each pixel value occurs in the chosen records, `[channels, 256] int64`.

    `chosen` has the positions of the records; None means all records.
    """
    counts = np.zeros((CHANNELS, 256), np.int64)
    for _, block in _blocks(records, chosen):
        for channel, values in enumerate(np.split(pixels(block), CHANNELS, axis=1)):
            counts[channel] += np.bincount(values.reshape(-1), minlength=256)
    return counts


def write_cache(folder: Path, records: Mapping[str, Records]) -> None:
    """Write the records of each split to the file `SPLIT.npy` in `folder`, each atomically.

    The caller must hold the lock of the folder.

    Raises:
      OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.npy.*"):  # of a killed process
        leftover.unlink(missing_ok=True)
    for split, array in records.items():
        with atomic_write(folder / f"{split}.npy") as file:
            np.save(file, array)


def read_cache(folder: Path, fingerprints: Mapping[str, str]) -> dict[str, Records] | None:
    """Map the cached records of every split into memory; None if a file is missing or changed.

    Args:
      folder: folder that `write_cache` wrote.
      fingerprints: split -> SHA-256 (hex) that the records of this split must have.
    """
    records: dict[str, Records] = {}
    for split, expected in fingerprints.items():
        path = folder / f"{split}.npy"
        with contextlib.suppress(Exception):  # a damaged file can raise anything
            with open_regular_file(path):
                pass  # refuses a pipe, which `open_memmap` would wait for
            array = np.lib.format.open_memmap(path, mode="r")
            are_records = array.ndim == 2 and array.dtype == np.uint8
            if are_records and fingerprint(array) == expected:
                records[split] = array
    return records if records.keys() == fingerprints.keys() else None
