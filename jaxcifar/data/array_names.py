"""Recognise images and labels by the names that people give to the arrays in a file."""

import re
from collections.abc import Collection
from typing import NamedTuple, NoReturn

from jaxcifar.data.split_names import SPLIT_WORDS
from jaxcifar.errors import UsageError
from jaxcifar.machine.name_lists import join_first

_WORDS_OF_CONTENT = {
    "images": ("x", "image", "images", "img", "imgs", "data"),
    "labels": ("y", "label", "labels", "target", "targets"),
}
_CLASS_NAME_SPELLINGS = ("classnames", "labelnames", "targetnames")
_MAX_SHOWN_NAMES = 5
_MAX_NAME_LENGTH = 40  # characters of a name in a message


class SplitArrayNames(NamedTuple):
    """The names of the arrays with the images and labels of a split."""

    image_array: str
    label_array: str


class ArrayNames(NamedTuple):
    """The names of the arrays to read from a file.

    Attributes:
      arrays_of_split: "train" and, optionally, "test" and "val" -> names of the arrays of the
        split.
      class_name_array: name of the array of class names; None if the file has no such array.
      ignored_arrays: names of all other arrays.
    """

    arrays_of_split: dict[str, SplitArrayNames]
    class_name_array: str | None
    ignored_arrays: list[str]


def recognise_arrays(array_names: Collection[str], needs_training: bool = True) -> ArrayNames:
    """Find the arrays of images, labels and class names in a file by their names.

    Known names are `x_train`, `train_images`, `X_test`, `val_labels` and similar ones. If no name
    says a split, `x` and `y`, `images` and `labels`, or `data` and `target` are accepted.

    Args:
      array_names: names of all arrays in the file.
      needs_training: False if the images of any split are enough.

    Raises:
      UsageError: an array is missing, or two arrays could have the same meaning.
    """
    arrays_of_split: dict[str, SplitArrayNames] = {}
    names_say_splits = _has_array_of_a_split(array_names)
    # If no name says a split, the arrays `x` and `y` are for training.
    splits_to_find = list(SPLIT_WORDS) if names_say_splits else ["train"]
    training_is_required = needs_training or not names_say_splits
    for split in splits_to_find:
        split_in_names = split if names_say_splits else None
        image_array = _find_array(array_names, "images", split_in_names)
        label_array = _find_array(array_names, "labels", split_in_names)
        if image_array is not None and label_array is not None:
            arrays_of_split[split] = SplitArrayNames(image_array, label_array)
            continue
        lacks_only_one_array = image_array is not None or label_array is not None
        split_is_required = split == "train" and training_is_required
        if lacks_only_one_array or split_is_required:
            missing_arrays = []
            if image_array is None:
                missing_arrays.append(f"x_{split}")
            if label_array is None:
                missing_arrays.append(f"y_{split}")
            _refuse_missing_arrays(missing_arrays, array_names, needs_training)
    class_name_array = _find_spelled_array(array_names, _CLASS_NAME_SPELLINGS, "class_names")
    used_arrays = {class_name_array}
    for split_arrays in arrays_of_split.values():
        used_arrays.update(split_arrays)
    ignored_arrays = sorted(name for name in array_names if name not in used_arrays)
    return ArrayNames(arrays_of_split, class_name_array, ignored_arrays)


def _refuse_missing_arrays(
    missing_arrays: Collection[str], array_names: Collection[str], needs_training: bool
) -> NoReturn:
    needed_arrays = "x_test and y_test"
    if needs_training:
        needed_arrays = "x_train, y_train, x_test and y_test"
    raise UsageError(
        f"the file lacks {', '.join(missing_arrays)}; it has "
        f"{_list_arrays(array_names)}, and must have {needed_arrays}, or x and y"
    )


def _find_array(array_names: Collection[str], content: str, split: str | None) -> str | None:
    """Return the name of the array with the images or labels of a split; None if there is none.

    `content` is "images" or "labels"; `split` is None for names without a split, such as `x`.
    """
    usual_name = _WORDS_OF_CONTENT[content][0]
    if split is None:
        return _find_spelled_array(array_names, _WORDS_OF_CONTENT[content], usual_name)
    return _find_spelled_array(
        array_names, _array_spellings(content, split), f"{usual_name}_{split}"
    )


def _has_array_of_a_split(array_names: Collection[str]) -> bool:
    """Return True if the name of any array says its split, such as `x_train`."""
    for content in _WORDS_OF_CONTENT:
        found_arrays = [_find_array(array_names, content, split) for split in SPLIT_WORDS]
        if any(found_arrays):
            return True
    return False


def _array_spellings(content: str, split: str) -> set[str]:
    """Return the known names of a split's images or labels (`content`), such as "trainimages"."""
    spellings = set()
    for word in _WORDS_OF_CONTENT[content]:
        for split_word in SPLIT_WORDS[split]:
            spellings |= {word + split_word, split_word + word}
    return spellings


def _find_spelled_array(
    array_names: Collection[str], spellings: Collection[str], preferred_name: str
) -> str | None:
    """Return the array name that is one of `spellings`; None if there is none.

    Only letters are compared, in lower case. If several names match, `preferred_name` is returned.

    Raises:
      UsageError: several names match, and none of them is `preferred_name`.
    """
    matches = []
    for name in array_names:
        letters = re.sub("[^a-z]", "", name.lower())
        if letters in spellings:
            matches.append(name)
    if preferred_name in matches:
        return preferred_name
    if len(matches) > 1:
        raise UsageError(
            f"the arrays {_list_arrays(matches)} could all be {preferred_name}; rename one to "
            f"{preferred_name}, or keep only one"
        )
    return matches[0] if matches else None


def _list_arrays(array_names: Collection[str]) -> str:
    """Return up to `_MAX_SHOWN_NAMES` names as printable text, and the number of the others."""
    printable_names = []
    for name in sorted(array_names):
        name_in_quotes = ascii(name[:_MAX_NAME_LENGTH])
        printable_names.append(name_in_quotes[1:-1])
    return join_first(printable_names, _MAX_SHOWN_NAMES)
