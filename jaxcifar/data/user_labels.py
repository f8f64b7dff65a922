"""Check the user's labels in any usual form, and convert them to class numbers and class names."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Int64, Shaped
from jaxcifar.data import binary_records
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import PrintLine


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
    labels: Mapping[str, NamedLabels],
    class_names: Sequence[str] | None,
    print_line: PrintLine | None = None,
) -> ClassNumbers:
    """Check labels of any usual form, and convert them to class numbers from 0.

    Args:
      labels: "train" and other splits -> labels. They are integers from 0 or 1, `[N]` or `[N, 1]`;
        strings in one of these shapes; or one-hot, `[N, classes]`.
      class_names: names of the classes, by label. With None, the names are the numbers of the
        labels or, if the labels are strings, these strings in sorted order.
      print_line: prints a line if the labels count from 1; None to print nothing.

    Raises:
      UsageError: labels or class names have a wrong form; the message names the array.
    """
    array_names = {split: named.name for split, named in labels.items()}
    flat_labels = {
        split: _flatten(named.name, named.values, named.images) for split, named in labels.items()
    }
    are_strings = [array.dtype.kind == "U" for array in flat_labels.values()]
    if any(are_strings) and not all(are_strings):
        raise UsageError(
            f"{', '.join(array_names.values())} mix integers and strings; use one of them for all"
        )
    first_label = 0
    if any(are_strings):
        numbered = _number_strings(flat_labels, array_names, class_names)
    else:
        if not any(map(_is_one_hot, labels.values())):
            first_label = _first_label(flat_labels, class_names)
        numbered = _check_integers(flat_labels, array_names, class_names, first_label)
    class_names = numbered.class_names
    images_per_class = np.bincount(numbered.splits["train"], minlength=len(class_names))
    if not images_per_class.all():
        empty = int(np.argmin(images_per_class))
        raise UsageError(
            f"class {class_names[empty]!r} (label {empty + first_label}) has no training images in "
            f"{array_names['train']}; number the classes from 0 without gaps, each with images to "
            "train on"
        )
    if first_label == 1 and print_line:
        print_line(
            f"The labels in {' and '.join(array_names.values())} go from 1 to {len(class_names)}: "
            f"label 1 is class {class_names[0]!r}, label {len(class_names)} is class "
            f"{class_names[-1]!r}."
        )
    return numbered


def _number_strings(
    labels: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    class_names: Sequence[str] | None,
) -> ClassNumbers:
    """Convert labels that are strings to class numbers.

    `labels` has strings `[N]` for each split, and `array_names` their arrays' names for messages.
    """
    if class_names is None:
        class_names = np.unique(labels["train"]).tolist()
    _check_class_names(class_names)
    numbers = {
        split: _numbers_of_strings(array_names[split], array, class_names)
        for split, array in labels.items()
    }
    return ClassNumbers(numbers, tuple(class_names))


def _check_integers(
    labels: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    class_names: Sequence[str] | None,
    first_label: int,
) -> ClassNumbers:
    """Check integer labels that count the classes from `first_label`; return class numbers from 0.

    `labels` has integers `[N]` for each split, and `array_names` their arrays' names for messages.
    """
    checked = {split: _check_range(array_names[split], array) for split, array in labels.items()}
    if class_names is None:
        last_label = int(checked["train"].max())
        class_names = [str(label) for label in range(first_label, last_label + 1)]
    _check_class_names(class_names)
    _check_largest_labels(checked, array_names, len(class_names), first_label)
    numbers = {split: array - first_label for split, array in checked.items()}
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
    """Return labels in any usual form as one integer or string for each image, `[N]`.

    Args:
      name: name of the array, for messages.
      labels: integers or strings `[N]` or `[N, 1]`, or one-hot rows `[N, classes]`.
      count: number of images.
    """
    if labels.dtype.kind == "O" and all(isinstance(value, str) for value in labels.flat):
        labels = labels.astype(str)  # from pandas
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"{name} has strings that are not UTF-8; save them as str") from None
    if labels.shape in ((count,), (count, 1)) and labels.dtype.kind in "iuU":
        return labels.reshape(-1)
    if labels.ndim == 2 and len(labels) == count and labels.dtype.kind in "iufb":
        return _from_one_hot(name, labels)
    raise UsageError(
        f"{name} has shape {labels.shape} and dtype {labels.dtype}; give one integer from 0, or "
        f"one string, for each of the {count:,} images, or one-hot rows"
    )


def _from_one_hot(name: str, rows: np.ndarray) -> np.ndarray:
    """Return the label of each one-hot row: the position of its only 1."""
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
    number_of_class = {class_name: number for number, class_name in enumerate(class_names)}
    distinct_labels, index = np.unique(labels, return_inverse=True)
    for label in distinct_labels.tolist():
        if label not in number_of_class:
            raise UsageError(
                f"{name} has the label {label!a}, which is not a class of the training images; "
                "correct the label, or add training images and a class name"
            )
    numbers = [number_of_class[label] for label in distinct_labels.tolist()]
    return np.asarray(numbers, np.int64)[index]


def _check_range(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= binary_records.MAX_CLASSES:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        if wrong == -1:
            raise UsageError(
                f"{name} has the label -1, which stands for a hidden label; images without labels "
                "can't be used, so leave them (or this file) out"
            )
        raise UsageError(
            f"{name} has the label {wrong}, which is out of range; count classes from 0, to at "
            f"most {binary_records.MAX_CLASSES - 1:,}"
        )
    return labels.astype(np.int64)


def _is_one_hot(labels: NamedLabels) -> bool:
    """Return True if labels are rows of numbers, one for each class."""
    return labels.values.shape not in ((labels.images,), (labels.images, 1))


def _first_label(labels: Mapping[str, np.ndarray], class_names: Sequence[str] | None) -> int:
    """Return the label of the first class, 0 or 1.

    It is 1 if no label of any split is 0 and, where names are given, each label has its name then.
    """
    smallest = min(int(array.min()) for array in labels.values())
    largest = max(int(array.max()) for array in labels.values())
    has_names = class_names is None or len(class_names) == largest
    return 1 if smallest == 1 and has_names else 0


def _check_largest_labels(
    labels: Mapping[str, np.ndarray], names: Mapping[str, str], classes: int, first_label: int
) -> None:
    largest = {split: int(array.max()) for split, array in labels.items()}
    if largest["train"] >= first_label + classes:
        raise UsageError(
            f"{names['train']} has the label {largest['train']}, but there are only {classes} "
            "class names; give one for each class"
        )
    for split, label in largest.items():
        if label >= first_label + classes:
            raise UsageError(
                f"{names[split]} has the label {label}, but the training images have only "
                f"{classes} classes; remove those images, or add training images of that class"
            )
