"""Labels in any usual form: integers, strings or one-hot rows; one label for each image."""

from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Shaped
from jaxcifar.errors import UsageError

_INTEGER_OR_STRING_KINDS = "iuU"  # NumPy's letters for signed and unsigned integers, and for str
_NUMBER_KINDS = "iufb"  # integers, floats and bool, where True and False count as 1 and 0


class NamedLabels(NamedTuple):
    """The labels of a split, not checked yet.

    Attributes:
      array_name: name of the array, for messages.
      labels: the labels.
      image_count: number of images that the labels are for.
    """

    array_name: str
    labels: Shaped[np.ndarray, "..."]
    image_count: int


def flatten_labels(named_labels: NamedLabels) -> Shaped[np.ndarray, "_"]:
    """Return one integer or string for each image, `[N]`, from labels in any usual form.

    These are integers or strings `[N]` or `[N, 1]`, or one-hot rows `[N, classes]`.

    Raises:
      UsageError: the labels have another form.
    """
    array_name, labels, image_count = named_labels
    labels = _unify_strings(array_name, labels)
    has_one_label_each = labels.shape in ((image_count,), (image_count, 1))
    are_integers_or_strings = labels.dtype.kind in _INTEGER_OR_STRING_KINDS
    if has_one_label_each and are_integers_or_strings:
        return labels.reshape(-1)
    has_one_row_each = labels.ndim == 2 and len(labels) == image_count and labels.shape[1] > 1
    are_numbers = labels.dtype.kind in _NUMBER_KINDS
    if has_one_row_each and are_numbers:
        return _labels_of_one_hot_rows(array_name, labels)
    raise UsageError(
        f"{array_name} has shape {labels.shape} and dtype {labels.dtype}; give one integer from 0, "
        f"or one string, for each of the {image_count:,} images, or one-hot rows"
    )


def _unify_strings(array_name: str, labels: np.ndarray) -> np.ndarray:
    """Convert strings in any of NumPy's forms to an array of `str`; keep other labels unchanged."""
    are_objects = labels.dtype.kind == "O"
    are_string_objects = are_objects and all(isinstance(label, str) for label in labels.flat)
    have_string_dtype = labels.dtype.kind == "T"  # NumPy's StringDType
    if are_string_objects or have_string_dtype:
        return labels.astype(object).astype(str)
    are_bytes = labels.dtype.kind == "S"
    if are_bytes:
        try:
            return np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise UsageError(
                f"{array_name} has strings that are not UTF-8; save them as str"
            ) from None
    return labels


def _labels_of_one_hot_rows(array_name: str, rows: np.ndarray) -> np.ndarray:
    """Return the label of each one-hot row: the position of its only 1."""
    is_one = rows == 1
    has_single_one = is_one.sum(1) == 1
    has_single_nonzero = np.count_nonzero(rows, axis=1) == 1
    is_one_hot = has_single_one & has_single_nonzero
    wrong_rows = np.flatnonzero(~is_one_hot)
    if len(wrong_rows):
        raise UsageError(
            f"{array_name} has shape {rows.shape}, but row {wrong_rows[0]} is not one-hot: it "
            "needs a single 1, and 0 in all other places, because each image has one class"
        )
    return is_one.argmax(1)


def are_one_hot(named_labels: NamedLabels) -> bool:
    """Return True for one-hot labels, `[N, classes]`; False for labels `[N]` or `[N, 1]`."""
    image_count = named_labels.image_count
    return named_labels.labels.shape not in ((image_count,), (image_count, 1))
