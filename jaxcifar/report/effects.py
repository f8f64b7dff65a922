"""The effect of each setting of a study on the accuracy, from rows that differ in it only."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxcifar.report.run_records import Variation
from jaxcifar.report.single_changes import SingleChange, single_changes
from jaxcifar.report.statistics import (
    SIGNIFICANCE_LEVEL,
    Difference,
    Sample,
    SamplePair,
)


class Effect(NamedTuple):
    """The effect of a change of one setting on the test accuracy, from pairs of a study's rows.

    Attributes:
      setting: the setting that changes from `old_value` to `new_value`.
      differences: the difference in test accuracy of each pair of rows with this change.
      mean_difference: the mean of the differences.
      is_consistent: False if the pairs differ by more than chance explains, so that the effect
        depends on the other settings. Then the mean says little.
    """

    setting: str
    old_value: Any
    new_value: Any
    differences: tuple[Difference, ...]
    mean_difference: Difference
    is_consistent: bool

    @property
    def is_measured(self) -> bool:
        """True if the effect is larger than chance explains."""
        if self.is_consistent:
            return self.mean_difference.is_significant
        return any(difference.is_significant for difference in self.differences)

    @property
    def absolute_change(self) -> float:
        """The size of the effect, without sign, for sorting.

        This is the mean difference, or the largest difference if the pairs are not consistent.
        """
        if self.is_consistent:
            return abs(self.mean_difference.value)
        return max(abs(difference.value) for difference in self.differences)


def find_effects(variations: Sequence[Variation]) -> list[Effect]:
    """Return how the test accuracy changes if one setting changes and the others stay.

    Only pairs of variations that differ in exactly one setting are compared. Each effect is of a
    change from the setting's usual (most frequent) value to another value, or from False to True.
    If no pair has the usual value, the effects are between the setting's other values. Of
    variations with equal settings, only the first one counts, so that pairs are independent.
    """
    variations = _without_repeated_settings(variations)
    changes = [_in_usual_direction(change, variations) for change in single_changes(variations)]
    effects = [_effect_of_changes(equal_changes) for equal_changes in _group_by_values(changes)]
    effects_on_usual_value = []
    for effect in effects:
        usual_value = _usual_value(effect.setting, variations)
        changes_usual_value = usual_value in (effect.old_value, effect.new_value)
        if changes_usual_value:
            effects_on_usual_value.append(effect)
    settings_compared_with_usual_value = {effect.setting for effect in effects_on_usual_value}
    effects_of_other_settings = [
        effect for effect in effects if effect.setting not in settings_compared_with_usual_value
    ]
    return [*effects_on_usual_value, *effects_of_other_settings]


def _group_by_values(changes: Sequence[SingleChange]) -> list[list[SingleChange]]:
    """Group changes that have the same setting, old value and new value; return the groups."""
    groups: dict[tuple[str, str, str], list[SingleChange]] = {}
    for change in changes:
        # As text, 1 and True are different values.
        old_text, new_text = repr(change.old_value), repr(change.new_value)
        group_key = (change.setting, old_text, new_text)
        groups.setdefault(group_key, []).append(change)
    return list(groups.values())


def _without_repeated_settings(variations: Sequence[Variation]) -> list[Variation]:
    """Return the variations whose settings differ from the settings of all earlier variations."""
    different: list[Variation] = []
    for variation in variations:
        if all(variation.changes_to(earlier) for earlier in different):
            different.append(variation)
    return different


def _usual_value(setting: str, variations: Sequence[Variation]) -> Any:
    """Return the most frequent value of a setting; None stands for variations that lack it."""
    counts = Counter(variation.settings.get(setting) for variation in variations)
    [(most_frequent, _)] = counts.most_common(1)
    return most_frequent


def _in_usual_direction(change: SingleChange, variations: Sequence[Variation]) -> SingleChange:
    """Return a change; swap old and new if the new value is the most frequent one of its setting.

    For a boolean setting, swap them if the new value is False.
    """
    is_on_off_setting = isinstance(change.old_value, bool)
    if is_on_off_setting:
        is_reversed = change.old_value is True
    else:
        is_reversed = change.new_value == _usual_value(change.setting, variations)
    if not is_reversed:
        return change
    return SingleChange(
        setting=change.setting,
        old_value=change.new_value,
        new_value=change.old_value,
        old_row=change.new_row,
        new_row=change.old_row,
    )


def _effect_of_changes(changes: Sequence[SingleChange]) -> Effect:
    """Return how test accuracy changes if one setting is changed from one value to another.

    Each item of `changes` is a pair of variations that differ only in this setting, and have these
    two values.
    """
    sample_pairs = [
        SamplePair(
            old=Sample.of(change.old_row, "test_accuracy"),
            new=Sample.of(change.new_row, "test_accuracy"),
        )
        for change in changes
    ]
    return Effect(
        setting=changes[0].setting,
        old_value=changes[0].old_value,
        new_value=changes[0].new_value,
        differences=tuple(Difference.between(pair.old, pair.new) for pair in sample_pairs),
        mean_difference=Difference.mean_of(sample_pairs),
        is_consistent=_have_same_change(sample_pairs),
    )


def _have_same_change(sample_pairs: Sequence[SamplePair]) -> bool:
    """Return whether a change of a setting has about the same effect in all pairs of samples.

    The effects agree unless two of them differ significantly, with Bonferroni's correction. Each
    pair has the test accuracies before and after the change.
    """
    comparisons = list(itertools.combinations(sample_pairs, 2))
    corrected_level = SIGNIFICANCE_LEVEL / max(len(comparisons), 1)
    for first_pair, second_pair in comparisons:
        if Difference.between_changes(first_pair, second_pair).p_value < corrected_level:
            return False
    return True
