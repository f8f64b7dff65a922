"""Recognise images and labels by the names that people give to the arrays in a file."""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from jaxcifar.errors import UsageError

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
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
      splits: "train" and, optionally, "test" and "val" -> names of the arrays.
      class_names: name of the array of class names; None if there is none.
      ignored: names of all other arrays.
    """

    splits: dict[str, NamesOfSplit]
    class_names: str | None
    ignored: list[str]


def recognise(names: Collection[str]) -> ArrayNames:
    """Return which arrays of a file are images, labels and class names, judging by their names.

    Known are `x_train`, `train_images`, `X_test`, `val_labels` and the like, and for images without
    a split `x` and `y`, `images` and `labels`, or `data` and `target`.

    Raises:
      UsageError: an array is missing, or two arrays could have the same meaning.
    """
    splits = {}
    for split in _SPLIT_WORDS:
        found = {kind: _find(names, kind, split) for kind in _WORDS}
        if split == "train" and not any(_find_all(names, kind, _SPLIT_WORDS) for kind in _WORDS):
            found = {kind: _find(names, kind, None) for kind in _WORDS}
        images, labels = found["images"], found["labels"]
        if images is not None and labels is not None:
            splits[split] = NamesOfSplit(images, labels)
        elif images or labels or split == "train":
            missing = [f"{_WORDS[kind][0]}_{split}" for kind, name in found.items() if name is None]
            raise UsageError(
                f"the file lacks {', '.join(missing)}; it has {_shown(names)}, and must have "
                "x_train, y_train, x_test and y_test, or x and y"
            )
    class_names = _only(names, _CLASS_NAMES, "class_names")
    used = {name for pair in splits.values() for name in pair} | {class_names}
    return ArrayNames(splits, class_names, sorted(name for name in names if name not in used))


def _find(names: Collection[str], kind: str, split: str | None) -> str | None:
    """Return the name of the array with the images or labels (`kind`) of a split, or None."""
    plain_name = _WORDS[kind][0]
    if split is None:
        return _only(names, _WORDS[kind], plain_name)
    return _only(names, _spellings(kind, split), f"{plain_name}_{split}")


def _find_all(names: Collection[str], kind: str, splits: Iterable[str]) -> list[str]:
    return [name for split in splits if (name := _find(names, kind, split)) is not None]


def _spellings(kind: str, split: str) -> set[str]:
    """Return all names for the images or labels (`kind`) of a split, as letters only."""
    pairs = [(word, split_word) for word in _WORDS[kind] for split_word in _SPLIT_WORDS[split]]
    return {word + split_word for word, split_word in pairs} | {
        split_word + word for word, split_word in pairs
    }


def _only(names: Collection[str], spellings: Collection[str], preferred: str) -> str | None:
    """Return the only name with one of these spellings; among several, only `preferred`."""
    found = [name for name in names if re.sub("[^a-z]", "", name.lower()) in spellings]
    if preferred in found or not found:
        return preferred if found else None
    if len(found) > 1:
        raise UsageError(
            f"the arrays {_shown(found)} could all be {preferred}; rename one to {preferred}, or "
            "keep only one"
        )
    return found[0]


def _shown(names: Collection[str]) -> str:
    """Return a few names as text, printable whatever they contain."""
    shown = [ascii(name[:40])[1:-1] for name in sorted(names)[:_MAX_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
