"""Sentences on what each setting changes: only what pairs of rows with one difference show."""

import math
from statistics import mean

import pytest
from report.test_records import made, made_run
from scipy import stats

from jaxcifar.report.effect_sentences import effect_sentences
from jaxcifar.report.effects import find_effects

IMAGES = 10_000  # test images of `made_run`


def row(name, *accuracies, **settings):
    """A variation with these test accuracies, one of each seed."""
    runs = [
        made_run(changes={"test_accuracy": accuracy}, seed=seed, **settings)
        for seed, accuracy in enumerate(accuracies)
    ]
    return made(name, *runs)


GRID = [
    row("plain", 0.700, 0.702, 0.704, normalize=False, augment=False),
    row("norm", 0.701, 0.703, 0.702, augment=False),
    row("aug", 0.790, 0.792, 0.796, normalize=False),
    row("both", 0.793, 0.791, 0.795),
]


def test_the_effect_of_a_setting_is_the_mean_over_its_pairs_with_welchs_interval():
    """The pairs are independent, so the variance of their mean is a fourth of the sum of both."""
    found = {effect.setting: effect for effect in find_effects(GRID)}
    assert set(found) == {"normalize", "augment"}
    augment = found["augment"]
    samples = [v.values("test_accuracy") for v in GRID]
    variances = [sample.var(ddof=1) / 3 for sample in samples]
    error = math.sqrt(sum(variances)) / 2
    freedom = sum(variances) ** 2 / sum(variance**2 / 2 for variance in variances)
    plain, norm, aug, both = map(mean, samples)
    value = ((aug - plain) + (both - norm)) / 2
    half = stats.t.ppf(0.975, freedom) * error
    assert (augment.old_value, augment.new_value) == (False, True)
    assert augment.mean_difference.value == pytest.approx(value)
    assert augment.mean_difference.interval == pytest.approx((value - half, value + half))
    low, high = 100 * (value - half), 100 * (value + half)
    assert effect_sentences(GRID)[0] == (
        f"Augmentation adds {100 * value:.1f} points ({low:.1f} to {high:.1f}, mean of 2 pairs of "
        "rows)."
    )


def test_what_is_not_significant_is_no_effect():
    [_, normalisation, basis] = effect_sentences(GRID)
    assert normalisation.startswith("No effect could be measured of normalisation (-0.")
    assert "to +0." in normalisation
    assert basis == "In brackets: 95% intervals, from the spread between seeds."


def test_with_single_seeds_the_intervals_are_by_images_and_the_report_says_so():
    rows = [row("slow", 0.80, learning_rate=0.01), row("fast", 0.70, learning_rate=0.1)]
    half = 100 * 1.959964 * math.sqrt((0.8 * 0.2 + 0.7 * 0.3) / IMAGES)
    interval = f"{10 - half:.1f} to {10 + half:.1f}"
    assert effect_sentences(rows) == [
        f"Learning rate 0.1 instead of 0.01 costs 10.0 points ({interval}).",
        "In brackets: 95% intervals, from the number of test images. There are too few seeds to "
        "say how much another seed would change these figures.",
    ]


def test_pairs_that_contradict_each_other_give_a_range_and_no_mean():
    """Augmentation adds 9 points without normalisation, and costs 5 with it."""
    rows = [
        row("plain", 0.700, 0.701, normalize=False, augment=False),
        row("norm", 0.800, 0.801, augment=False),
        row("aug", 0.790, 0.791, normalize=False),
        row("both", 0.750, 0.751),
    ]
    [augment] = [effect for effect in find_effects(rows) if effect.setting == "augment"]
    assert not augment.is_consistent
    assert (
        "Augmentation changes the accuracy by -5.0 to +9.0 points, depending on the other settings "
        "(2 pairs of rows)."
    ) in effect_sentences(rows)


def test_changes_begin_at_the_usual_value():
    """Three rows have the rate 0.01, so other rates are told relative to it."""
    rows = [
        row("high", 0.70, learning_rate=0.1),
        row("usual", 0.80, learning_rate=0.01),
        row("low", 0.60, learning_rate=0.001),
        row("decayed", 0.83, learning_rate=0.01, weight_decay=0.1),
        row("batch", 0.81, learning_rate=0.01, batch_size=64),
    ]
    text = effect_sentences(rows)[0]
    assert text.startswith("Learning rate 0.001 instead of 0.01 costs 20.0 points (")
    assert "; learning rate 0.1 instead of 0.01 costs 10.0 points (" in text


def test_without_a_single_change_the_report_says_nothing_of_effects():
    rows = [row("one", 0.7, learning_rate=0.1), row("two", 0.8, batch_size=64)]
    assert effect_sentences(rows[:1]) == []
    [text] = effect_sentences(rows)
    assert text.startswith("No two rows differ in one setting only")


def test_names_and_values_of_settings_are_escaped_and_the_sentences_are_few():
    rows = [row("plain", 0.5)]
    for number in range(8):
        arguments = {f"<b>{number}": 1}
        rows.append(row(f"row{number}", 0.6 + number / 100, arch_args=arguments))
    sentences = effect_sentences(rows)
    assert len(sentences) <= 6
    assert sentences[0].startswith("\\<b\\>7 1 instead of not set adds 17.0 points")
    assert "<b>" not in "".join(sentences).replace("\\<b\\>", "")
    assert "Smaller effects: " in " ".join(sentences)


def test_rows_with_equal_settings_count_once():
    """A row that repeats another has the same runs, so it must not narrow the interval."""
    rows = [row("usual", 0.80, 0.81), row("wide", 0.83, 0.86, batch_size=64)]
    repeated = row("again", 0.80, 0.81)
    assert effect_sentences([*rows, repeated]) == effect_sentences(rows)
