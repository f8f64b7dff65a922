"""Check the user's labels in any usual form, and convert them to class numbers and class names."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Int64, Shaped
from jaxcifar.data import binary_records
from jaxcifar.errors import UsageError


class NamedLabels(NamedTuple):
    """The labels of a split, not checked yet.

    Attributes:
      name: name of the array, for messages.
      values: the labels.
      images: number of images that the labels are for.
    """

    name: str
    values: Shaped[np.ndarray, "..."]
    images: int


class ClassNumbers(NamedTuple):
    """Class numbers from 0, `[N]`, of each split; and the names of the classes, by number."""

    splits: dict[str, Int64[np.ndarray, "_"]]
    class_names: tuple[str, ...]


def number_classes(
    labels: Mapping[str, NamedLabels], class_names: Sequence[str] | None
) -> ClassNumbers:
    """Check labels, and convert them to class numbers.

    Args:
      labels: "train" and other splits -> labels. They are integers from 0, `[N]` or `[N, 1]`;
        strings in one of these shapes; or one-hot, `[N, classes]`.
      class_names: names of the classes, by label; None for the numbers of the labels, or for the
        strings in sorted order.

    Raises:
      UsageError: labels or class names have a wrong form; the message names the array.
    """
    flat = {split: _flatten(*parts) for split, parts in labels.items()}
    names_of = {split: parts.name for split, parts in labels.items()}
    kinds = {array.dtype.kind == "U" for array in flat.values()}
    if len(kinds) == 2:
        raise UsageError(
            f"{', '.join(names_of.values())} mix integers and strings; use one of them for all"
        )
    if kinds == {True}:
        if class_names is None:
            class_names = np.unique(flat["train"]).tolist()
        _check_class_names(class_names)
        numbers = {
            split: _numbers_of_strings(names_of[split], array, class_names)
            for split, array in flat.items()
        }
    else:
        numbers = {split: _check_range(names_of[split], array) for split, array in flat.items()}
        _check_first_label(numbers, names_of)
        if class_names is None:
            class_names = [str(number) for number in range(int(numbers["train"].max()) + 1)]
        _check_class_names(class_names)
        _check_largest_labels(numbers, names_of, len(class_names))
    counts = np.bincount(numbers["train"], minlength=len(class_names))
    if not counts.all():
        label = int(np.argmin(counts))
        raise UsageError(
            f"class {class_names[label]!r} (label {label}) has no training images in "
            f"{names_of['train']}; number the classes from 0 without gaps, each with images to "
            "train on"
        )
    return ClassNumbers(numbers, tuple(class_names))


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


def _flatten(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the labels of `count` images as integers or strings, `[N]`."""
    if labels.dtype.kind == "O" and all(isinstance(value, str) for value in labels.flat):
        labels = labels.astype(str)  # from pandas
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"{name} has strings that are not UTF-8; save it again") from None
    if labels.shape in ((count,), (count, 1)) and labels.dtype.kind in "iuU":
        return labels.reshape(-1)
    if labels.ndim == 2 and len(labels) == count and labels.dtype.kind in "iufb":
        return _from_one_hot(name, labels)
    raise UsageError(
        f"{name} has shape {labels.shape} and dtype {labels.dtype}; give one integer from 0, or "
        f"one string, for each of the {count:,} images, or one-hot rows"
    )


def _from_one_hot(name: str, rows: np.ndarray) -> np.ndarray:
    is_one = rows == 1
    is_one_hot = (is_one.sum(1) == 1) & (np.count_nonzero(rows, axis=1) == 1)
    if not is_one_hot.all():
        row = int(np.argmin(is_one_hot))
        raise UsageError(
            f"{name} has shape {rows.shape}, but row {row} is not one-hot: it needs a single 1 and "
            "else only 0, because each image has one class"
        )
    return is_one.argmax(1)


def _numbers_of_strings(name: str, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    distinct, index = np.unique(labels, return_inverse=True)
    for label in distinct.tolist():
        if label not in numbers:
            raise UsageError(
                f"{name} has the label {label!a}, which is not a class of the training images; "
                "correct the label, or add training images and a class name"
            )
    return np.asarray([numbers[label] for label in distinct.tolist()], np.int64)[index]


def _check_range(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= binary_records.MAX_CLASSES:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UsageError(
            f"{name} has the label {wrong}, which is out of range; count classes from 0, to at "
            f"most {binary_records.MAX_CLASSES - 1:,}"
        )
    return labels.astype(np.int64)


def _check_first_label(labels: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
    """Raise an error if no split has the label 0."""
    smallest = min(int(array.min()) for array in labels.values())
    if smallest > 0:
        largest = max(int(array.max()) for array in labels.values())
        arrays = ", ".join(names.values())
        shifted = ", ".join(f"{name} - {smallest}" for name in names.values())
        raise UsageError(
            f"{arrays} count labels from {smallest} to {largest}, so the class with label 0 has no "
            f"images; count from 0 ({shifted})"
        )


def _check_largest_labels(
    labels: Mapping[str, np.ndarray], names: Mapping[str, str], classes: int
) -> None:
    largest = {split: int(array.max()) for split, array in labels.items()}
    if largest["train"] >= classes:
        raise UsageError(
            f"{names['train']} has the label {largest['train']}, but there are only {classes} "
            "class names; give one for each class"
        )
    for split, label in largest.items():
        if label >= classes:
            raise UsageError(
                f"{names[split]} has the label {label}, but the training images have only "
                f"{classes} classes; remove those images, or add training images of that class"
            )
