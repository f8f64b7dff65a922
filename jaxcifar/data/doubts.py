"""Find what looks wrong in a user's images, although a network can be trained on them."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Integer, UInt8

_CHANNELS = ("red", "green", "blue")
_WORD_BYTES = 8

Images = UInt8[np.ndarray, "_ size size 3"]  # any number of images


def describe_constant_channels(
    images: Images, constant: Integer[np.ndarray, "channels"]
) -> list[str]:
    """Return lines on channels without variation, and on pixels that are only 0 and 1.

    Args:
      images: the training images.
      constant: numbers of the channels that have the same value in all pixels.
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
    train_sums, val_sums, test_sums = (_checksums(images) for images in (train, val, test))
    in_train = _copies(val, val_sums, [(train, train_sums)])
    in_both = _copies(test, test_sums, [(train, train_sums), (val, val_sums)])
    return {"val": in_train, "test": in_both}


def _copies(
    images: np.ndarray, sums: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]]
) -> int:
    """Return how many of `images` are among the others.

    The checksums choose a few candidates; only these are compared by their SHA-256.
    """
    seen: set[bytes] = set()
    for other_images, other_sums in others:
        candidates = np.flatnonzero(np.isin(other_sums, sums))
        seen.update(_digest(other_images[i]) for i in candidates)
    if not seen:
        return 0
    all_sums = np.concatenate([other_sums for _, other_sums in others])
    candidates = np.flatnonzero(np.isin(sums, all_sums))
    return sum(_digest(images[i]) in seen for i in candidates)


def _checksums(images: np.ndarray) -> np.ndarray:
    """Return a number for each image, `[N] uint64`; equal images have equal numbers."""
    image_bytes = math.prod(images.shape[1:])
    missing_bytes = -image_bytes % _WORD_BYTES
    word_count = (image_bytes + missing_bytes) // _WORD_BYTES
    weights = np.random.RandomState(0).randint(1, 2**63, word_count, dtype=np.uint64) | np.uint64(1)
    rows = np.ascontiguousarray(images).reshape(len(images), image_bytes)
    if missing_bytes:
        rows = np.pad(rows, ((0, 0), (0, missing_bytes)))
    return rows.view(np.uint64) @ weights  # modulo 2^64


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.data).digest()


def describe_copies(copies: Mapping[str, int], val_count: int, test_count: int) -> list[str]:
    """Return a line on images that are in more than one split; no line if there are none.

    Args:
      copies: the counts from `count_copies`, or an empty mapping.
      val_count: number of validation images.
      test_count: number of test images.
    """
    parts = []
    if copies.get("val"):
        parts.append(
            f"{copies['val']:,} of the {val_count:,} validation images are also training images"
        )
    if copies.get("test"):
        parts.append(
            f"{copies['test']:,} of the {test_count:,} test images are also training or "
            "validation images"
        )
    if not parts:
        return []
    return [
        f"{' and '.join(parts)}, as exact copies; the accuracy on them says little, so remove "
        "the copies"
    ]
