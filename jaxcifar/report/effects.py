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
    """What the change of one setting does to the test accuracy, over all pairs of rows with it.

    Attributes:
      setting: the setting that changes from `before` to `after`.
      differences: the difference in test accuracy of each pair of rows.
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
        """The largest absolute difference that the sentence about the effect gives."""
        if self.is_consistent:
            return abs(self.pooled.value)
        return max(abs(difference.value) for difference in self.differences)


def effects(variations: Sequence[Variation]) -> list[Effect]:
    """Return the effect of each change of one setting, from the setting's usual value to another.

    The usual value of a setting is the most frequent one; "no" comes before "yes".
    """
    pairs: dict[Any, list[SingleChange]] = {}
    for change in single_changes(variations):
        oriented = _from_usual_value(change, variations)
        key = oriented.setting, repr(oriented.before), repr(oriented.after)
        pairs.setdefault(key, []).append(oriented)
    found = [_effect(changes) for changes in pairs.values()]
    usual = {effect.setting: _usual_value(effect.setting, variations) for effect in found}
    from_usual = [e for e in found if usual[e.setting] in (e.before, e.after)]
    covered = {effect.setting for effect in from_usual}
    return [*from_usual, *(effect for effect in found if effect.setting not in covered)]


def _usual_value(setting: str, variations: Sequence[Variation]) -> Any:
    counts = Counter(v.settings.get(setting) for v in variations)
    return counts.most_common(1)[0][0]


def _from_usual_value(change: SingleChange, variations: Sequence[Variation]) -> SingleChange:
    """Return the change, reversed if it goes to the setting's usual value or from yes to no."""
    if isinstance(change.before, bool):
        is_reversed = change.before
    else:
        is_reversed = change.after == _usual_value(change.setting, variations)
    if not is_reversed:
        return change
    return SingleChange(change.setting, change.after, change.before, change.second, change.first)


def _effect(changes: Sequence[SingleChange]) -> Effect:
    samples = [
        (Sample.of(change.first, "test_accuracy"), Sample.of(change.second, "test_accuracy"))
        for change in changes
    ]
    differences = tuple(Difference.between(first, second) for first, second in samples)
    first = changes[0]
    return Effect(
        first.setting,
        first.before,
        first.after,
        differences,
        Difference.mean_of(samples),
        _agree(samples),
    )


def _agree(samples: Sequence[tuple[Sample, Sample]]) -> bool:
    """Return whether no two pairs differ by more than chance explains (Bonferroni's correction)."""
    comparisons = list(itertools.combinations(samples, 2))
    level = SIGNIFICANCE_LEVEL / max(len(comparisons), 1)
    return all(
        Difference.between_changes(first, second).p_value >= level for first, second in comparisons
    )


def effect_sentences(variations: Sequence[Variation]) -> list[str]:
    """Return at most five sentences on what each setting does, and one on what they rest on.

    The list is empty if there is nothing to compare.
    """
    if len(variations) < 2:
        return []
    found = sorted(effects(variations), key=lambda effect: -effect.size)
    if not found:
        return ["No two rows differ in one setting only, so no effect of a single change is known."]
    measured: dict[str, list[Effect]] = {}
    for effect in found:
        if effect.is_measured:
            measured.setdefault(effect.setting, []).append(effect)
    sentences = [_sentence(group) for group in list(measured.values())[:_MAX_SENTENCES]]
    if len(measured) > _MAX_SENTENCES:
        others = join_names(map(field_title, list(measured)[_MAX_SENTENCES:]))
        sentences[-1] += f" Smaller effects: {others} (see the table of single changes)."
    not_measured = [effect for effect in found if not effect.is_measured]
    if not_measured:
        sentences.append(_not_measured_sentence(not_measured))
    return [*sentences, _basis_sentence(found)]


def _sentence(group: Sequence[Effect]) -> str:
    """Return a sentence on the measured effects of one setting."""
    parts = [f"{_change(effect)} {_outcome(effect)}" for effect in group[:_MAX_CHANGES]]
    others = group[_MAX_CHANGES:]
    if others:
        values = join_names(setting_text(effect.after) for effect in others)
        parts.append(f"smaller effects: {values}")
    return _capitalized("; ".join(parts)) + "."


def _change(effect: Effect) -> str:
    title = field_title(effect.setting)
    if isinstance(effect.before, bool) and isinstance(effect.after, bool):
        return title
    after, before = setting_text(effect.after), setting_text(effect.before)
    return f"{title} {after} instead of {before}"


def _outcome(effect: Effect) -> str:
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


def _not_measured_sentence(group: Sequence[Effect]) -> str:
    names = []
    for effect in group:
        low, high = effect.pooled.interval
        names.append(f"{_change(effect)} ({100 * low:+.1f} to {100 * high:+.1f} points)")
    return f"No effect could be measured of {join_names(names)}."


def _basis_sentence(found: Sequence[Effect]) -> str:
    """Return a sentence that says how the confidence intervals of effects were computed.

    They are computed from the spread between seeds, from the number of test images, or both.
    """
    by_seeds = [effect.pooled.by_seeds for effect in found]
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
    """Return the size of a difference for a sentence: one decimal, or two below 1 point."""
    return _plain(abs(difference.value), _decimals(difference))


def _plain_interval(difference: Difference) -> str:
    """Return the 95% interval of a significant difference for a sentence, such as "8.9 to 10.5".

    Like `_plain_points`, it is without a sign, the end near 0 first.
    """
    low, high = sorted(map(abs, difference.interval))
    decimals = _decimals(difference)
    return f"{_plain(low, decimals)} to {_plain(high, decimals)}"


def _decimals(difference: Difference) -> int:
    return 1 if abs(difference.value) >= 0.01 else 2


def _plain(value: float, decimals: int) -> str:
    return f"{100 * value:.{decimals}f}"


def _capitalized(text: str) -> str:
    """Return the text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]
