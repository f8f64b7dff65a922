"""Check the images and labels of a split of a data set."""

import numpy as np

from jaxcifar.array_types import Integer, UInt8
from jaxcifar.errors import UsageError


def require_labels_in_range(
    where: str, labels: Integer[np.ndarray, "images"], num_classes: int
) -> None:
    """Check that labels are numbers from 0 to `num_classes - 1`.

    Args:
      where: the data set and the split, which begin the error message.
      labels: the labels of the split.
      num_classes: number of classes of the data set.

    Raises:
      UsageError: a label is out of range.
    """
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise UsageError(
            f"{where} has labels from {labels.min()} to {labels.max()}, but there are "
            f"{num_classes} classes; count labels from 0"
        )


def require_square_images(
    where: str, images: UInt8[np.ndarray, "_ height width channels"], size: int
) -> None:
    """Check that images are squares of `size` pixels with three channels.

    Args:
      where: the data set and the split, which begin the error message.
      images: the images of the split.
      size: height and width of the images of the data set.

    Raises:
      UsageError: the images have another shape.
    """
    shape = images.shape[1:]
    if shape != (size, size, 3):
        raise UsageError(
            f"{where} has images of shape {list(shape)}; give squares of one size with three "
            f"channels, as [{size}, {size}, 3]"
        )
