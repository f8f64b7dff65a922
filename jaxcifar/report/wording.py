"""Format numbers, settings and names for a report's sentences and table cells."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.settings import readable_text
from jaxcifar.errors import printable
from jaxcifar.machine.name_lists import join_names as join_names
from jaxcifar.machine.terminal import pluralize
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
_MAX_SETTINGS = 4  # of a row, in a sentence
_MAX_TEXT = 500  # characters of a name that users choose


def escape_markdown(text: str) -> str:
    """Return any text as one printable line of Markdown in which no character acts as markup."""
    return escape_line(printable(" ".join(text.split()), _MAX_TEXT))


def escape_line(line: str) -> str:
    """Escape Markdown's special characters in a line that is already printable."""
    return _LIST_NUMBER.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", line))


def quoted(name: str) -> str:
    """Return a name in quotes for a sentence, because many names are ordinary words."""
    return f"“{escape_markdown(name)}”"


def percent(value: float) -> str:
    """Return a fraction in percent, such as "88.41%" for 0.8841."""
    return f"{100 * value:.2f}%"


def points(value: float) -> str:
    """Return a difference of fractions in percentage points, such as "+1.23" for 0.0123."""
    return f"{100 * value:+.2f}"


def mean_and_deviation(sample: Sample) -> str:
    """Return mean and standard deviation, "88.41 ± 0.21%"; without "±" for a single value."""
    if sample.deviation is None:
        return percent(sample.mean)
    return f"{100 * sample.mean:.2f} ± {100 * sample.deviation:.2f}%"


def accuracy(variation: Variation, key: str = "test_accuracy", split: str = "test") -> str:
    """Return the mean and standard deviation of a variation's accuracies over seeds or folds.

    `key` is the accuracy's field in `result.json`. `split`, "test" or "val", has the images on
    which the accuracy was measured.
    """
    return mean_and_deviation(Sample.of(variation, key, split))


def accuracy_with_flips(variation: Variation) -> str:
    """Return the accuracy of predictions averaged over an image and its mirror; "–" if unknown."""
    key = "test_accuracy_flip"
    is_known = all(key in run.result for run in variation.runs)
    return accuracy(variation, key) if is_known else "–"


def reference(variation: Variation) -> str:
    """Return a variation's published accuracies, such as "92.17 / 92.48%", or "–" without any."""
    values = " / ".join(f"{100 * value:.2f}" for value in variation.reference)
    return f"{values}%" if values else "–"


def reference_difference(variation: Variation) -> str:
    """Return test accuracy minus mean published accuracy in points; "–" if none was published."""
    if not variation.reference:
        return "–"
    reference_mean = sum(variation.reference) / len(variation.reference)
    return points(Sample.of(variation, "test_accuracy").mean - reference_mean)


def field_title(field: str) -> str:
    """Return the readable name of a config field, such as "learning rate"."""
    return _FIELD_TITLES.get(field, escape_markdown(field.replace("_", " ")))


def field_value(value: Any) -> str:
    """Return the text for the value of a setting; checksums are shortened, and None is "–"."""
    return escape_markdown(_CHECKSUM.sub(r"\1…", readable_text(value)))


def setting_text(value: Any) -> str:
    """Return the text for the value of a setting, or "not set" for a row without it (None)."""
    return "not set" if value is None else field_value(value)


