"""The word for runs that differ only in seed or fold: "seeds", "folds", or "runs" for both."""

from collections.abc import Collection, Iterable
from typing import Literal, cast

from jaxcifar.report.run_records import Variation

Word = Literal["seeds", "folds", "runs"]


def words_for_repeats(variations: Iterable[Variation]) -> set[Literal["seeds", "folds"]]:
    """Return the set of words for what differs between the runs of a variation: "seeds", "folds".

    Variations with a single run do not count.
    """
    return {variation.repeat_word for variation in variations if len(variation.runs) > 1}


def word_or_runs(words: Collection[str]) -> Word:
    """Return the only word in `words`, or "runs" if there are several words."""
    only_word, *others = words
    return "runs" if others else cast(Word, only_word)
