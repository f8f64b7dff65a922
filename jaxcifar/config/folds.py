"""Folds of k-fold cross-validation, which a setting names as `I/K`, such as `1/5`."""

import re
from typing import NamedTuple

_FOLD_PATTERN = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")
FOLD_RULE = "must be I/K with I from 1 to K and K from 2 to 999, such as 1/5, or none"


class Fold(NamedTuple):
    """Fold `number`, counted from 1, of `total` folds."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_fold(text: str) -> Fold | None:
    """Return the fold of cross-validation with a name such as "1/5"; None for any other text."""
    match = _FOLD_PATTERN.fullmatch(text)
    if match is None:
        return None
    fold = Fold(int(match[1]), int(match[2]))
    is_valid = fold.number <= fold.total and fold.total >= 2
    return fold if is_valid else None


def fold_setting(text: str) -> str:
    """Return the setting `fold` for the text that a user gives: "" for "none", or the text."""
    return "" if text == "none" else text


def is_fold_or_empty(text: str) -> bool:
    """Return whether a text is a value of the setting `fold`: a fold such as "1/5", or ""."""
    return text == "" or parse_fold(text) is not None


def run_folder_name(seed: int, fold: str = "") -> str:
    """Return the name of a run's folder: `seed0`, or `fold1of5_seed0` for the fold "1/5"."""
    return f"fold{fold.replace('/', 'of')}_seed{seed}" if fold else f"seed{seed}"


def all_folds(fold_count: int) -> list[str]:
    """Return the names of all `fold_count` folds, such as `1/5` to `5/5`; an empty list for 0."""
    return [str(Fold(number, fold_count)) for number in range(1, fold_count + 1)]
