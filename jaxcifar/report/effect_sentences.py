"""Sentences on what each setting of a study changes, from rows that differ in that setting only."""

from collections.abc import Sequence

from jaxcifar.report.effects import Effect, find_effects
from jaxcifar.report.repeat_words import word_or_runs
from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import Difference
from jaxcifar.report.wording import field_title, join_names, setting_text

_MAX_CHANGES_IN_SENTENCE = 3  # of one setting, in its sentence
_MAX_SENTENCES = 4  # on settings with an effect; the table of single changes has all of them


def effect_sentences(variations: Sequence[Variation]) -> list[str]:
    """Return up to six sentences on the effects of settings on the test accuracy.

    The last sentence says how the confidence intervals were computed. The list is empty for fewer
    than two variations.
    """
    if len(variations) < 2:
        return []
    largest_first = sorted(find_effects(variations), key=lambda effect: -effect.absolute_change)
    if not largest_first:
        return ["No two rows differ in one setting only, so no effect of a single change is known."]
    measured_effects_of_setting: dict[str, list[Effect]] = {}
    for effect in largest_first:
        if effect.is_measured:
            measured_effects_of_setting.setdefault(effect.setting, []).append(effect)
    settings = list(measured_effects_of_setting)
    described_settings, other_settings = settings[:_MAX_SENTENCES], settings[_MAX_SENTENCES:]
    sentences = [
        _measured_sentence(measured_effects_of_setting[setting]) for setting in described_settings
    ]
    if other_settings:
        titles = join_names(map(field_title, other_settings))
        sentences[-1] += f" Smaller effects: {titles} (see the table of single changes)."
    not_measured = [effect for effect in largest_first if not effect.is_measured]
    if not_measured:
        sentences.append(_not_measured_sentence(not_measured))
    return [*sentences, _interval_sentence(largest_first)]


def _measured_sentence(setting_effects: Sequence[Effect]) -> str:
    """Return a sentence on the effects of one setting, which are larger than chance explains."""
    clauses = [
        f"{_change_text(effect)} {_outcome_text(effect)}"
        for effect in setting_effects[:_MAX_CHANGES_IN_SENTENCE]
    ]
    smaller_effects = setting_effects[_MAX_CHANGES_IN_SENTENCE:]
    if smaller_effects:
        values = join_names(setting_text(effect.new_value) for effect in smaller_effects)
        clauses.append(f"smaller effects: {values}")
    return _capitalized("; ".join(clauses)) + "."


def _change_text(effect: Effect) -> str:
    """Return the change of a setting as text, such as "schedule step instead of none"."""
    title = field_title(effect.setting)
    if isinstance(effect.old_value, bool) and isinstance(effect.new_value, bool):
        return title
    return f"{title} {setting_text(effect.new_value)} instead of {setting_text(effect.old_value)}"


def _outcome_text(effect: Effect) -> str:
    """Return the size of an effect, such as "adds 1.2 points" with its 95% interval."""
    if effect.is_consistent:
        mean = effect.mean_difference
        verb = "adds" if mean.value > 0 else "costs"
        pair_count = len(effect.differences)
        pairs_text = f", mean of {pair_count} pairs of rows" if pair_count > 1 else ""
        return f"{verb} {_unsigned_points(mean)} points ({_unsigned_interval(mean)}{pairs_text})"
    values = [difference.value for difference in effect.differences]
    return (
        f"changes the accuracy by {min(values) * 100:+.1f} to {max(values) * 100:+.1f} points, "
        f"depending on the other settings ({len(values)} pairs of rows)"
    )


def _not_measured_sentence(small_effects: Sequence[Effect]) -> str:
    """Return a sentence that lists effects no larger than chance explains, with intervals."""
    changes = []
    for effect in small_effects:
        low, high = effect.mean_difference.interval
        changes.append(f"{_change_text(effect)} ({100 * low:+.1f} to {100 * high:+.1f} points)")
    return f"No effect could be measured of {join_names(changes)}."


def _interval_sentence(all_effects: Sequence[Effect]) -> str:
    """Return a sentence that says how the confidence intervals of effects were computed.

    An interval comes from the spread between seeds or folds. For a row with only one run, the
    interval comes from the number of test images.
    """
    error_bases = {effect.mean_difference.error_basis for effect in all_effects}
    uses_images = "images" in error_bases
    repeat_words = error_bases - {"images"}  # "seeds", "folds" or "runs"
    if not repeat_words:
        return (
            "In brackets: 95% intervals, from the number of test images. There are too few seeds "
            "to say how much another seed would change these figures."
        )
    repeat_word = word_or_runs(repeat_words)
    if not uses_images:
        return f"In brackets: 95% intervals, from the spread between {repeat_word}."
    return (
        f"In brackets: 95% intervals, from the spread between {repeat_word}, or from the number of "
        "test images where a row has one run. Another seed may change the latter by more."
    )


def _unsigned_points(difference: Difference) -> str:
    """Return a difference in percentage points without its sign, such as "9.7" or "0.41"."""
    return f"{100 * abs(difference.value):.{_decimals_of_points(difference)}f}"


def _unsigned_interval(difference: Difference) -> str:
    """Return the 95% interval of a significant difference in percentage points, as "8.9 to 10.5".

    The ends have no sign, and the end nearer to 0 is first.
    """
    low, high = sorted(100 * abs(end) for end in difference.interval)
    decimals = _decimals_of_points(difference)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _decimals_of_points(difference: Difference) -> int:
    """Return the number of decimals to print: 1, or 2 for differences below 1 percentage point."""
    return 1 if abs(difference.value) >= 0.01 else 2


def _capitalized(text: str) -> str:
    """Return the text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]
