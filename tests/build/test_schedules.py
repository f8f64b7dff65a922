"""The learning rate at each step, against loops that count steps one by one."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from jaxcifar.build import learning_rates as rates_module
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.training import schedules

STEPS = 7  # in an epoch
RULES = ROOT / "tests" / "own" / "rules.py"


def rates(steps=STEPS, **settings):
    config = Config.create("cnn", recipe="reference", **{"learning_rate": 0.3, **settings})
    return learning_rates(config, steps)


def test_the_rate_decays_after_every_so_many_epochs():
    expected, rate = [], 0.3
    for epoch in range(10):
        if epoch and epoch % 3 == 0:
            rate *= 0.2
        expected += [rate] * STEPS
    got = rates(epochs=10, schedule="step", step_size=3, gamma=0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got.dtype == np.float32


def test_the_cosine_is_at_half_in_the_middle_and_symmetric():
    got = rates(epochs=4, schedule="cosine")
    assert len(got) == 4 * STEPS
    assert got[0] == pytest.approx(0.3)
    assert got[2 * STEPS] == pytest.approx(0.15)
    np.testing.assert_allclose(got[1:] + got[:0:-1], 0.3, rtol=1e-6)


def test_after_a_warm_up_the_straight_line_begins_at_the_top_and_would_end_at_0():
    """A fifth of 35 steps: 1/8, 2/8 ... 7/8 of the rate, then 28 equal steps down."""
    got = rates(epochs=5, schedule="linear", warmup=0.2) / 0.3
    expected = [k / 8 for k in range(1, 8)] + [1 - k / 28 for k in range(28)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("epochs", "rising"), [(20, 5), (12, 5), (10, 5), (8, 4), (1, 0.5)])
@pytest.mark.parametrize("rule", ["linear", "sqrt"])
def test_a_higher_rate_for_large_batches_is_reached_in_five_epochs_or_half_the_run(
    rule, epochs, rising
):
    base = Config.create("cnn", recipe="reference").batch_size
    got = rates(10, epochs=epochs, schedule="none", lr_scale=rule, batch_size=9 * base) / 0.3
    factor = {"linear": 9, "sqrt": 3}[rule]
    expected = [
        1 + (factor - 1) * step / (10 * rising) if step < 10 * rising else factor
        for step in range(10 * epochs)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_lower_rate_for_small_batches_holds_from_the_first_step():
    base = Config.create("cnn", recipe="reference").batch_size
    got = rates(epochs=3, schedule="none", lr_scale="sqrt", batch_size=base // 4)
    np.testing.assert_allclose(got, 0.15, rtol=1e-6)


def test_without_a_rule_the_batch_changes_no_rate():
    base = Config.create("cnn", recipe="reference").batch_size
    np.testing.assert_allclose(rates(epochs=3, schedule="none", batch_size=4 * base), 0.3)


def test_a_run_of_too_many_steps_is_refused(monkeypatch):
    monkeypatch.setattr(rates_module, "_MAX_STEPS", 1400)
    assert len(rates(epochs=200, schedule="none")) == 1400
    with pytest.raises(UsageError) as error:
        rates(epochs=201, schedule="none")
    assert str(error.value) == (
        "--epochs 201: the run has 1,407 steps, and at most 1,400 are allowed; use fewer epochs "
        "or a larger --batch-size"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("negative", "returns -1.0 at step 2"),
        ("huge", "returns 1e+300 at step 0"),
    ],
)
def test_what_is_no_rate_is_named_with_its_step(name, reason):
    with pytest.raises(UsageError) as error:
        rates(epochs=1, schedule=f"{RULES}:{name}")
    assert str(error.value) == (
        f"--schedule {RULES}:{name}: {reason}; it must return a number of at least 0, and the "
        "learning rate must not overflow float32"
    )


def test_a_failing_schedule_is_named_with_its_line():
    with pytest.raises(UsageError, match=r"rules\.py:25: ZeroDivisionError"):
        rates(epochs=1, schedule=f"{RULES}:early")


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_warm_up_rises_by_equal_parts_to_below_1(steps):
    got = schedules.warmup(steps)
    assert got == pytest.approx([(k + 1) / (steps + 1) for k in range(steps)])
    assert schedules.constant(5, 1, 10) == 1.0
    assert schedules.cosine(1, 1, 3) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)
    assert schedules.linear(1, 1, 4) == 0.75


def test_a_rate_of_0_and_the_largest_that_float32_holds_are_allowed():
    largest = float(np.finfo(np.float32).max)
    assert rates(epochs=1, schedule="none", learning_rate=largest)[0] == np.float32(largest)
    assert rates(epochs=2, schedule=f"{RULES}:warm")[0] == 0.0


def continued(earlier, **settings):
    """The rates of a run that continues one of so many epochs."""
    config = Config.create("cnn", recipe="reference", **{"learning_rate": 0.3, **settings})
    return learning_rates(dataclasses.replace(config, continue_epochs=earlier), STEPS)


def test_a_constant_rate_goes_on_as_if_there_had_been_no_break():
    whole = rates(epochs=10, schedule="none")
    rest = continued(4, epochs=10, schedule="none")
    np.testing.assert_array_equal(rest[4 * STEPS :], whole[4 * STEPS :])
    assert len(rest) == len(whole)
    assert (rest[: 4 * STEPS] == 0).all()


def test_a_schedule_of_a_further_run_spans_the_epochs_that_are_left():
    alone = rates(epochs=6, schedule="linear", warmup=0.25)
    rest = continued(4, epochs=10, schedule="linear", warmup=0.25)
    np.testing.assert_array_equal(rest[4 * STEPS :], alone)


def test_the_rate_of_a_large_batch_does_not_rise_again():
    base = Config.create("cnn", recipe="reference").batch_size
    rest = continued(1, epochs=3, schedule="none", lr_scale="linear", batch_size=2 * base)
    np.testing.assert_allclose(rest[STEPS:], 0.6, rtol=1e-6)


@pytest.mark.parametrize(("earlier", "expected"), [(None, 35), (4, 28 + 21), (9, 63 + 4)])
def test_small_images_are_in_the_first_part_of_the_steps_that_are_left(earlier, expected):
    config = Config.create("cnn", epochs=10, small_size=16, small_fraction=0.5)
    config = dataclasses.replace(config, continue_epochs=earlier)
    statistics = SimpleNamespace(mean=np.zeros(3), std=np.ones(3))
    assert make_hyperparameters(config, statistics, STEPS).small_steps == expected
    without = dataclasses.replace(config, small_size=32, small_fraction=0.0)
    assert make_hyperparameters(without, statistics, STEPS).small_steps == 0