def changes(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return changed settings as "learning rate 0.01 → 0.1, schedule none → step".

    `differing` has the values of each setting before and after the change.
    """
    return ", ".join(
        f"{field_title(field)} {setting_text(before)} → {setting_text(after)}"
        for field, (before, after) in differing.items()
    )


def changes_in_words(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return changed settings as "learning rate from 0.01 to 0.1 and schedule from none to ...".

    `differing` has the values of each setting before and after the change.
    """
    return join_names(
        f"{field_title(field)} from {setting_text(before)} to {setting_text(after)}"
        for field, (before, after) in differing.items()
    )


def new_values(differing: dict[str, tuple[Any, Any]]) -> str:
    """Return changed settings with their new values: "learning rate 0.1, schedule step".

    `differing` has the values of each setting before and after the change.
    """
    return ", ".join(
        f"{field_title(name)} {setting_text(new)}" for name, (_, new) in differing.items()
    )


def unusual_settings(variation: Variation, variations: Sequence[Variation]) -> str:
    """Return the settings in which a variation differs from most, such as "learning rate 0.1".

    If there are no such settings, return all settings in which `variations` differ.
    """

    def value(name: str, row: Variation) -> str:
        return setting_text(row.settings.get(name))

    def is_common(name: str) -> bool:
        counts = Counter(value(name, row) for row in variations)
        [(most_common, _)] = counts.most_common(1)
        return value(name, variation) == most_common

    fields = [
        name
        for name in varied_fields(variations)
        if name != "epochs" and variation.has_effect(name)
    ]
    unusual = [name for name in fields if not is_common(name)]
    shown = (unusual or fields)[:_MAX_SETTINGS]
    return ", ".join(f"{field_title(name)} {value(name, variation)}" for name in shown)


def varied_fields(variations: Sequence[Variation]) -> list[str]:
    """Return the names of all settings, other than the seed, in which variations differ.

    A setting is compared only between the variations in which it has an effect.
    """
    names = dict.fromkeys(_FIELD_TITLES)  # first, as the most important
    varied: set[str] = set()
    for variation in variations:
        names.update(dict.fromkeys(variation.settings))
        varied.update(variations[0].changes_to(variation))
    for name in DEFAULTS:
        affected = [v for v in variations if v.has_effect(name)]
        if any(name in affected[0].changes_to(v) for v in affected):
            varied.add(name)
    return [name for name in names if name in varied]


def trained_epochs(variation: Variation) -> str:
    """Return the number of epochs, such as "5 epochs", or "3 to 5 epochs" if runs ended early."""
    epochs = variation.trained_epochs
    if len(epochs) == 1:
        return pluralize(epochs[0], "epoch")
    return f"{epochs[0]} to {epochs[-1]} epochs"


def seed_count(variations: Sequence[Variation]) -> str:
    """Return how many seeds the variations were trained with, such as "3 seeds each".

    If a variation has several folds, return the number of folds in the same form.
    """
    if any(len(v.folds) > 1 for v in variations):
        noun, counts = "fold", [max(1, len(v.folds)) for v in variations]
    else:
        noun, counts = "seed", [len(v.runs) for v in variations]
    least, most = min(counts), max(counts)
    if most == 1:
        text = f"one {noun}"
    elif least == most:
        text = f"{most} {noun}s"
    else:
        text = f"{least} to {most} {noun}s"
    return text if len(variations) == 1 else f"{text} each"


def p_value(difference: Difference) -> str:
    """Return the p-value as "p = 0.031", rounded down so that 0.0499 does not become 0.050."""
    thousandths = math.floor(1000 * difference.p_value)
    return f"p = {thousandths / 1000:.3f}" if thousandths else "p < 0.001"


def p_cell(difference: Difference) -> str:
    """Return the p-value of a difference as a table cell, such as "0.031"."""
    return p_value(difference).removeprefix("p ").removeprefix("= ")


def interval(difference: Difference) -> str:
    """Return the 95% confidence interval in percentage points, such as "-0.21 to +1.43"."""
    low, high = difference.interval
    return f"{points(low)} to {points(high)}"


def basis(difference: Difference) -> str:
    """Return the source of a difference's standard error: "seeds" or "images"."""
    return "seeds" if difference.by_seeds else "images"


def significance(difference: Difference) -> str:
    """Return a difference's 95% interval, p-value, and source of its standard error."""
    return f"95% interval {interval(difference)}, {p_value(difference)}, by {basis(difference)}"


def unsigned_points(difference: Difference) -> str:
    """Return a difference in percentage points without its sign, or "less than 0.01"."""
    rounded = f"{100 * abs(difference.value):.2f}"
    return "less than 0.01" if rounded == "0.00" and not difference.is_tie else rounded


def verdict(difference: Difference) -> str:
    """Return "better", "worse", "a tie" or "can't be told apart" for a difference in accuracy."""
    if difference.is_tie:
        return "a tie"
    if not difference.is_significant:
        return "can't be told apart"
    return "better" if difference.value > 0 else "worse"
