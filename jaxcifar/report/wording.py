"""Format numbers, settings and names for a report's sentences and table cells."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcifar.config.settings import readable_text
from jaxcifar.errors import printable
from jaxcifar.machine.name_lists import join_names as join_names
from jaxcifar.machine.terminal import pluralize
from jaxcifar.report.repeat_words import words_for_repeats
from jaxcifar.report.run_records import ValueChange, Variation
from jaxcifar.report.statistics import Difference, Sample

_FIELD_TITLES = {
    "arch": "network",
    "normalize": "normalisation",
    "augment": "augmentation",
    "augmentation": "own augmentation",
    "learning_rate": "learning rate",
    "schedule": "schedule",
}
# Special characters of CommonMark and of tables, and those that sites need to detect web addresses.
_SPECIAL_CHARACTER = re.compile(
    r"([\\`*\[\]<>|$&#~]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|^[-+=])", re.IGNORECASE
)
_LIST_NUMBER_PATTERN = re.compile(r"^(\d+)([.)])(?= |$)")
_CHECKSUM_PATTERN = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b")
_MAX_UNUSUAL_SETTINGS = 4  # in a sentence about a row
_MAX_TEXT_CHARACTERS = 500  # characters of a name that users choose


def escape_markdown(text: str) -> str:
    """Return any text as one printable line of Markdown in which no character acts as markup."""
    return escape_line(printable(" ".join(text.split()), _MAX_TEXT_CHARACTERS))


def escape_line(line: str) -> str:
    """Return a line, without control characters, with Markdown's special characters escaped."""
    escaped_line = _SPECIAL_CHARACTER.sub(r"\\\1", line)
    return _LIST_NUMBER_PATTERN.sub(r"\1\\\2", escaped_line)


def quoted_name(name: str) -> str:
    """Return a name in quotes for a sentence, because many names are ordinary words."""
    return f"“{escape_markdown(name)}”"


def percent(value: float) -> str:
    """Return a fraction in percent, such as "88.41%" for 0.8841."""
    return f"{100 * value:.2f}%"


def signed_points(value: float) -> str:
    """Return a difference of fractions in percentage points, such as "+1.23" for 0.0123."""
    return f"{100 * value:+.2f}"


def mean_and_deviation(sample: Sample) -> str:
    """Return mean and standard deviation, "88.41 ± 0.21%"; only the mean for a single value."""
    if sample.deviation is None:
        return percent(sample.mean)
    return f"{100 * sample.mean:.2f} ± {100 * sample.deviation:.2f}%"


def accuracy_text(variation: Variation, key: str = "test_accuracy", split: str = "test") -> str:
    """Return mean and standard deviation of a variation's accuracies, such as "88.41 ± 0.21%".

    `key` names the accuracy in `result.json`. It was measured on the images of `split`.
    """
    return mean_and_deviation(Sample.of(variation, key, split))


def accuracy_with_flips_text(variation: Variation) -> str:
    """Return the accuracy of predictions averaged over mirror images; "–" if not measured."""
    key = "test_accuracy_flip"
    is_known = all(key in run.result for run in variation.runs)
    return accuracy_text(variation, key) if is_known else "–"


def reference_text(variation: Variation) -> str:
    """Return all published accuracies of a row, such as "92.17 / 92.48%"; "–" if there are none."""
    values = " / ".join(f"{100 * value:.2f}" for value in variation.reference_accuracies)
    return f"{values}%" if values else "–"


def reference_difference_text(variation: Variation) -> str:
    """Return test accuracy minus mean published accuracy in points; "–" if none was published."""
    if not variation.reference_accuracies:
        return "–"
    reference_mean = sum(variation.reference_accuracies) / len(variation.reference_accuracies)
    return signed_points(Sample.of(variation, "test_accuracy").mean - reference_mean)


def field_title(field: str) -> str:
    """Return the readable name of a config field, such as "learning rate"."""
    return _FIELD_TITLES.get(field, escape_markdown(field.replace("_", " ")))


def value_text(value: Any) -> str:
    """Return the text for the value of a setting; checksums are shortened, and None is "–"."""
    return escape_markdown(_CHECKSUM_PATTERN.sub(r"\1…", readable_text(value)))


def setting_text(value: Any) -> str:
    """Return the text for the value of a setting, or "not set" for a row without it (None)."""
    return "not set" if value is None else value_text(value)


def changes_with_arrows(changes: Mapping[str, ValueChange]) -> str:
    """Return changed settings as "learning rate 0.01 → 0.1, schedule none → step".

    `changes` has the old and the new value of each setting.
    """
    return ", ".join(
        f"{field_title(field)} {setting_text(old)} → {setting_text(new)}"
        for field, (old, new) in changes.items()
    )


