"""How figures and settings are written, word by word."""

import math

import pytest
from report.test_records import made, made_run

from jaxcifar.config.fields import DEFAULTS
from jaxcifar.report import wording
from jaxcifar.report.statistics import Difference, Sample


def difference(value=0.0123, error=0.01, freedom=math.inf, basis="seeds"):
    return Difference(value, error, freedom, basis)


def row_of(*accuracies, flipped=None, **settings):
    """A variation with these test accuracies; on images mirrored too, if `flipped` is given."""
    runs = []
    for seed, accuracy in enumerate(accuracies):
        texts = {"test_accuracy": accuracy}
        if flipped and flipped[seed] is not None:
            texts["test_accuracy_flip"] = flipped[seed]
        runs.append(made_run(changes=texts, seed=seed, **settings))
    return made("row", *runs)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ("", ""),
        ("a", "a"),
        ("ab", "a and b"),
        ("abc", "a, b and c"),
        ("abcdef", "a, b, c, d, e and f"),
        ("abcdefg", "a, b, c, d, e and 2 others"),
        ("abcdefghi", "a, b, c, d, e and 4 others"),
    ],
)
def test_names_are_joined_to_a_phrase(names, line):
    assert wording.join_names(names) == line


def test_numbers_are_rounded_and_signed():
    assert wording.percent(0.12345) == "12.35%"
    assert wording.signed_points(0.0123) == "+1.23"
    assert wording.signed_points(-0.5) == "-50.00"
    assert wording.signed_points(0.0) == "+0.00"
    assert wording.quoted_name("a|b") == r"“a\|b”"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\n lines\tand  spaces ", "two lines and spaces"),
        ("1. item", r"1\. item"),
        ("12) item", r"12\) item"),
        ("1.5 points", "1.5 points"),
        ("- item", r"\- item"),
        ("a - b", "a - b"),
        ("snake_case _word_", r"snake_case \_word\_"),
        ("https://x www.x x.y", r"https\://x www\.x x.y"),
        ("WWW.x", r"WWW\.x"),
        (r"\`*[]<>|$&#~", "".join("\\" + c for c in r"\`*[]<>|$&#~")),
        ("\x1b[31m", r"\\x1b\[31m"),
        ("a" * 501, f"{'a' * 333}…{'a' * 166}"),
        ("a" * 500, "a" * 500),
    ],
)
def test_names_that_users_choose_are_escaped(text, line):
    assert wording.escape_markdown(text) == line


def test_an_accuracy_has_the_deviation_of_its_seeds():
    assert wording.mean_and_deviation(Sample((0.8841,), 100)) == "88.41%"
    near = 0.0021 / math.sqrt(2)
    two_seeds = Sample((0.8841 - near, 0.8841 + near), 100)
    assert wording.mean_and_deviation(two_seeds) == "88.41 ± 0.21%"
    assert wording.mean_and_deviation(Sample((0.25, 0.75), 100)) == "50.00 ± 35.36%"
    assert wording.accuracy_text(row_of(0.5)) == "50.00%"
    assert wording.accuracy_text(row_of(0.25), "val_accuracy", "val") == "90.00%"


def test_the_accuracy_with_flips_needs_a_value_of_every_run():
    assert (
        wording.accuracy_with_flips_text(row_of(0.5, 0.5, flipped=(0.75, 0.75))) == "75.00 ± 0.00%"
    )
    assert wording.accuracy_with_flips_text(row_of(0.5, 0.5, flipped=(0.75, None))) == "–"


def test_reference_figures_and_how_far_they_are():
    variation = row_of(0.90)
    assert wording.reference_text(variation) == wording.reference_difference_text(variation) == "–"
    figures = type(variation)("row", variation.runs, (0.8, 0.8534))
    assert wording.reference_text(figures) == "80.00 / 85.34%"
    assert wording.reference_difference_text(figures) == "+7.33"


