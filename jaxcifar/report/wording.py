"""Text of figures, settings and names in a report's sentences and table cells."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jaxcifar.config.settings import readable_text
from jaxcifar.errors import printable
from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import Difference, Sample

_FIELD_TITLES = {
    "arch": "network",
    "normalize": "normalisation",
    "augment": "augmentation",
    "learning_rate": "learning rate",
    "schedule": "schedule",
}
# Special characters of CommonMark and of tables, and those that sites need to detect web addresses.
_MARKUP = re.compile(
    r"([\\`*\[\]<>|$&#~]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|^[-+=])", re.IGNORECASE
)
_LIST_NUMBER = re.compile(r"^(\d+)([.)])(?= |$)")
_CHECKSUM = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b")
_MAX_NAMES = 6  # in a sentence
_MAX_SETTINGS = 4  # of a row, in a sentence
_MAX_TEXT = 500  # characters of a name that users choose


def escape_markdown(text: str) -> str:
    """Return text as one printable line of Markdown, without any markup."""
    return escape_line(printable(" ".join(text.split()), _MAX_TEXT))


def escape_line(line: str) -> str:
    """Return a printable line of Markdown in which no character is markup."""
    return _LIST_NUMBER.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", line))


def quoted(name: str) -> str:
    """Return a name in quotes for a sentence, because many names are ordinary words."""
    return f"“{escape_markdown(name)}”"


def join_names(names: Iterable[str]) -> str:
    """Return names as "a, b and c"; of many names only the first and the number of the others."""
    names = list(names)
    if len(names) > _MAX_NAMES:
        others = len(names) - _MAX_NAMES + 1
        names = [*names[: _MAX_NAMES - 1], f"{others} others"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def percent(value: float) -> str:
    """Return 0.8841 as "88.41%"."""
    return f"{100 * value:.2f}%"


def points(value: float) -> str:
    """Return the difference 0.0123 as "+1.23" percentage points."""
    return f"{100 * value:+.2f}"


def mean_and_deviation(sample: Sample) -> str:
    """Return the mean and standard deviation over seeds, "88.41 ± 0.21%"; one seed has no "±"."""
    if sample.deviation is None:
        return percent(sample.mean)
    return f"{100 * sample.mean:.2f} ± {100 * sample.deviation:.2f}%"


def accuracy(variation: Variation, key: str = "test_accuracy", split: str = "test") -> str:
    """Return `mean_and_deviation` of the accuracy `key` of `result.json`."""
    return mean_and_deviation(Sample.of(variation, key, split))


def accuracy_with_flips(variation: Variation) -> str:
    """Return the accuracy averaged over images and mirror images; "–" if an old run lacks it."""
    key = "test_accuracy_flip"
    return accuracy(variation, key) if all(key in run.result for run in variation.runs) else "–"


def reference(variation: Variation) -> str:
    """Return the reference accuracies of a row, "92.17 / 92.48%"."""
    figures = " / ".join(f"{100 * value:.2f}" for value in variation.reference)
    return f"{figures}%" if figures else "–"


def reference_difference(variation: Variation) -> str:
    """Return test accuracy minus mean reference accuracy, in points."""
    if not variation.reference:
        return "–"
    reference_mean = sum(variation.reference) / len(variation.reference)
    return points(Sample.of(variation, "test_accuracy").mean - reference_mean)


def field_title(field: str) -> str:
    """Return the name of a setting in a report, such as "learning rate"."""
    return _FIELD_TITLES.get(field, escape_markdown(field.replace("_", " ")))


def field_value(value: Any) -> str:
    """Return the value of a setting; checksums are shortened and None is "–"."""
    return escape_markdown(_CHECKSUM.sub(r"\1…", readable_text(value)))


def changes(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return changed settings as "learning rate 0.01 → 0.1, schedule none → step"."""
    return ", ".join(
        f"{field_title(field)} {_value(before)} → {_value(after)}"
        for field, (before, after) in differing.items()
    )


def changes_in_words(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return changed settings as "learning rate from 0.01 to 0.1 and schedule from none to ..."."""
    return join_names(
        f"{field_title(field)} from {_value(before)} to {_value(after)}"
        for field, (before, after) in differing.items()
    )


def new_values(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return changed settings with their new values, "learning rate 0.1, schedule step"."""
    return ", ".join(f"{field_title(name)} {_value(new)}" for name, (_, new) in differing.items())


def _value(value: Any) -> str:
    return "not set" if value is None else field_value(value)


def unusual_settings(variation: Variation, variations: Sequence[Variation]) -> str:
    """Return the settings of a variation that are rare among `variations`, "learning rate 0.1".

    A variation with only common values gets all settings in which the variations differ.
    """

    def value(name: str, row: Variation) -> str:
        return _value(row.settings.get(name))

    def is_common(name: str) -> bool:
        counts = Counter(value(name, row) for row in variations)
        [(most_common, _)] = counts.most_common(1)
        return value(name, variation) == most_common

    fields = [name for name in varied_fields(variations) if name != "epochs"]
    unusual = [name for name in fields if not is_common(name)]
    shown = (unusual or fields)[:_MAX_SETTINGS]
    return ", ".join(f"{field_title(name)} {value(name, variation)}" for name in shown)


def varied_fields(variations: Sequence[Variation]) -> list[str]:
    """Return the names of the settings in which variations differ, without the seed."""
    names = dict.fromkeys([*_FIELD_TITLES, *(name for v in variations for name in v.settings)])
    varied = {name for v in variations for name in variations[0].changes_to(v)}
    return [name for name in names if name in varied]


def seed_count(variations: Sequence[Variation]) -> str:
    """Return the number of seeds, such as "one seed", "3 seeds each" or "1 to 3 seeds each"."""
    counts = [len(v.runs) for v in variations]
    least, most = min(counts), max(counts)
    if most == 1:
        text = "one seed"
    elif least == most:
        text = f"{most} seeds"
    else:
        text = f"{least} to {most} seeds"
    return text if len(variations) == 1 else f"{text} each"


def p_value(difference: Difference) -> str:
    """Return "p = 0.031", rounded down, so that 0.0499 is not written as 0.050."""
    thousandths = math.floor(1000 * difference.p_value)
    return f"p = {thousandths / 1000:.3f}" if thousandths else "p < 0.001"


def p_cell(difference: Difference) -> str:
    """Return `p_value` without "p =", for a column with the title p."""
    return p_value(difference).removeprefix("p ").removeprefix("= ")


def interval(difference: Difference) -> str:
    """Return the 95% confidence interval in points, "-0.21 to +1.43"."""
    low, high = difference.interval
    return f"{points(low)} to {points(high)}"


def basis(difference: Difference) -> str:
    """Return what the standard error of a difference comes from: "seeds" or "images"."""
    return "seeds" if difference.by_seeds else "images"


def significance(difference: Difference) -> str:
    """Return interval, p-value and basis of a difference, for parentheses in a sentence."""
    return f"95% interval {interval(difference)}, {p_value(difference)}, by {basis(difference)}"


def unsigned_points(difference: Difference) -> str:
    """Return a difference in points without its sign; a tiny difference is not written as 0.00."""
    rounded = f"{100 * abs(difference.value):.2f}"
    return "less than 0.01" if rounded == "0.00" and not difference.is_tie else rounded


def verdict(difference: Difference) -> str:
    """Return whether the second of two figures is better, worse, or neither."""
    if difference.is_tie:
        return "a tie"
    if not difference.is_significant:
        return "can't be told apart"
    return "better" if difference.value > 0 else "worse"
