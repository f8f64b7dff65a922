"""Check the user's labels in any usual form, and convert them to class numbers and class names."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Int64
from jaxcifar.data import binary_records
from jaxcifar.data.label_forms import NamedLabels, are_one_hot, flatten_labels
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import PrintLine


class ClassNumbers(NamedTuple):
    """Class numbers from 0, `[N]`, of each split; and the names of the classes, by number."""

    numbers_of_split: dict[str, Int64[np.ndarray, "_"]]
    class_names: tuple[str, ...]


def number_classes(
    named_labels: Mapping[str, NamedLabels],
    class_names: Sequence[str] | None,
    print_line: PrintLine | None = None,
    run_classes: Sequence[str] | None = None,
) -> ClassNumbers:
    """Check labels of any usual form, and convert them to class numbers from 0.

    To train on the images, every class must have training images.

    Args:
      named_labels: "train" and other splits -> labels. They are integers from 0 or 1, `[N]` or
        `[N, 1]`; strings in one of these shapes; or one-hot, `[N, classes]`.
      class_names: names of the classes, by label. With None, the names are the numbers of the
        labels or, if the labels are strings, these strings in sorted order.
      print_line: prints a line if the labels count from 1; None to print nothing.
      run_classes: names of the classes of a run that is evaluated on the images; None to train on
        them. Without `class_names`, integers number these classes.

    Raises:
      UsageError: labels or class names have a wrong form; the message names the array.
    """
    array_names = {split: named.array_name for split, named in named_labels.items()}
    labels_of_split = {split: flatten_labels(named) for split, named in named_labels.items()}
    are_strings = [_are_strings(labels) for labels in labels_of_split.values()]
    if any(are_strings) and not all(are_strings):
        raise UsageError(
            f"{', '.join(array_names.values())} mix integers and strings; use only "
            "integers, or only strings"
        )
    is_one_hot = any(map(are_one_hot, named_labels.values()))
    if run_classes is not None and class_names is None:
        integers_are_class_names = all(map(str.isdecimal, run_classes)) and not is_one_hot
        if integers_are_class_names:
            # If the run's classes are called "1" to "9", the label 1 is the class "1".
            labels_of_split = {
                split: labels.astype(str) for split, labels in labels_of_split.items()
            }
        class_names = _class_names_for_evaluation(labels_of_split, array_names, run_classes)
    if class_names is not None:
        _require_class_names(class_names, min_count=2 if run_classes is None else 1)
    first_label = 0
    if any(map(_are_strings, labels_of_split.values())):
        numbered = _number_strings(labels_of_split, array_names, class_names)
    else:
        if not is_one_hot:
            first_label = _guess_first_label(labels_of_split, class_names)
        numbered = _number_integers(labels_of_split, array_names, class_names, first_label)
    class_names = numbered.class_names
    if run_classes is None:
        _require_training_images(numbered, array_names["train"], first_label)
    if first_label == 1 and print_line:
        print_line(
            f"The labels in {' and '.join(array_names.values())} go from 1 to {len(class_names)}: "
            f"label 1 is class {class_names[0]!r}, label {len(class_names)} is class "
            f"{class_names[-1]!r}."
        )
    return numbered


def _are_strings(labels: np.ndarray) -> bool:
    return labels.dtype.kind == "U"


def _class_names_for_evaluation(
    labels_of_split: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    run_classes: Sequence[str],
) -> Sequence[str]:
    """Return class names for an evaluation, on images for which the user gave no class names.

    If the labels are strings, these are the names, which are compared with the run's names later.
    Integers are numbers of the run's classes, so the run's names are returned.

    Raises:
      UsageError: an integer is not the number of a class of the run.
    """
    labels_of_splits = list(labels_of_split.values())
    if _are_strings(labels_of_splits[0]):
        return np.unique(np.concatenate(labels_of_splits)).tolist()
    class_count = len(run_classes)
    first_label = _guess_first_label(labels_of_split, run_classes)
    largest = max(int(labels.max()) for labels in labels_of_splits)
    if largest >= first_label + class_count:
        raise UsageError(
            f"{' and '.join(array_names.values())}: the label {largest} is none of the run's "
            f"{class_count:,} classes, which have the labels 0 to {class_count - 1:,}; correct the "
            "labels, or give class_names"
        )
    return run_classes


def _require_training_images(numbered: ClassNumbers, label_array: str, first_label: int) -> None:
    images_per_class = np.bincount(
        numbered.numbers_of_split["train"], minlength=len(numbered.class_names)
    )
    empty_classes = np.flatnonzero(images_per_class == 0)
    if len(empty_classes):
        empty_class = int(empty_classes[0])
        raise UsageError(
            f"class {numbered.class_names[empty_class]!r} (label {empty_class + first_label}) has "
            f"no training images in {label_array}; number the classes from 0 without gaps, each "
            "with images to train on"
        )


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
        split: _class_numbers_of_strings(array_names[split], labels, class_names)
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
    _refuse_labels_without_class(checked_labels, array_names, len(class_names), first_label)
    numbers_of_split = {split: labels - first_label for split, labels in checked_labels.items()}
    return ClassNumbers(numbers_of_split, tuple(class_names))


def _require_class_names(class_names: Sequence[str], min_count: int = 2) -> None:
    if not min_count <= len(class_names) <= binary_records.MAX_CLASSES:
        raise UsageError(
            f"the number of classes is {len(class_names):,}, but must be from {min_count} to "
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


def _class_numbers_of_strings(
    array_name: str, labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    number_of_class = {class_name: number for number, class_name in enumerate(class_names)}
    distinct_labels, distinct_index_of_image = np.unique(labels, return_inverse=True)
    for label in distinct_labels.tolist():
        if label not in number_of_class:
            raise UsageError(
                f"{array_name} has the label {label!a}, which is not a class of the training "
                "images; correct the label, or add training images and a class name"
            )
    distinct_numbers = [number_of_class[label] for label in distinct_labels.tolist()]
    return np.asarray(distinct_numbers, np.int64)[distinct_index_of_image]


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


def _guess_first_label(
    labels_of_split: Mapping[str, np.ndarray], class_names: Sequence[str] | None
) -> int:
    """Return the label of the first class: 1 if the labels count from 1, else 0.

    They count from 1 if the smallest is 1 and the largest is the number of `class_names`, if given.
    """
    smallest = min(int(labels.min()) for labels in labels_of_split.values())
    largest = max(int(labels.max()) for labels in labels_of_split.values())
    names_fit_labels_from_1 = class_names is None or len(class_names) == largest
    return 1 if smallest == 1 and names_fit_labels_from_1 else 0


def _refuse_labels_without_class(
    labels_of_split: Mapping[str, np.ndarray],
    array_names: Mapping[str, str],
    class_count: int,
    first_label: int,
) -> None:
    for split, labels in labels_of_split.items():
        largest_label = int(labels.max())
        if largest_label < first_label + class_count:
            continue
        if split == "train" or "train" not in labels_of_split:
            raise UsageError(
                f"{array_names[split]} has the label {largest_label}, but there are only "
                f"{class_count} class names; give one for each class"
            )
        raise UsageError(
            f"{array_names[split]} has the label {largest_label}, but the training images have "
            f"only {class_count} classes; remove those images, or add that class for training"
        )
