"""Convert the labels of a set of images to the class numbers of a run."""

from collections.abc import Sequence

import numpy as np

from jaxcifar.array_types import Int32, Integer
from jaxcifar.data.folder_listing import normal_form
from jaxcifar.errors import UsageError, printable
from jaxcifar.machine.name_lists import join_first

_NO_LABEL = -1  # of a class that the run does not have; it has no images
_MAX_NAMES_SHOWN = 5  # of classes in a message
_MAX_NAME_LENGTH = 40  # characters of a class name in a message


def convert_to_run_labels(
    set_title: str,
    labels: Integer[np.ndarray, "images"],
    set_classes: Sequence[str],
    run_classes: Sequence[str],
) -> Int32[np.ndarray, "images"]:
    """Convert labels from a set's class numbers to a run's class numbers, by the class names.

    Classes of the set that have no images may be unknown to the run.

    Args:
      set_title: name of the set, for the message.
      labels: labels of the set's images.
      set_classes: names of the set's classes, by label.
      run_classes: names of the run's classes, by label.

    Raises:
      UsageError: the run lacks a class of the set.
    """
    run_label_of_class = {normal_form(name): label for label, name in enumerate(run_classes)}
    classes_with_images = [set_classes[label] for label in np.unique(labels)]
    unknown_classes = [
        name for name in classes_with_images if normal_form(name) not in run_label_of_class
    ]
    if unknown_classes:
        classes_of_run = _list_first_names(run_classes)
        if len(unknown_classes) == 1:
            raise UsageError(
                f"{set_title}: class {unknown_classes[0]!r} is not a class of the run; remove it, "
                f"or rename it to one of {classes_of_run}"
            )
        raise UsageError(
            f"{set_title}: the set and the run have different classes: "
            f"{_list_first_names(unknown_classes)} are not classes of the run, which has "
            f"{classes_of_run}; choose another set, or rename its classes"
        )
    run_labels = [run_label_of_class.get(normal_form(name), _NO_LABEL) for name in set_classes]
    run_label_of_set_label = np.asarray(run_labels, np.int32)
    return run_label_of_set_label[labels]


def _list_first_names(names: Sequence[str]) -> str:
    """Return a text with the first few names, and the number of the others."""
    short_names = [printable(name, _MAX_NAME_LENGTH) for name in names]
    return join_first(short_names, _MAX_NAMES_SHOWN)
