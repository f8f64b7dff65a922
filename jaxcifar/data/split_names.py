"""The words that name the splits of a data set: in folders, files, tables and arrays."""

import re

SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_of_name(name: str) -> str | None:
    """Return the split that a folder's name, or a cell of a table, means; None for other names.

    For example, "Validation" means "val".
    """
    lower_case_name = name.strip().casefold()
    for split, words in SPLIT_WORDS.items():
        if lower_case_name in words:
            return split
    return None


def split_of_name_part(name: str, separators: str = "_.-") -> str | None:
    """Return the split that a part of a name says: "test" for "seg_test" and "test-set".

    Args:
      name: name of a file or folder.
      separators: the characters between the parts, written as between the square brackets of a
        regular expression.

    Returns:
      "train", "val" or "test"; None if no part names a split, or parts name different splits.
    """
    name_parts = re.split(f"[{separators}]+", name)
    named_splits = {split_of_name(name_part) for name_part in name_parts} - {None}
    return named_splits.pop() if len(named_splits) == 1 else None