def changes_in_words(changes: Mapping[str, ValueChange]) -> str:
    """Return changed settings as "learning rate from 0.01 to 0.1 and schedule from none to ...".

    `changes` has the old and the new value of each setting.
    """
    return join_names(
        f"{field_title(field)} from {setting_text(old)} to {setting_text(new)}"
        for field, (old, new) in changes.items()
    )


def new_values_text(changes: Mapping[str, ValueChange]) -> str:
    """Return changed settings with their new values: "learning rate 0.1, schedule step".

    `changes` has the old and the new value of each setting.
    """
    return ", ".join(
        f"{field_title(field)} {setting_text(new)}" for field, (_, new) in changes.items()
    )


def unusual_settings_text(variation: Variation, variations: Sequence[Variation]) -> str:
    """Return the settings in which a variation differs from most, such as "learning rate 0.1".

    If there are no such settings, return all settings in which `variations` differ.
    """
    varied_texts: list[str] = []
    unusual_texts: list[str] = []
    for field in varied_fields(variations):
        if field == "epochs" or not variation.has_effect(field):  # named elsewhere
            continue
        own_text = setting_text(variation.settings.get(field))
        counts = Counter(setting_text(row.settings.get(field)) for row in variations)
        [(most_common_text, _)] = counts.most_common(1)
        field_and_value = f"{field_title(field)} {own_text}"
        varied_texts.append(field_and_value)
        if own_text != most_common_text:
            unusual_texts.append(field_and_value)
    shown_texts = unusual_texts or varied_texts
    return ", ".join(shown_texts[:_MAX_UNUSUAL_SETTINGS])


def varied_fields(variations: Sequence[Variation]) -> list[str]:
    """Return the names of the settings, other than the seed, in which variations differ.

    The most important settings come first.
    """
    fields = dict.fromkeys(_FIELD_TITLES)  # a dict keeps the order, and each name once
    for variation in variations:
        fields |= dict.fromkeys(variation.settings)
    return [field for field in fields if _differs(field, variations)]


def _differs(field: str, variations: Sequence[Variation]) -> bool:
    """Return whether the variations in which a setting has an effect differ in this setting."""
    affected_rows = [row for row in variations if row.has_effect(field)]
    return any(field in affected_rows[0].changes_to(row) for row in affected_rows)


def trained_epochs_text(variation: Variation) -> str:
    """Return the number of epochs, such as "5 epochs", or "3 to 5 epochs" if runs ended early."""
    epochs = variation.trained_epochs
    if len(epochs) == 1:
        return pluralize(epochs[0], "epoch")
    return f"{epochs[0]} to {epochs[-1]} epochs"


def repeat_count_text(variations: Sequence[Variation]) -> str:
    """Return how many seeds the variations were trained with, such as "3 seeds each".

    Return the number of folds instead if the variations have several folds, and the number of runs
    if some variations have several folds and others several seeds.
    """
    words = words_for_repeats(variations)
    if words == {"folds"}:
        noun, counts = "fold", [max(1, len(row.folds)) for row in variations]
    else:
        noun = "run" if len(words) > 1 else "seed"
        counts = [len(row.runs) for row in variations]
    least, most = min(counts), max(counts)
    if most == 1:
        text = f"one {noun}"
    elif least == most:
        text = f"{most} {noun}s"
    else:
        text = f"{least} to {most} {noun}s"
    return text if len(variations) == 1 else f"{text} each"


def p_value_text(difference: Difference) -> str:
    """Return the p-value as "p = 0.031", rounded down so that 0.0499 does not become 0.050."""
    thousandths = math.floor(1000 * difference.p_value)
    return f"p = {thousandths / 1000:.3f}" if thousandths else "p < 0.001"


def p_value_cell(difference: Difference) -> str:
    """Return the p-value of a difference as a table cell, such as "0.031"."""
    return p_value_text(difference).removeprefix("p ").removeprefix("= ")


def interval_text(difference: Difference) -> str:
    """Return the 95% confidence interval in percentage points, such as "-0.21 to +1.43"."""
    low, high = difference.interval
    return f"{signed_points(low)} to {signed_points(high)}"


def significance_text(difference: Difference) -> str:
    """Return text such as "95% interval -0.21 to +1.43, p = 0.140, by seeds" (or "by images")."""
    interval, p_value = interval_text(difference), p_value_text(difference)
    return f"95% interval {interval}, {p_value}, by {difference.error_basis}"


def unsigned_points(difference: Difference) -> str:
    """Return a difference in percentage points without its sign, or "less than 0.01"."""
    points = f"{100 * abs(difference.value):.2f}"
    is_tiny = points == "0.00" and not difference.is_tie
    return "less than 0.01" if is_tiny else points


def comparison_verdict(difference: Difference) -> str:
    """Return "better", "worse", "a tie" or "can't be told apart" for a difference in accuracy."""
    if difference.is_tie:
        return "a tie"
    if not difference.is_significant:
        return "can't be told apart"
    return "better" if difference.value > 0 else "worse"
