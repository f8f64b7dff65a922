"""Check the images and labels of a split of a data set."""

import numbers
from typing import Any, NoReturn

import numpy as np

from jaxcifar.array_types import Integer, UInt8
from jaxcifar.config.folds import FOLD_RULE
from jaxcifar.errors import UsageError


def require_labels_in_range(
    split_title: str, labels: Integer[np.ndarray, "images"], num_classes: int
) -> None:
    """Check that labels are numbers from 0 to `num_classes - 1`.

    Args:
      split_title: the data set and the split, which begin the error message.
      labels: the labels of the split.
      num_classes: number of classes of the data set.

    Raises:
      UsageError: a label is out of range.
    """
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise UsageError(
            f"{split_title} has labels from {labels.min()} to {labels.max()}, but there are "
            f"{num_classes} classes; count labels from 0"
        )


def require_square_images(
    split_title: str, images: UInt8[np.ndarray, "_ height width channels"], size: int
) -> None:
    """Check that images are squares of `size` pixels with three channels.

    Args:
      split_title: the data set and the split, which begin the error message.
      images: the images of the split.
      size: height and width of the images of the data set.

    Raises:
      UsageError: the images have another shape.
    """
    shape = images.shape[1:]
    if shape != (size, size, 3):
        raise UsageError(
            f"{split_title} has images of shape {list(shape)}; give squares of one size with three "
            f"channels, as [{size}, {size}, 3]"
        )


def require_one_kind_of_validation(
    x_val: Any, y_val: Any, val_fraction: float | None, fold: str
) -> None:
    """Check that the arguments of `Dataset.from_arrays` choose validation images in one way.

    Args:
      x_val: validation images, or None.
      y_val: labels of the validation images, or None.
      val_fraction: fraction of the training images for validation, or None.
      fold: fold of the training images for validation, such as "1/5"; "" for none.

    Raises:
      UsageError: only one of `x_val` and `y_val` is given, or an argument has no effect.
    """
    if (x_val is None) != (y_val is None):
        raise UsageError("x_val and y_val belong together; give both or neither")
    if val_fraction is not None and (x_val is not None or fold):
        other_argument = "fold" if x_val is None else "x_val"
        raise UsageError(f"val_fraction has no effect with {other_argument}; leave one of them out")


def require_usable_split(val_fraction: float | None, train_examples: int | None, fold: str) -> None:
    """Check the arguments by which `Dataset.from_arrays` splits the training images.

    Args:
      val_fraction: fraction of the training images for validation, or None.
      train_examples: largest number of images to train on, or None.
      fold: fold of the training images for validation, such as "1/5"; "" for none.

    Raises:
      UsageError: a number is out of range or is no number, or the fold is no text.
    """
    if not isinstance(fold, str):
        raise UsageError(f"fold {fold!r:.80}: {FOLD_RULE}")
    is_fraction = isinstance(val_fraction, numbers.Real) and 0 <= val_fraction < 1
    if val_fraction is not None and not is_fraction:
        raise UsageError(f"val_fraction {val_fraction!r:.80}: must be at least 0 and below 1")
    is_count = isinstance(train_examples, numbers.Integral) and train_examples >= 1
    if train_examples is not None and not is_count:
        raise UsageError(
            f"train_examples {train_examples!r:.80}: must be a whole number, at least 1"
        )


def refuse_validation_option(title: str, val_fraction: float, fold: str) -> NoReturn:
    """Raise an error about an option that a data set with its own validation images can't have.

    Args:
      title: the title of the data set.
      val_fraction: the value of the option, if `fold` is "".
      fold: the fold that was chosen, such as "1/5"; "" for none.

    Raises:
      UsageError: always.
    """
    option = f"--fold {fold}" if fold else f"--val-fraction {val_fraction}"
    raise UsageError(
        f"{option}: {title} has its own validation images, so no training images are kept for "
        "validation; leave this option out"
    )
