"""How sure the report is of a difference, against SciPy's tests, by hand and by many draws."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxcifar.report import wording
from jaxcifar.report.statistics import Difference, Distance, Sample, first_epoch_at_share


def sample(*values, images=10_000):
    return Sample(values, images)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0.81, 0.82, 0.83), (0.815, 0.825, 0.845)),
        ((0.70, 0.72), (0.81, 0.80)),  # two seeds a side, the fewest that have a spread
        ((0.80, 0.81, 0.82, 0.83, 0.80), (0.9, 0.95)),
        ((0.5, 0.5, 0.5), (0.81, 0.82, 0.83)),  # one side without any spread
    ],
)
@pytest.mark.filterwarnings("ignore:Precision loss")  # of seeds without any spread
def test_several_seeds_are_judged_by_welchs_test(first, second):
    expected = stats.ttest_ind(second, first, equal_var=False)
    got = Difference.between(sample(*first), sample(*second))
    assert got.error_basis == "seeds"
    assert got.p_value == pytest.approx(expected.pvalue)
    assert got.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert got.is_significant == (expected.pvalue < 0.05)


def test_welchs_test_is_as_computed_by_hand():
    """Variances 1e-4 and 4e-4 of two seeds each: error sqrt(5e-4 / 2), 25/17 degrees of freedom."""
    near = 0.01 / math.sqrt(2)
    got = Difference.between(sample(0.8 - near, 0.8 + near), sample(0.9 - 2 * near, 0.9 + 2 * near))
    assert got.value == pytest.approx(0.1)
    assert got.standard_error == pytest.approx(math.sqrt(2.5e-4))
    assert got.degrees_of_freedom == pytest.approx(25 / 17)


def test_more_seeds_of_the_same_spread_sharpen_the_verdict():
    def difference(pairs):
        return Difference.between(sample(*(0.80, 0.82) * pairs), sample(*(0.81, 0.83) * pairs))

    few, many = difference(2), difference(12)
    assert few.value == pytest.approx(many.value)
    assert not few.is_significant
    assert many.is_significant
    assert many.interval[0] > few.interval[0]


def test_a_single_seed_is_judged_by_the_images():
    got = Difference.between(sample(0.5, images=100), sample(0.5, 0.7, images=400))
    error = math.sqrt(0.25 / 100 + 0.24 / 400)
    assert got.error_basis == "images"
    assert got.standard_error == pytest.approx(error)
    assert got.p_value == pytest.approx(2 * stats.norm.sf(0.1 / error))
    assert got.interval == pytest.approx((0.1 - 1.959964 * error, 0.1 + 1.959964 * error))


def test_seeds_that_agree_exactly_give_no_spread():
    close = Difference.between(sample(*[0.8] * 3), sample(*[0.801] * 3))
    assert close.error_basis == "images"
    assert not close.is_significant  # 0.1 points of 10,000 images
    assert Difference.between(sample(*[0.8] * 3), sample(*[0.85] * 3)).is_significant


def test_equal_rows_tie_and_extremes_differ():
    for one in (sample(0.8, 0.9), sample(0.8), sample(1.0), sample(0.8, 0.8)):
        tie = Difference.between(one, one)
        assert (tie.is_tie, tie.p_value, tie.is_significant) == (True, 1.0, False)
    assert Difference.between(sample(0.0), sample(1.0)).p_value == 0
    rounded = Difference.between(sample(0.1, 0.2, 0.3), sample(0.3, 0.2, 0.1))
    assert rounded.is_tie


def test_welchs_test_has_its_nominal_error_rate():
    """Of pairs of equals with unequal spreads, one in twenty is told apart."""
    rng = np.random.RandomState(0)
    lines = [
        Difference.between(
            sample(*(0.8 + 0.01 * rng.randn(3))), sample(*(0.8 + 0.02 * rng.randn(5)))
        ).is_significant
        for _ in range(2000)
    ]
    assert np.mean(lines) == pytest.approx(0.05, abs=0.015)


def test_the_error_of_a_distance_agrees_with_a_simulation():
    rng, targets, errors = np.random.RandomState(0), (0.8, 0.6), np.asarray([4e-3, 1e-3])
    near, far = np.asarray([0.78, 0.61]), np.asarray([0.75, 0.66])

    def distance(means):  # two seeds whose mean has the standard error wanted
        return Distance(
            tuple(sample(m - e, m + e) for m, e in zip(means, errors, strict=True)), targets
        )

    difference = distance(far).minus(distance(near))
    draws = [
        distance(far + errors * rng.randn(2)).value - distance(near + errors * rng.randn(2)).value
        for _ in range(4000)
    ]
    assert difference.error_basis == "seeds"
    assert difference.value == pytest.approx(np.mean(draws), rel=0.01)
    assert difference.standard_error == pytest.approx(np.std(draws), rel=0.05)


def test_a_distance_of_one_row_has_the_p_value_of_its_difference():
    rows = sample(0.90, 0.91, 0.93), sample(0.85, 0.86, 0.89)
    far, near = (Distance((row,), (0.8,)) for row in rows)
    expected = Difference.between(rows[1], rows[0])
    got = far.minus(near)
    assert (got.p_value, got.degrees_of_freedom) == pytest.approx(
        (expected.p_value, expected.degrees_of_freedom)
    )
    exact = Distance((sample(0.8, 0.8),), (0.8,))
    assert exact.value == 0
    assert far.minus(exact).standard_error > 0


def test_the_epoch_that_reaches_a_share():
    assert first_epoch_at_share([0.1, 0.71, 0.73, 0.8], 0.9) == 3
    assert first_epoch_at_share([0.8, 0.8], 0.9) == 1


@pytest.mark.parametrize(
    ("deviations", "written"),
    [(1.9620, "p = 0.049"), (1.9599, "p = 0.050"), (3.2910, "p < 0.001"), (3.2900, "p = 0.001")],
)
def test_a_rounded_p_value_stays_on_its_side_of_the_significance_level(deviations, written):
    """By a table of the normal distribution: 0.04976, 0.05001, 0.00099833 and 0.0010019."""
    difference = Difference(deviations, 1.0, math.inf, error_basis="images")
    assert wording.p_value_text(difference) == written
    assert difference.is_significant == (written != "p = 0.050")
