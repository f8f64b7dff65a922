"""Images and labels as CIFAR-10's binary records, in one canonical order.

A record is one label byte (two, the higher first, where there are more than 256 classes) and 3,072
pixel bytes, channel-major. Sorted as bytes, the records of a
split no longer depend on the archive or file format that they came in, so their SHA-256 is a
fingerprint of the content, and everything later (split, training order) is the same whatever the
source was. The cache on disk is that sorted array itself: hashing the file validates it.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Int32, Integer, UInt8
from jaxcifar.machine.files import atomic_write
from jaxcifar.machine.reading import open_regular_file

PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + PIXEL_BYTES
SPLITS = ("train", "test")
MAX_CLASSES = 2**16

Records = UInt8[np.ndarray, "_ record_bytes"]  # any number of them, as each split has its number


def empty(count: int, classes: int) -> UInt8[np.ndarray, "{count} record_bytes"]:
    """Records to be filled, wide enough for that many classes."""
    return np.empty((count, PIXEL_BYTES + (1 if classes <= 256 else 2)), np.uint8)


def fill(
    records: UInt8[np.ndarray, "images record_bytes"],
    images: UInt8[np.ndarray, "images 32 32 3"],
    labels: Integer[np.ndarray, "images"],
) -> None:
    """Write images and labels into as many records."""
    label_bytes = records.shape[1] - PIXEL_BYTES
    for place in range(label_bytes):
        records[:, place] = np.asarray(labels) >> 8 * (label_bytes - 1 - place) & 255
    records[:, label_bytes:] = images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def pack(
    images: UInt8[np.ndarray, "images 32 32 3"],
    labels: Integer[np.ndarray, "images"],
    classes: int = 256,
) -> UInt8[np.ndarray, "images record_bytes"]:
    """The records of images and labels."""
    records = empty(len(images), classes)
    fill(records, images, labels)
    return records


def unpack(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> tuple[UInt8[np.ndarray, "images 32 32 3"], Int32[np.ndarray, "images"]]:
    """The images and labels of records."""
    images = pixels(records).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels(records)


def pixels(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> UInt8[np.ndarray, "images 3*32*32"]:
    """The pixels of records, channel-major."""
    return records[:, -PIXEL_BYTES:]


def labels(records: UInt8[np.ndarray, "images record_bytes"]) -> Int32[np.ndarray, "images"]:
    """The labels of records."""
    columns = records[:, :-PIXEL_BYTES].astype(np.int32)
    return columns @ (256 ** np.arange(columns.shape[1] - 1, -1, -1, dtype=np.int32))


def sort(
    records: UInt8[np.ndarray, "images record_bytes"],
) -> UInt8[np.ndarray, "images record_bytes"]:
    """The records in canonical order, ascending as byte strings."""
    as_bytes = np.ascontiguousarray(records).view(f"V{records.shape[1]}").reshape(-1)
    return records[np.argsort(as_bytes)]


def fingerprint(sorted_records: Records) -> str:
    """SHA-256 (hex) of records, which must be in canonical order."""
    return hashlib.sha256(np.ascontiguousarray(sorted_records).data).hexdigest()


def write_cache(folder: Path, records: Mapping[str, Records]) -> None:
    """Write the sorted records of every split, each file whole or not at all; hold its lock.

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
    """The memory-mapped records of every split, or None if one is missing or not as it was."""
    records = {}
    for split, expected in fingerprints.items():
        with contextlib.suppress(Exception):  # a damaged file can raise anything
            array = _mapped(folder / f"{split}.npy")
            if array.ndim == 2 and array.dtype == np.uint8 and fingerprint(array) == expected:
                records[split] = array
    return records if records.keys() == fingerprints.keys() else None


def _mapped(path: Path) -> np.ndarray:
    with open_regular_file(path):  # not to wait for a pipe below
        return np.lib.format.open_memmap(path, mode="r")
