"""Find what looks wrong in a user's images, although a network can be trained on them."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from jaxcifar.array_types import Integer, UInt8
from jaxcifar.errors import printable
from jaxcifar.machine.name_lists import join_first

MAX_SHOWN_CLASSES = 5  # in a line
_MAX_NAME_LENGTH = 40  # of a class in a line
_CHANNEL_NAMES = ("red", "green", "blue")
_BYTES_PER_WORD = 8
_BRIGHTEST_OF_14_BITS = 64  # of 14 bits in a file of 16 bits, scaled to 8 bits
_MAX_BLOCK_BYTES = 2**24  # of images at a time

Images = UInt8[np.ndarray, "_ size size 3"]  # any number of images


def describe_doubtful_pixels(
    images: Images, constant_channels: Integer[np.ndarray, "channels"]
) -> list[str]:
    """Return warnings about channels without variation, and about pixels that are all dark.

    Args:
      images: the training images.
      constant_channels: numbers of the channels that have the same value in all pixels.

    Returns:
      one line for each problem; an empty list if there is none.
    """
    warnings = []
    if len(constant_channels):
        first_pixel = images[0, 0, 0]
        channels_with_values = " and ".join(
            f"{_CHANNEL_NAMES[channel]} ({first_pixel[channel]})" for channel in constant_channels
        )
        warnings.append(
            f"these channels have the same value in all training images: {channels_with_values}; "
            "the network learns nothing from them"
        )
    brightest_value = images.max()
    if brightest_value <= 1:
        warnings.append(
            "the pixels of the training images are only 0 and 1, like fractions that were cast to "
            "integers; multiply by 255 before casting to uint8"
        )
    elif brightest_value <= _BRIGHTEST_OF_14_BITS:
        warnings.append(
            f"the brightest pixel of the training images is {brightest_value} of 255; if 16-bit "
            "files hold a camera's 10 to 14 bits, most grey levels are lost: scale the values in "
            "the files to 0 to 65,535"
        )
    return warnings


def classes_without_images(
    labels: Integer[np.ndarray, "images"], class_names: Sequence[str]
) -> list[str]:
    """Return the printable names of the classes that have no image.

    Args:
      labels: the label of each image.
      class_names: names of the classes, by label.
    """
    image_counts = np.bincount(labels, minlength=len(class_names))
    return [
        printable(name, _MAX_NAME_LENGTH)
        for name, image_count in zip(class_names, image_counts, strict=True)
        if image_count == 0
    ]


def describe_unvalidated_classes(
    val_labels: Integer[np.ndarray, "images"], class_names: Sequence[str]
) -> list[str]:
    """Return a warning about classes that have no validation image.

    Args:
      val_labels: labels of the validation images; may be empty.
      class_names: names of the classes, by label.

    Returns:
      a list of one line; an empty list if every class has an image, or no image is for validation.
    """
    absent_classes = classes_without_images(val_labels, class_names)
    if not len(val_labels) or not absent_classes:
        return []
    return [
        f"{len(absent_classes):,} of {len(class_names):,} classes have no validation image "
        f"({join_first(absent_classes, MAX_SHOWN_CLASSES)}); add images of them, because the best "
        "epoch is chosen without these classes"
    ]


def count_copies(train: Images, val: Images, test: Images) -> dict[str, int]:
    """Count the images that are exact copies of images in earlier splits.

    Returns:
      "val" -> number of validation images that are also training images; "test" -> number of test
      images that are also training or validation images.
    """
    train_split, val_split, test_split = map(_SplitImages.of_images, (train, val, test))
    return {
        "val": _count_copies_in(val_split, [train_split]),
        "test": _count_copies_in(test_split, [train_split, val_split]),
    }


class _SplitImages(NamedTuple):
    """The images of a split `[N, H, W, 3]`, and the checksum of each image `[N]`."""

    images: np.ndarray
    checksums: np.ndarray

    @classmethod
    def of_images(cls, images: np.ndarray) -> Self:
        return cls(images, _image_checksums(images))


def _count_copies_in(split: _SplitImages, earlier_splits: Sequence[_SplitImages]) -> int:
    """Return how many images of a split are exact copies of images in earlier splits.

    Only images with the same checksum are compared, by their SHA-256.
    """
    earlier_checksums = np.concatenate([earlier.checksums for earlier in earlier_splits])
    digests_of_possible_copies = _digests_of_images(split, earlier_checksums)
    digests_of_possible_originals: set[bytes] = set()
    for earlier in earlier_splits:
        digests_of_possible_originals.update(_digests_of_images(earlier, split.checksums))
    return sum(digest in digests_of_possible_originals for digest in digests_of_possible_copies)


def _digests_of_images(split: _SplitImages, checksums: np.ndarray) -> list[bytes]:
    """Return the SHA-256 of each image of a split whose checksum is one of `checksums`."""
    positions = np.flatnonzero(np.isin(split.checksums, checksums))
    return [hashlib.sha256(split.images[position].data).digest() for position in positions]


def _image_checksums(images: np.ndarray) -> np.ndarray:
    """Return a number for each image, `[N] uint64`; equal images have equal numbers.

    The number is a weighted sum of integers, each read from eight bytes, modulo 2^64.
    """
    bytes_per_image = math.prod(images.shape[1:])
    words_per_image = math.ceil(bytes_per_image / _BYTES_PER_WORD)
    padding_bytes = words_per_image * _BYTES_PER_WORD - bytes_per_image
    random_weights = np.random.RandomState(0).randint(1, 2**63, words_per_image, dtype=np.uint64)
    odd_weights = random_weights | np.uint64(1)  # then a change of one word changes the sum
    checksums = np.empty(len(images), np.uint64)
    images_per_block = max(1, _MAX_BLOCK_BYTES // bytes_per_image)
    for start in range(0, len(images), images_per_block):
        block = slice(start, start + images_per_block)
        bytes_of_images = np.ascontiguousarray(images[block]).reshape(-1, bytes_per_image)
        if padding_bytes:  # only then, because padding copies the block
            bytes_of_images = np.pad(bytes_of_images, ((0, 0), (0, padding_bytes)))
        words_of_images = bytes_of_images.view(np.uint64)
        checksums[block] = words_of_images @ odd_weights
    return checksums


def describe_copies(copy_counts: Mapping[str, int], val_count: int, test_count: int) -> list[str]:
    """Return a warning about images that are in more than one split.

    Args:
      copy_counts: the counts from `count_copies`, or an empty mapping.
      val_count: number of validation images.
      test_count: number of test images.

    Returns:
      a list of one line; an empty list if there are no copies.
    """
    findings = []
    if copy_counts.get("val"):
        findings.append(
            f"{copy_counts['val']:,} of the {val_count:,} validation images are also training "
            "images"
        )
    if copy_counts.get("test"):
        findings.append(
            f"{copy_counts['test']:,} of the {test_count:,} test images are also training or "
            "validation images"
        )
    if not findings:
        return []
    return [
        f"{' and '.join(findings)}, as exact copies; the accuracy on them says little, so remove "
        "the copies"
    ]