def test_each_setting_has_a_title_of_its_own():
    assert wording.field_title("arch") == "network"
    titles = [wording.field_title(name) for name in DEFAULTS]
    assert len(set(titles)) == len(titles)  # a table of settings needs one title for each
    assert wording.field_title("learning_rate") == "learning rate"
    assert wording.field_title("batch_size") == "batch size"
    assert wording.field_title("a_*") == r"a \*"
    assert wording.value_text("ab" * 32) == "abababab…"
    assert wording.value_text("ab" * 8) == "ab" * 8
    assert wording.value_text(0.1) == "0.1"
    two = {"learning_rate": (0.01, 0.1), "schedule": (None, "step")}
    assert wording.changes_with_arrows(two) == "learning rate 0.01 → 0.1, schedule not set → step"
    assert wording.changes_in_words(two) == (
        "learning rate from 0.01 to 0.1 and schedule from not set to step"
    )
    assert wording.new_values_text(two) == "learning rate 0.1, schedule step"


def test_the_settings_of_a_row_are_the_unusual_ones():
    usual = [row_of(0.5, learning_rate=0.1, batch_size=64) for _ in range(2)]
    faster = row_of(0.5, learning_rate=0.2, batch_size=64)
    larger = row_of(0.5, learning_rate=0.1, batch_size=32)
    rows = [*usual, faster, larger]
    assert wording.varied_fields(rows) == ["learning_rate", "batch_size"]
    assert wording.unusual_settings_text(faster, rows) == "learning rate 0.2"
    assert wording.unusual_settings_text(larger, rows) == "batch size 32"
    assert wording.unusual_settings_text(usual[0], rows) == "learning rate 0.1, batch size 64"
    assert wording.varied_fields(usual) == wording.varied_fields(usual[:1]) == []


def test_unusual_settings_leave_out_epochs_and_are_at_most_four():
    one = row_of(0.5, epochs=3)
    two = row_of(0.5, epochs=2, val=(0.1, 0.2), loss=(1.0, 0.9))
    assert wording.varied_fields([one, two]) == ["epochs"]
    assert wording.unusual_settings_text(two, [one, two]) == ""
    many = {"learning_rate": 0.3, "batch_size": 32, "weight_decay": 0.3, "shift": 2, "dropout": 0.3}
    plain = [row_of(0.5, shift=4) for _ in range(2)]
    text = wording.unusual_settings_text(row_of(0.5, **many), [*plain, row_of(0.5, **many)])
    assert len(text.split(", ")) == 4


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([1], "one seed"),
        ([3], "3 seeds"),
        ([1, 1], "one seed each"),
        ([3, 3], "3 seeds each"),
        ([1, 3, 2], "1 to 3 seeds each"),
    ],
)
def test_the_number_of_seeds_is_stated(counts, line):
    assert wording.repeat_count_text([row_of(*[0.5] * count) for count in counts]) == line


class WithP(Difference):
    """A difference with a p-value of our choice, kept as its error."""

    @property
    def p_value(self):
        return self.standard_error


@pytest.mark.parametrize(
    ("p", "line", "bare"),
    [
        (0.0499, "p = 0.049", "0.049"),
        (0.0319, "p = 0.031", "0.031"),
        (0.001, "p = 0.001", "0.001"),
        (0.0009, "p < 0.001", "< 0.001"),
        (0.0, "p < 0.001", "< 0.001"),
        (1.0, "p = 1.000", "1.000"),
    ],
)
def test_a_p_value_is_rounded_down(p, line, bare):
    difference_with_p = WithP(0.1, p, math.inf, "seeds")
    assert wording.p_value_text(difference_with_p) == line
    assert wording.p_value_cell(difference_with_p) == bare


def test_how_sure_a_difference_is():
    """1.23 points and 1.959964 errors of one point; p = 2 * (1 - Phi(1.23)) = 0.2187."""
    assert wording.interval_text(difference()) == "-0.73 to +3.19"
    assert wording.significance_text(difference()) == (
        "95% interval -0.73 to +3.19, p = 0.218, by seeds"
    )
    by_folds = wording.significance_text(difference(basis="folds"))
    assert by_folds == "95% interval -0.73 to +3.19, p = 0.218, by folds"


def test_the_size_of_a_difference_has_no_sign():
    assert wording.unsigned_points(difference(-0.0123)) == "1.23"
    assert wording.unsigned_points(difference(0.00004)) == "less than 0.01"
    assert wording.unsigned_points(difference(0.0)) == "0.00"


def test_a_verdict_is_about_the_second_figure():
    assert wording.comparison_verdict(difference(0.0)) == "a tie"
    assert wording.comparison_verdict(difference(0.0123)) == "can't be told apart"
    assert wording.comparison_verdict(difference(0.05)) == "better"
    assert wording.comparison_verdict(difference(-0.05)) == "worse"
