"""Convert the labels of a set of images to the class numbers of a run."""

from collections.abc import Sequence

import numpy as np

from jaxcifar.array_types import Int32, Integer
from jaxcifar.data.folder_listing import normal_form
from jaxcifar.errors import UsageError, printable
from jaxcifar.machine.name_lists import join_first

_MOST_NAMES = 5  # of classes in a message


def renumber(
    title: str,
    labels: Integer[np.ndarray, "images"],
    set_classes: Sequence[str],
    run_classes: Sequence[str],
) -> Int32[np.ndarray, "images"]:
    """Convert labels from a set's class numbers to a run's class numbers, by the class names.

    Args:
      title: name of the set, for the message.
      labels: labels of the set's images.
      set_classes: names of the set's classes, by label.
      run_classes: names of the run's classes, by label.

    Raises:
      UsageError: the run lacks a class of the set.
    """
    number_in_run = {normal_form(name): number for number, name in enumerate(run_classes)}
    unknown = [name for name in set_classes if normal_form(name) not in number_in_run]
    if unknown:
        run_has = _list_some(run_classes)
        if len(unknown) == 1:
            raise UsageError(
                f"{title}: class {unknown[0]!r} is not a class of the run; remove it, or rename it "
                f"to one of {run_has}"
            )
        raise UsageError(
            f"{title}: the set and the run have different classes: {_list_some(unknown)} are not "
            f"classes of the run, which has {run_has}; choose another set, or rename its classes"
        )
    new_numbers = np.asarray([number_in_run[normal_form(name)] for name in set_classes], np.int32)
    return new_numbers[labels]


def _list_some(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    return join_first([printable(name, 40) for name in names], _MOST_NAMES)
