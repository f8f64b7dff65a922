"""Times and arithmetic of runs: of one that continues another, of runs together, of small steps."""

import dataclasses

import pytest
from report.test_records import made, made_run

from jaxcifar.report import run_times
from jaxcifar.report.costs import time_rows, time_sentence
from jaxcifar.report.study_records import Records

SAID = {
    "wall_seconds": 60.0,
    "at_once": 1,
    "flops": 1_000_000,
    "images_per_second": 1000.0,
    "device": "a device",
}


def timed_run(seconds, continue_epochs=None, **settings):
    """A run with these seconds of training by epoch, which may continue another run."""
    accuracies = [0.5] * len(seconds)
    texts = {**SAID, **{name: settings.pop(name) for name in SAID if name in settings}}
    run = made_run(accuracies, [1.0] * len(seconds), texts, **settings)
    for row, value in zip(run.history, seconds, strict=True):
        row["seconds"] = value
    if continue_epochs is None:
        return run
    config = dataclasses.replace(
        run.config, continue_from="old", continue_epochs=continue_epochs, continue_sha256="a" * 64
    )
    return dataclasses.replace(run, config=config)


def records_of(*variations):
    """Records with only these variations, which belong to no study."""
    return Records((), (), (), variations, (), {})


def test_a_continued_run_counts_only_its_own_epochs():
    base, continued = timed_run([4.0, 6.0]), timed_run([4.0, 6.0, 5.0], 2, wall_seconds=90.0)
    assert run_times.own_training_seconds(continued) == 5.0
    assert run_times.own_wall_seconds(base) == 60.0
    assert run_times.own_wall_seconds(continued) == pytest.approx(90 * 5 / 15)
    assert run_times.device_seconds([base, continued]) == pytest.approx(90)


def test_runs_together_divide_their_time():
    runs = [timed_run([3.0, 6.0], seed=seed, at_once=3) for seed in range(3)]
    assert run_times.device_seconds(runs) == pytest.approx(60)
    assert run_times.training_device_seconds(runs) == pytest.approx(9)


def test_a_run_beside_free_places_has_the_devices_alone():
    """Three runs in two places: the last is alone, and the times add up to the clock's."""
    runs = [timed_run([3.0, 6.0], seed=seed, at_once=2) for seed in range(3)]
    for run, runs_together in zip(runs, (2, 2, 1), strict=True):
        for row in run.history:
            row["runs_together"] = runs_together
    assert run_times.training_device_seconds(runs) == pytest.approx(9 + 9)
    assert run_times.device_seconds(runs) == pytest.approx(60 + 60)
    [cells] = time_rows(records_of(made("row", *runs)))
    assert cells["device_time"] == "120 s"


def test_a_run_shares_the_devices_only_in_the_epochs_beside_other_runs():
    run = timed_run([3.0, 6.0], at_once=2)
    run.history[0]["runs_together"] = 2
    run.history[1]["runs_together"] = 1
    assert run_times.training_device_seconds([run]) == pytest.approx(1.5 + 6)
    assert run_times.device_seconds([run]) == pytest.approx(60 * 7.5 / 9)


def test_the_rate_is_of_the_training_steps_and_small_numbers_keep_three_digits():
    """An epoch has 351 batches of 128 images; an image takes 6 million operations."""
    row = made("row", timed_run([10.0, 10.0], batch_size=128))
    operations = 6_000_000 * 351 * 128 * 2
    assert operations == 539_136_000_000
    [cells] = time_rows(records_of(row))
    assert cells["petaflop"] == "0.000539 PFLOP"
    assert cells["device_time"] == "60 s"
    assert time_sentence(records_of(row)) == (
        "In total 1 run took 60 s on a device. The training steps took 20 s of it for 0.000539 "
        "PFLOP: 0.027 TFLOP/s."
    )


def test_steps_on_smaller_images_count_by_their_pixels():
    """Half of the steps use a quarter of the pixels, so 5/8 of the arithmetic remains."""
    small = timed_run([10.0, 10.0], batch_size=128, small_size=16, small_fraction=0.5)
    [cells] = time_rows(records_of(made("row", small)))
    assert cells["petaflop"] == "0.000337 PFLOP"  # 5/8 of 0.000539136
