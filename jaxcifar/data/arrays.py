"""Check the user's arrays of images and labels, and convert them to records."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from PIL import Image

from jaxcifar.array_types import Shaped
from jaxcifar.data import binary_records
from jaxcifar.data.images import SIDE, check_pixels, to_rgb32
from jaxcifar.errors import UsageError

MAX_IMAGES = 10**6  # their records take 3 GB
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


def block_length(shape: Sequence[int], dtype: np.dtype) -> int:
    """Return the number of images that fit into a block of `BLOCK_BYTES`, but at least 1.

    Args:
      shape: shape of the array of all images.
      dtype: dtype of the array.
    """
    image_bytes = int(np.prod(shape[1:], dtype=float)) * dtype.itemsize
    return max(1, BLOCK_BYTES // max(1, image_bytes))


def records_of(
    images: Mapping[str, ImageBlocks],
    labels: Mapping[str, Shaped[np.ndarray, "..."]],
    class_names: Iterable[Any] | None,
) -> tuple[dict[str, binary_records.Records], tuple[str, ...]]:
    """Check images and labels, and convert them to sorted records of label and pixel bytes.

    Args:
      images: split -> images `[N, H, W, 3]`, `[N, H, W, 1]` or `[N, H, W] uint8`; `to_rgb32`
        converts images of another size than 32x32.
      labels: split -> labels `[N]` or `[N, 1]`, integers from 0.
      class_names: names of the classes, by label; None for the numbers of the labels.

    Returns:
      "train" and "test" -> sorted records; and the class names.

    Raises:
      UsageError: an array has a wrong shape, type or value; the message names the array.
    """
    for split in binary_records.SPLITS:
        _check_images(f"x_{split}", images[split])
    flat_labels = {
        split: _flat_labels(f"y_{split}", labels[split], images[split].shape[0])
        for split in binary_records.SPLITS
    }
    if class_names is None:
        class_names = range(int(flat_labels["train"].max()) + 1)
    names = tuple(str(name) for name in class_names)
    _check_class_names(names)
    _check_labels(flat_labels, names)
    records = {}
    for split in binary_records.SPLITS:
        split_labels = flat_labels[split]
        split_records = binary_records.empty(len(split_labels), len(names))
        start = 0
        for block in images[split].blocks():
            rows = slice(start, start + len(block))
            binary_records.fill(split_records[rows], _to_rgb32(block), split_labels[rows])
            start = rows.stop
        records[split] = binary_records.sort(split_records)
    return records, names


def _check_class_names(names: Sequence[str]) -> None:
    if not 2 <= len(names) <= binary_records.MAX_CLASSES:
        raise UsageError(
            f"the number of classes is {len(names):,}, but must be from 2 to "
            f"{binary_records.MAX_CLASSES:,}; add or remove classes"
        )
    for name in names:
        if not name.isprintable() or not name.strip():
            raise UsageError(f"the class name {name!a} can't be printed; rename that class")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"the class name {repeated!r} is given twice; give each class a different name"
        )


def _check_images(name: str, images: ImageBlocks) -> None:
    shape = images.shape
    if images.dtype != np.uint8:
        advice = "give uint8 from 0 to 255"
        if images.dtype.kind == "f":
            advice += f"; if they go from 0 to 1, ({name} * 255).round().astype('uint8')"
        raise UsageError(f"{name} has {images.dtype} pixels; {advice}")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
        raise UsageError(
            f"{name} has shape {shape}; give [N, H, W, 3], [N, H, W, 1] or [N, H, W], channels last"
        )
    if not 0 < shape[0] <= MAX_IMAGES:
        raise UsageError(f"{name} has {shape[0]:,} images; give 1 to {MAX_IMAGES:,} images")
    try:
        check_pixels(shape[2], shape[1])
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _flat_labels(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Check labels `[N]` or `[N, 1]` of `count` images, and return them as `[N] int64`."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)):
        raise UsageError(
            f"{name} has shape {labels.shape} and dtype {labels.dtype}; give one integer from 0 "
            f"for each of the {count:,} images"
        )
    labels = labels.reshape(-1)
    lowest, highest = labels.min(), labels.max()
    if lowest < 0 or highest >= binary_records.MAX_CLASSES:
        wrong_label = lowest if lowest < 0 else highest
        raise UsageError(
            f"{name} has the label {wrong_label}, which is out of range; count classes from 0, to "
            f"at most {binary_records.MAX_CLASSES - 1:,}"
        )
    return labels.astype(np.int64)


def _check_labels(labels: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Check that every label has a class name, and every class has training images."""
    largest = {split: int(labels[split].max()) for split in binary_records.SPLITS}
    if largest["train"] >= len(names):
        raise UsageError(
            f"y_train has the label {largest['train']}, but there are only {len(names)} "
            "class names; give one for each class"
        )
    if largest["test"] >= len(names):
        raise UsageError(
            f"y_test has the label {largest['test']}, but the training images have only "
            f"{len(names)} classes; remove those test images, or add training images of that class"
        )
    counts = np.bincount(labels["train"], minlength=len(names))
    if not counts.all():
        label = int(np.argmin(counts))
        raise UsageError(
            f"class {names[label]!r} (label {label}) has no training images in y_train; number the "
            "classes from 0 without gaps, each with images to train on"
        )


def _to_rgb32(block: np.ndarray) -> np.ndarray:
    """Return a block of checked images as `[n, 32, 32, 3] uint8`."""
    if block.ndim == 4 and block.shape[3] == 1:
        block = block[..., 0]
    if block.shape[1:3] != (SIDE, SIDE):
        return np.stack([to_rgb32(Image.fromarray(image)) for image in block])
    return block if block.ndim == 4 else np.repeat(block[..., None], 3, axis=3)
