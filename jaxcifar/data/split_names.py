"""The words that name the splits of a data set: in folders, files, tables and arrays."""

import re

SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_of(name: str) -> str | None:
    """Return the split that a name of a folder, or a cell of a table, means.

    Returns:
      "train", "val" or "test", such as "val" for "Validation"; None for other names.
    """
    lower = name.strip().casefold()
    return next((split for split, words in SPLIT_WORDS.items() if lower in words), None)


def split_within(name: str, separators: str = "_.-") -> str | None:
    """Return the split that a part of a name says: "test" for "seg_test" and "test-set".

    Args:
      name: name of a file or folder.
      separators: the characters between the parts, as in a set of a regular expression.

    Returns:
      "train", "val" or "test"; None if no part names a split, or parts name different splits.
    """
    splits = {split_of(part) for part in re.split(f"[{separators}]+", name)} - {None}
    return splits.pop() if len(splits) == 1 else None
