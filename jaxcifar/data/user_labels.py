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
      array_name: name of the array, for messages.
      labels: the labels.
      image_count: number of images that the labels are for.
    """

    array_name: str
    labels: Shaped[np.ndarray, "..."]
    image_count: int


class ClassNumbers(NamedTuple):
    """Class numbers from 0, `[N]`, of each split; and the names of the classes, by number."""

    numbers_of_split: dict[str, Int64[np.ndarray, "_"]]
    class_names: tuple[str, ...]


def number_classes(
    named_labels: Mapping[str, NamedLabels],
    class_names: Sequence[str] | None,
    print_line: PrintLine | None = None,
) -> ClassNumbers:
    """Check labels of any usual form, and convert them to class numbers from 0.

    Args:
      named_labels: "train" and other splits -> labels. They are integers from 0 or 1, `[N]` or
        `[N, 1]`; strings in one of these shapes; or one-hot, `[N, classes]`.
      class_names: names of the classes, by label. With None, the names are the numbers of the
        labels or, if the labels are strings, these strings in sorted order.
      print_line: prints a line if the labels count from 1; None to print nothing.

    Raises:
      UsageError: labels or class names have a wrong form; the message names the array.
    """
    array_names = {split: named.array_name for split, named in named_labels.items()}
    labels_of_split = {split: _flatten_labels(named) for split, named in named_labels.items()}
    are_strings = [labels.dtype.kind == "U" for labels in labels_of_split.values()]
    if any(are_strings) and not all(are_strings):
        raise UsageError(
            f"{', '.join(array_names.values())} mix integers and strings; use one of them for all"
        )
    first_label = 0
    if any(are_strings):
        numbered = _number_strings(labels_of_split, array_names, class_names)
    else:
        if not any(map(_are_one_hot, named_labels.values())):
            first_label = _guess_first_label(labels_of_split, class_names)
        numbered = _number_integers(labels_of_split, array_names, class_names, first_label)
    class_names = numbered.class_names
    images_per_class = np.bincount(numbered.numbers_of_split["train"], minlength=len(class_names))
    if not images_per_class.all():
        empty_class = int(np.argmin(images_per_class))
        raise UsageError(
            f"class {class_names[empty_class]!r} (label {empty_class + first_label}) has no "
            f"training images in {array_names['train']}; number the classes from 0 without gaps, "
            "each with images to train on"
        )
    if first_label == 1 and print_line:
        print_line(
            f"The labels in {' and '.join(array_names.values())} go from 1 to {len(class_names)}: "
            f"label 1 is class {class_names[0]!r}, label {len(class_names)} is class "
            f"{class_names[-1]!r}."
        )
    return numbered


def _number_strings(
    labels_of_split: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    class_names: Sequence[str] | None,
) -> ClassNumbers:
    """Convert labels that are strings to class numbers.

    `labels_of_split` has strings `[N]` for each split; `array_names` is for error messages.
    """
    if class_names is None:
        class_names = np.unique(labels_of_split["train"]).tolist()
    _require_class_names(class_names)
    numbers_of_split = {
        split: _label_numbers(array_names[split], labels, class_names)
        for split, labels in labels_of_split.items()
    }
    return ClassNumbers(numbers_of_split, tuple(class_names))


def _number_integers(
    labels_of_split: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    class_names: Sequence[str] | None,
    first_label: int,
) -> ClassNumbers:
    """Check integer labels that count the classes from `first_label`; return class numbers from 0.

    `labels_of_split` has integers `[N]` for each split; `array_names` is for error messages.
    """
    checked_labels = {
        split: _check_labels(array_names[split], labels)
        for split, labels in labels_of_split.items()
    }
    if class_names is None:
        last_label = int(checked_labels["train"].max())
        class_names = [str(label) for label in range(first_label, last_label + 1)]
    _require_class_names(class_names)
    _require_named_labels(checked_labels, array_names, len(class_names), first_label)
    numbers_of_split = {split: labels - first_label for split, labels in checked_labels.items()}
    return ClassNumbers(numbers_of_split, tuple(class_names))


def _require_class_names(class_names: Sequence[str]) -> None:
    if not 2 <= len(class_names) <= binary_records.MAX_CLASSES:
        raise UsageError(
            f"the number of classes is {len(class_names):,}, but must be from 2 to "
            f"{binary_records.MAX_CLASSES:,}; add or remove classes"
        )
    for name in class_names:
        if not name.isprintable() or not name.strip():
            raise UsageError(f"the class name {name!a} can't be printed; rename that class")
    if len(set(class_names)) < len(class_names):
        repeated_name = next(name for name in class_names if class_names.count(name) > 1)
        raise UsageError(
            f"the class name {repeated_name!r} is given twice; give each class a different name"
        )


def _flatten_labels(named: NamedLabels) -> np.ndarray:
    """Return one integer or string for each image, `[N]`, from labels in any usual form.

    These are integers or strings `[N]` or `[N, 1]`, or one-hot rows `[N, classes]`.
    """
    array_name, labels, image_count = named
    are_objects = labels.dtype.kind == "O"
    if are_objects and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)  # from pandas
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise UsageError(
                f"{array_name} has strings that are not UTF-8; save them as str"
            ) from None
    has_one_label_each = labels.shape in ((image_count,), (image_count, 1))
    are_integers_or_strings = labels.dtype.kind in "iuU"
    if has_one_label_each and are_integers_or_strings:
        return labels.reshape(-1)
    has_one_row_each = labels.ndim == 2 and len(labels) == image_count
    are_numbers = labels.dtype.kind in "iufb"  # True and False count as 1 and 0
    if has_one_row_each and are_numbers:
        return _labels_of_one_hot_rows(array_name, labels)
    raise UsageError(
        f"{array_name} has shape {labels.shape} and dtype {labels.dtype}; give one integer from 0, "
        f"or one string, for each of the {image_count:,} images, or one-hot rows"
    )


def _labels_of_one_hot_rows(array_name: str, rows: np.ndarray) -> np.ndarray:
    """Return the label of each one-hot row: the position of its only 1."""
    is_one = rows == 1
    has_single_one = is_one.sum(1) == 1
    is_else_zero = np.count_nonzero(rows, axis=1) == 1
    is_one_hot = has_single_one & is_else_zero
    if not is_one_hot.all():
        wrong_row = int(np.argmin(is_one_hot))
        raise UsageError(
            f"{array_name} has shape {rows.shape}, but row {wrong_row} is not one-hot: it needs a "
            "single 1 and else only 0, because each image has one class"
        )
    return is_one.argmax(1)


def _label_numbers(array_name: str, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    number_of_class = {class_name: number for number, class_name in enumerate(class_names)}
    distinct_labels, index_of_distinct = np.unique(labels, return_inverse=True)
    for label in distinct_labels.tolist():
        if label not in number_of_class:
            raise UsageError(
                f"{array_name} has the label {label!a}, which is not a class of the training "
                "images; correct the label, or add training images and a class name"
            )
    numbers = [number_of_class[label] for label in distinct_labels.tolist()]
    return np.asarray(numbers, np.int64)[index_of_distinct]


def _check_labels(array_name: str, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= binary_records.MAX_CLASSES:
        wrong_label = labels.min() if labels.min() < 0 else labels.max()
        if wrong_label == -1:
            raise UsageError(
                f"{array_name} has the label -1, which stands for a hidden label; images without "
                "labels can't be used, so leave them (or this file) out"
            )
        raise UsageError(
            f"{array_name} has the label {wrong_label}, which is out of range; count classes from "
            f"0, to at most {binary_records.MAX_CLASSES - 1:,}"
        )
    return labels.astype(np.int64)


def _are_one_hot(named: NamedLabels) -> bool:
    """Return True if labels are rows of numbers, one for each class."""
    return named.labels.shape not in ((named.image_count,), (named.image_count, 1))


def _guess_first_label(
    labels_of_split: Mapping[str, np.ndarray], class_names: Sequence[str] | None
) -> int:
    """Return the label of the first class, 0 or 1.

    It is 1 if no label of any split is 0 and, where names are given, each label has its name then.
    """
    smallest = min(int(labels.min()) for labels in labels_of_split.values())
    largest = max(int(labels.max()) for labels in labels_of_split.values())
    names_fit = class_names is None or len(class_names) == largest
    return 1 if smallest == 1 and names_fit else 0


def _require_named_labels(
    labels_of_split: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    class_count: int,
    first_label: int,
) -> None:
    largest_labels = {split: int(labels.max()) for split, labels in labels_of_split.items()}
    if largest_labels["train"] >= first_label + class_count:
        raise UsageError(
            f"{array_names['train']} has the label {largest_labels['train']}, but there are only "
            f"{class_count} class names; give one for each class"
        )
    for split, largest_label in largest_labels.items():
        if largest_label >= first_label + class_count:
            raise UsageError(
                f"{array_names[split]} has the label {largest_label}, but the training images have "
                f"only {class_count} classes; remove those images, or add that class for training"
            )
