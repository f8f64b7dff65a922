"""Recognise images and labels by the names that people give to the arrays in a file."""

import re
from collections.abc import Collection
from typing import NamedTuple

from jaxcifar.data.split_names import SPLIT_WORDS
from jaxcifar.errors import UsageError
from jaxcifar.machine.name_lists import join_first

_WORDS = {
    "images": ("x", "image", "images", "img", "imgs", "data"),
    "labels": ("y", "label", "labels", "target", "targets"),
}
_CLASS_NAMES = ("classnames", "labelnames", "targetnames")
_MAX_SHOWN = 5


class NamesOfSplit(NamedTuple):
    """The names of the arrays with the images and labels of a split."""

    images: str
    labels: str


class ArrayNames(NamedTuple):
    """The names of the arrays to read from a file.

    Attributes:
      splits: "train" and, optionally, "test" and "val" -> names of the arrays of the split.
      class_names: name of the array of class names; None if the file has no such array.
      ignored: names of all other arrays.
    """

    splits: dict[str, NamesOfSplit]
    class_names: str | None
    ignored: list[str]


def recognise(names: Collection[str]) -> ArrayNames:
    """Find the arrays of images, labels and class names in a file by their names.

    Known names are `x_train`, `train_images`, `X_test`, `val_labels` and similar ones. If no name
    says a split, `x` and `y`, `images` and `labels`, or `data` and `target` are accepted.

    Args:
      names: names of all arrays in the file.

    Raises:
      UsageError: an array is missing, or two arrays could have the same meaning.
    """
    splits: dict[str, NamesOfSplit] = {}
    for split in SPLIT_WORDS:
        images = _find(names, "images", split)
        labels = _find(names, "labels", split)
        if split == "train" and not _any_names_a_split(names):
            images = _find(names, "images", None)
            labels = _find(names, "labels", None)
        if images is not None and labels is not None:
            splits[split] = NamesOfSplit(images, labels)
        elif images or labels or split == "train":
            missing_images = [] if images else [f"x_{split}"]
            missing_labels = [] if labels else [f"y_{split}"]
            raise UsageError(
                f"the file lacks {', '.join(missing_images + missing_labels)}; it has "
                f"{_list_names(names)}, and must have x_train, y_train, x_test and y_test, or x "
                "and y"
            )
    class_names = _find_spelling(names, _CLASS_NAMES, "class_names")
    used = {class_names}
    for split_names in splits.values():
        used.update(split_names)
    ignored = sorted(name for name in names if name not in used)
    return ArrayNames(splits, class_names, ignored)


def _find(names: Collection[str], content: str, split: str | None) -> str | None:
    """Return the name of the array with the images or labels of a split; None if there is none.

    `content` is "images" or "labels"; `split` is None for names without a split, such as `x`.
    """
    plain_name = _WORDS[content][0]
    if split is None:
        return _find_spelling(names, _WORDS[content], plain_name)
    return _find_spelling(names, _spellings(content, split), f"{plain_name}_{split}")


def _any_names_a_split(names: Collection[str]) -> bool:
    """Return True if the name of any array says its split, such as `x_train`."""
    for content in _WORDS:
        names_with_split = [_find(names, content, split) for split in SPLIT_WORDS]
        if any(names_with_split):
            return True
    return False


def _spellings(content: str, split: str) -> set[str]:
    """Return all names, in letters only, for the images or labels (`content`) of a split."""
    spellings = set()
    for word in _WORDS[content]:
        for split_word in SPLIT_WORDS[split]:
            spellings |= {word + split_word, split_word + word}
    return spellings


def _find_spelling(
    names: Collection[str], spellings: Collection[str], preferred: str
) -> str | None:
    """Return the name whose letters are one of `spellings`; None if there is no such name.

    If several names match, the name `preferred` is returned.

    Raises:
      UsageError: several names match, and none of them is `preferred`.
    """
    matches = [name for name in names if re.sub("[^a-z]", "", name.lower()) in spellings]
    if preferred in matches:
        return preferred
    if len(matches) > 1:
        raise UsageError(
            f"the arrays {_list_names(matches)} could all be {preferred}; rename one to "
            f"{preferred}, or keep only one"
        )
    return matches[0] if matches else None


def _list_names(names: Collection[str]) -> str:
    """Return up to `_MAX_SHOWN` names as printable text, and the number of the others."""
    shown = []
    for name in sorted(names):
        quoted = ascii(name[:40])
        shown.append(quoted[1:-1])
    return join_first(shown, _MAX_SHOWN)
