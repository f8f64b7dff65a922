"""Arrays of images and labels as Keras users have them -> records, after checking them."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from PIL import Image

from jaxcifar.array_types import Shaped
from jaxcifar.data import records as rec
from jaxcifar.data.images import SIDE, check_pixels, to_rgb32
from jaxcifar.errors import UsageError

MAX_IMAGES = 10**6  # their records take 3 GB
BLOCK_BYTES = 2**24  # of images at a time


@dataclasses.dataclass(frozen=True)
class ImageBlocks:
    """Images to be read in blocks, so that large ones need not be in memory together.

    Attributes:
      shape: `(N, H, W, 3)`, `(N, H, W, 1)` or `(N, H, W)`, once checked.
      dtype: uint8, once checked.
      blocks: gives them all, in order, some at a time.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[Shaped[np.ndarray, "block *of_image"]]]

    @classmethod
    def of(cls, array: Any) -> Self:
        """Those of an array in memory."""
        array = np.asarray(array)
        step = block_length(array.shape, array.dtype)
        return cls(
            array.shape,
            array.dtype,
            lambda: (array[first : first + step] for first in range(0, len(array), step)),
        )


def block_length(shape: Sequence[int], dtype: np.dtype) -> int:
    """How many images to read at a time."""
    return max(1, BLOCK_BYTES // max(1, int(np.prod(shape[1:], dtype=float)) * dtype.itemsize))


def records_of(
    images: Mapping[str, ImageBlocks],
    labels: Mapping[str, Shaped[np.ndarray, "..."]],
    class_names: Iterable[Any] | None,
) -> tuple[dict[str, rec.Records], tuple[str, ...]]:
    """Check images and labels, and bring them to sorted records.

    Args:
      images: of "train" and "test"; of another size than 32x32 they are resized by `to_rgb32`.
      labels: an integer from 0 for each image, one after the other or one below the other.
      class_names: by label; the numbers themselves by default.

    Returns:
      split -> sorted records, and the names of the classes.

    Raises:
      UsageError: an array is not as it must be; the message names it and says what to do.
    """
    for split in rec.SPLITS:
        _check_images(f"x_{split}", images[split])
    flat = {
        split: _flat_labels(f"y_{split}", labels[split], images[split].shape[0])
        for split in rec.SPLITS
    }
    classes = int(flat["train"].max()) + 1
    names = check_class_names(map(str, range(classes)) if class_names is None else class_names)
    _check_labels(flat, names)
    records = {}
    for split in rec.SPLITS:
        array = rec.empty(len(flat[split]), len(names))
        first = 0
        for block in images[split].blocks():
            rows = slice(first, first + len(block))
            rec.fill(array[rows], _to_rgb32(block), flat[split][rows])
            first = rows.stop
        records[split] = rec.sort(array)
    return records, names


def check_class_names(names: Iterable[Any]) -> tuple[str, ...]:
    """The names as strings.

    Raises:
      UsageError: there are too few, too many, two of the same, or some that can't be printed.
    """
    names = tuple(str(name) for name in names)
    if not 2 <= len(names) <= rec.MAX_CLASSES:
        raise UsageError(
            f"class_names: {len(names):,} classes; there must be from 2 to {rec.MAX_CLASSES:,}"
        )
    for name in names:
        if not name.isprintable() or not name.strip():
            raise UsageError(f"class_names: {name!a} can't be printed; rename that class")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"class_names: {twice!r} is there twice; give each class its own name")
    return names


def _check_images(name: str, images: ImageBlocks) -> None:
    shape = images.shape
    if images.dtype.kind == "f":
        raise UsageError(
            f"{name}: {images.dtype} pixels; give uint8 from 0 to 255, for instance "
            f"({name} * 255).round().astype('uint8') if they go from 0 to 1"
        )
    if images.dtype != np.uint8:
        raise UsageError(f"{name}: {images.dtype} pixels; give uint8 from 0 to 255")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
        raise UsageError(
            f"{name}: shape {shape}; give [N, H, W, 3], [N, H, W, 1] or [N, H, W], channels last"
        )
    if not 0 < shape[0] <= MAX_IMAGES:
        raise UsageError(f"{name}: {shape[0]:,} images; there must be from 1 to {MAX_IMAGES:,}")
    try:
        check_pixels(shape[2], shape[1])
    except ValueError as error:
        raise UsageError(f"{name}: an image {error}") from None


def _flat_labels(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Labels `[N]` or `[N, 1]` -> `[N] int64`."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)):
        raise UsageError(
            f"{name}: shape {labels.shape} of {labels.dtype}; give one integer for each of the "
            f"{count:,} images, counted from 0"
        )
    labels = labels.reshape(-1)
    if labels.min() < 0 or labels.max() >= rec.MAX_CLASSES:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UsageError(
            f"{name}: label {wrong} is out of range; count classes from 0, to at most "
            f"{rec.MAX_CLASSES - 1:,}"
        )
    return labels.astype(np.int64)


def _check_labels(labels: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Refuse classes that can't be learned."""
    if (largest := labels["train"].max()) >= len(names):
        raise UsageError(
            f"y_train: label {largest} is out of range; there are {len(names)} class_names"
        )
    counts = np.bincount(labels["train"], minlength=len(names))
    if (largest := labels["test"].max()) >= len(names):
        raise UsageError(
            f"y_test: label {largest} is out of range; the training images have "
            f"{len(names)} classes: remove those test images, or add some to train on"
        )
    if not counts.all():
        label = int(np.argmin(counts))
        raise UsageError(
            f"y_train: class {names[label]!r} (label {label}) has no training images; number the "
            "classes from 0 without gaps, each with images to train on"
        )


def _to_rgb32(block: np.ndarray) -> np.ndarray:
    """A block of checked images -> `[n, 32, 32, 3] uint8`."""
    if block.ndim == 4 and block.shape[3] == 1:
        block = block[..., 0]
    if block.shape[1:3] != (SIDE, SIDE):
        return np.stack([to_rgb32(Image.fromarray(image)) for image in block])
    return block if block.ndim == 4 else np.repeat(block[..., None], 3, axis=3)
