"""Find what looks wrong in a user's images, although a network can be trained on them."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Integer, UInt8

_CHANNELS = ("red", "green", "blue")
_WORD_BYTES = 8
_BLOCK_BYTES = 2**24  # of images at a time

Images = UInt8[np.ndarray, "_ size size 3"]  # any number of images


def describe_constant_channels(
    images: Images, constant: Integer[np.ndarray, "channels"]
) -> list[str]:
    """Return warnings about channels without variation, and about pixels that are only 0 or 1.

    Args:
      images: the training images.
      constant: numbers of the channels that have the same value in all pixels.

    Returns:
      one line for each problem; an empty list if there is none.
    """
    lines = []
    if len(constant):
        values = images[0, 0, 0]
        channels = " and ".join(f"{_CHANNELS[i]} ({values[i]})" for i in constant)
        lines.append(
            f"these channels have the same value in all training images: {channels}; the network "
            "learns nothing from them"
        )
    if images.max() <= 1:
        lines.append(
            "the pixels of the training images are only 0 and 1, like fractions that were cast to "
            "integers; multiply by 255 before casting to uint8"
        )
    return lines


def count_copies(train: Images, val: Images, test: Images) -> dict[str, int]:
    """Count the images that are exact copies of images in earlier splits.

    Returns:
      "val" -> number of validation images that are also training images; "test" -> number of test
      images that are also training or validation images.
    """
    train_sums, val_sums, test_sums = _checksums(train), _checksums(val), _checksums(test)
    val_copies = _count_among(val, val_sums, [(train, train_sums)])
    test_copies = _count_among(test, test_sums, [(train, train_sums), (val, val_sums)])
    return {"val": val_copies, "test": test_copies}


def _count_among(
    images: np.ndarray, sums: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]]
) -> int:
    """Return how many of `images` are exact copies of images in `others`.

    Args:
      images: images `[N, H, W, 3]`.
      sums: the checksums of `images`, from `_checksums`. Images with equal checksums are compared
        by their SHA-256; other images are not compared.
      others: (images, checksums of these images) for each array to search.
    """
    digests_of_others: set[bytes] = set()
    for other_images, other_sums in others:
        candidates = np.flatnonzero(np.isin(other_sums, sums))
        digests_of_others.update(_digest(other_images[i]) for i in candidates)
    if not digests_of_others:
        return 0
    all_other_sums = np.concatenate([other_sums for _, other_sums in others])
    candidates = np.flatnonzero(np.isin(sums, all_other_sums))
    return sum(_digest(images[i]) in digests_of_others for i in candidates)


def _checksums(images: np.ndarray) -> np.ndarray:
    """Return a number for each image, `[N] uint64`; equal images have equal numbers.

    The number is a weighted sum of the image's bytes, in words of eight bytes, modulo 2^64.
    """
    image_bytes = math.prod(images.shape[1:])
    missing_bytes = -image_bytes % _WORD_BYTES
    word_count = (image_bytes + missing_bytes) // _WORD_BYTES
    weights = np.random.RandomState(0).randint(1, 2**63, word_count, dtype=np.uint64) | np.uint64(1)
    checksums = np.empty(len(images), np.uint64)
    images_per_block = max(1, _BLOCK_BYTES // image_bytes)
    for start in range(0, len(images), images_per_block):
        block = slice(start, start + images_per_block)
        rows = np.ascontiguousarray(images[block]).reshape(-1, image_bytes)
        if missing_bytes:
            rows = np.pad(rows, ((0, 0), (0, missing_bytes)))  # copies the block
        checksums[block] = rows.view(np.uint64) @ weights
    return checksums


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.data).digest()


def describe_copies(copies: Mapping[str, int], val_count: int, test_count: int) -> list[str]:
    """Return a warning about images that are in more than one split.

    Args:
      copies: the counts from `count_copies`, or an empty mapping.
      val_count: number of validation images.
      test_count: number of test images.

    Returns:
      a list of one line; an empty list if there are no copies.
    """
    findings = []
    if copies.get("val"):
        findings.append(
            f"{copies['val']:,} of the {val_count:,} validation images are also training images"
        )
    if copies.get("test"):
        findings.append(
            f"{copies['test']:,} of the {test_count:,} test images are also training or "
            "validation images"
        )
    if not findings:
        return []
    return [
        f"{' and '.join(findings)}, as exact copies; the accuracy on them says little, so remove "
        "the copies"
    ]
