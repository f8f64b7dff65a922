"""Sentences on what each setting of a study changes, from rows that differ in that setting only."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import (
    SIGNIFICANCE_LEVEL,
    Difference,
    Sample,
    SingleChange,
    single_changes,
)
from jaxcifar.report.wording import (
    field_title,
    join_names,
    setting_text,
)

_MAX_CHANGES = 3  # of one setting, in its sentence
_MAX_SENTENCES = 4  # on settings with an effect; the table of single changes has all of them


class Effect(NamedTuple):
    """The effect of a change of one setting on the test accuracy, from pairs of a study's rows.

    Attributes:
      setting: the setting that changes from `before` to `after`.
      differences: the difference in test accuracy of each pair of rows with this change.
      pooled: the mean of the differences.
      is_consistent: False if the pairs differ by more than chance explains, so that the effect
        depends on the other settings. Then the mean says little.
    """

    setting: str
    before: Any
    after: Any
    differences: tuple[Difference, ...]
    pooled: Difference
    is_consistent: bool

    @property
    def is_measured(self) -> bool:
        """True if the effect is larger than chance explains."""
        if self.is_consistent:
            return self.pooled.is_significant
        return any(difference.is_significant for difference in self.differences)

    @property
    def size(self) -> float:
        """The mean difference without sign; if pairs are not consistent, the largest difference."""
        if self.is_consistent:
            return abs(self.pooled.value)
        return max(abs(difference.value) for difference in self.differences)


def effects(variations: Sequence[Variation]) -> list[Effect]:
    """Return the effects on the test accuracy of changing one setting while the others stay.

    Variations that differ in one setting only are compared. A change goes from the setting's most
    frequent value to another value, or from False to True.
    """
    changes_by_values: dict[Any, list[SingleChange]] = {}
    for change in single_changes(variations):
        oriented = _from_usual_value(change, variations)
        key = oriented.setting, repr(oriented.before), repr(oriented.after)
        changes_by_values.setdefault(key, []).append(oriented)
    all_effects = [_combined_effect(changes) for changes in changes_by_values.values()]
    usual = {effect.setting: _usual_value(effect.setting, variations) for effect in all_effects}
    from_usual = [e for e in all_effects if usual[e.setting] in (e.before, e.after)]
    settings_from_usual = {effect.setting for effect in from_usual}
    others = [e for e in all_effects if e.setting not in settings_from_usual]
    return [*from_usual, *others]


def _usual_value(setting: str, variations: Sequence[Variation]) -> Any:
    """Return the most frequent value of a setting; None stands for variations that lack it."""
    counts = Counter(variation.settings.get(setting) for variation in variations)
    [(most_frequent, _)] = counts.most_common(1)
    return most_frequent


def _from_usual_value(change: SingleChange, variations: Sequence[Variation]) -> SingleChange:
    """Return the change or its reverse: the one that does not end at the setting's usual value.

    The usual value is the most frequent one. The change of a boolean goes from False to True.
    """
    if isinstance(change.before, bool):
        is_reversed = change.before
    else:
        is_reversed = change.after == _usual_value(change.setting, variations)
    if not is_reversed:
        return change
    return SingleChange(change.setting, change.after, change.before, change.second, change.first)


def _combined_effect(changes: Sequence[SingleChange]) -> Effect:
    """Return the effect of changing one setting from one value to another.

    `changes` are all pairs of variations that differ in this change only.
    """
    sample_pairs = [
        (Sample.of(change.first, "test_accuracy"), Sample.of(change.second, "test_accuracy"))
        for change in changes
    ]
    differences = tuple(Difference.between(before, after) for before, after in sample_pairs)
    return Effect(
        setting=changes[0].setting,
        before=changes[0].before,
        after=changes[0].after,
        differences=differences,
        pooled=Difference.mean_of(sample_pairs),
        is_consistent=_agree(sample_pairs),
    )


def _agree(sample_pairs: Sequence[tuple[Sample, Sample]]) -> bool:
    """Return whether a change of a setting has about the same effect in all pairs of samples.

    The effects agree unless two of them differ significantly, with Bonferroni's correction. Each
    pair has the test accuracies before and after the change.
    """
    comparisons = list(itertools.combinations(sample_pairs, 2))
    level = SIGNIFICANCE_LEVEL / max(len(comparisons), 1)
    p_values = [Difference.between_changes(*comparison).p_value for comparison in comparisons]
    return all(p_value >= level for p_value in p_values)


def effect_sentences(variations: Sequence[Variation]) -> list[str]:
    """Return at most five sentences on the effects of settings on the test accuracy.

    One more sentence says how the confidence intervals were computed. The list is empty for fewer
    than two variations.
    """
    if len(variations) < 2:
        return []
    largest_first = sorted(effects(variations), key=lambda effect: -effect.size)
    if not largest_first:
        return ["No two rows differ in one setting only, so no effect of a single change is known."]
    measured: dict[str, list[Effect]] = {}  # setting -> its effects
    for effect in largest_first:
        if effect.is_measured:
            measured.setdefault(effect.setting, []).append(effect)
    described = list(measured.values())[:_MAX_SENTENCES]
    sentences = [_measured_sentence(setting_effects) for setting_effects in described]
    other_settings = list(measured)[_MAX_SENTENCES:]
    if other_settings:
        others = join_names(map(field_title, other_settings))
        sentences[-1] += f" Smaller effects: {others} (see the table of single changes)."
    not_measured = [effect for effect in largest_first if not effect.is_measured]
    if not_measured:
        sentences.append(_not_measured_sentence(not_measured))
    return [*sentences, _basis_sentence(largest_first)]


def _measured_sentence(setting_effects: Sequence[Effect]) -> str:
    """Return a sentence on the effects of one setting, which are larger than chance explains."""
    clauses = [
        f"{_change_text(effect)} {_outcome_text(effect)}"
        for effect in setting_effects[:_MAX_CHANGES]
    ]
    others = setting_effects[_MAX_CHANGES:]
    if others:
        values = join_names(setting_text(effect.after) for effect in others)
        clauses.append(f"smaller effects: {values}")
    return _capitalized("; ".join(clauses)) + "."


def _change_text(effect: Effect) -> str:
    """Return the change of a setting as text, such as "schedule step instead of none"."""
    title = field_title(effect.setting)
    if isinstance(effect.before, bool) and isinstance(effect.after, bool):
        return title
    after, before = setting_text(effect.after), setting_text(effect.before)
    return f"{title} {after} instead of {before}"


def _outcome_text(effect: Effect) -> str:
    """Return the size of an effect, such as "adds 1.2 points" with its 95% interval."""
    if effect.is_consistent:
        pooled = effect.pooled
        verb = "adds" if pooled.value > 0 else "costs"
        rows = len(effect.differences)
        pairs = f", mean of {rows} pairs of rows" if rows > 1 else ""
        return f"{verb} {_plain_points(pooled)} points ({_plain_interval(pooled)}{pairs})"
    ordered = sorted(effect.differences, key=lambda difference: difference.value)
    least, most = ordered[0], ordered[-1]
    return (
        f"changes the accuracy by {least.value * 100:+.1f} to {most.value * 100:+.1f} points, "
        f"depending on the other settings ({len(ordered)} pairs of rows)"
    )


def _not_measured_sentence(small_effects: Sequence[Effect]) -> str:
    """Return a sentence that lists effects no larger than chance explains, with intervals."""
    changes = []
    for effect in small_effects:
        low, high = effect.pooled.interval
        changes.append(f"{_change_text(effect)} ({100 * low:+.1f} to {100 * high:+.1f} points)")
    return f"No effect could be measured of {join_names(changes)}."


def _basis_sentence(all_effects: Sequence[Effect]) -> str:
    """Return a sentence that says how the confidence intervals of effects were computed.

    The spread between seeds is used or, for a row with a single seed, the number of test images.
    """
    by_seeds = [effect.pooled.by_seeds for effect in all_effects]
    if all(by_seeds):
        return "In brackets: 95% intervals, from the spread between seeds."
    if not any(by_seeds):
        return (
            "In brackets: 95% intervals, from the number of test images. There are too few seeds "
            "to say how much another seed would change these figures."
        )
    return (
        "In brackets: 95% intervals, from the spread between seeds, or from the number of test "
        "images where a row has one seed. Another seed may change the latter by more."
    )


def _plain_points(difference: Difference) -> str:
    """Return a difference in percentage points without its sign, such as "9.7" or "0.41"."""
    return f"{100 * abs(difference.value):.{_decimals(difference)}f}"


def _plain_interval(difference: Difference) -> str:
    """Return the 95% interval of a significant difference in percentage points, as "8.9 to 10.5".

    The ends have no sign, and the end nearer to 0 is first.
    """
    low, high = sorted(100 * abs(end) for end in difference.interval)
    decimals = _decimals(difference)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _decimals(difference: Difference) -> int:
    """Return the number of decimals to print: 1, or 2 for differences below 1 percentage point."""
    return 1 if abs(difference.value) >= 0.01 else 2


def _capitalized(text: str) -> str:
    """Return the text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]
