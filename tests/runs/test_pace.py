"""The time left, by clocks that are set, against what the simulated work then takes."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from jaxcifar.runs.pace import COMPILING, TESTING, TRAINING, VALIDATING, Pace, PlannedRuns
from jaxcifar.runs.training_progress import TrainProgress

DISPATCH = 512  # images


class Simulation:
    """Runs of which each second is known, and what the status line says in between.

    Attributes:
      shown: (clock, time left) whenever a time left is shown.
    """

    def __init__(self, seconds, evaluation=0.0, slow_start=0.0, compiling=0.0, tests=0):
        """By the image: `seconds` to train on it, `evaluation` to evaluate it."""
        self.now = 0.0
        self.seconds, self.evaluation, self.slow_start = seconds, evaluation, slow_start
        self.compiling, self.tests = compiling, tests
        self.progress = TrainProgress(Console(file=io.StringIO(), width=200))
        self.pace = self.progress.pace = Pace(lambda: self.now, lambda: 0.0)
        self.shown = []

    def setup(self, images, val):
        mesh = SimpleNamespace(devices=np.asarray([SimpleNamespace(platform="cpu")]))
        steps = images // DISPATCH
        program = SimpleNamespace(
            model=None, batch_size=DISPATCH, images_per_epoch=steps * DISPATCH, mesh=mesh,
            steps_per_epoch=steps,
        )  # fmt: skip
        sizes = SimpleNamespace(labels=range(val)), SimpleNamespace(labels=range(self.tests))
        return SimpleNamespace(
            program=program,
            val=sizes[0],
            dataset=SimpleNamespace(val=sizes[0], test=sizes[1]),
        )

    def wait(self, seconds):
        """Let time go by; the status line is looked at several times a second."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + max(0.3, seconds / 20))
            left = self.pace.seconds_left()
            if left is not None:
                self.shown.append((self.now, left))

    def compile(self):
        with self.progress.during(COMPILING):
            self.wait(self.compiling)

    def train(self, run_counts, epochs, setup, dispatch=DISPATCH, first_epoch=0):
        """Train that many runs together; a program that is new begins slowly."""
        slow = self.slow_start
        config = SimpleNamespace(epochs=epochs)
        run = SimpleNamespace(
            task=SimpleNamespace(name="", config=config),
            epoch=1, is_epoch_over=False, images_per_second=1.0,
        )  # fmt: skip
        val = len(setup.val.labels)
        for runs in run_counts:
            for _ in range(first_epoch, epochs):
                with self.progress.during(TRAINING):
                    for _ in range(setup.program.images_per_epoch // dispatch):
                        self.wait(dispatch * self.seconds + slow)
                        self.progress.show([run] * runs, dispatch, [1.0])
                        slow = 0.0
                for _ in range(runs):
                    with self.progress.evaluating(VALIDATING, val):
                        self.wait(val * self.evaluation)
            for _ in range(runs):
                with self.progress.evaluating(TESTING, 3 * self.tests):
                    self.wait(3 * self.tests * self.evaluation)

    def assert_true(self, tolerance=0.15, until=0.9, from_=None):
        """Compare each time left with the time that was left, up to near the end."""
        assert self.shown
        end = self.now
        checked = [(at, left) for at, left in self.shown if at < until * end and at >= (from_ or 0)]
        assert checked
        for at, left in checked:
            assert left == pytest.approx(end - at, rel=tolerance), f"at {at} of {end}"


@pytest.mark.parametrize("slow_start", [0.0, 60.0, 600.0])
def test_a_slow_first_step_does_not_change_the_time_left(slow_start):
    """Nor does a dispatch that is not over yet."""
    work = Simulation(0.014, 0.004, slow_start, compiling=60.0, tests=2000)
    setup = work.setup(images=9000, val=1000)
    work.progress.expect(setup, PlannedRuns(10))
    work.compile()
    work.train([1], 10, setup)
    assert min(at for at, _ in work.shown) > 60 + slow_start + 512 * 0.014 + 10 - 0.5
    work.assert_true()


def test_when_a_dispatch_is_an_epoch_the_time_left_falls_evenly():
    work = Simulation(0.002, 0.001, slow_start=15.0, compiling=20.0, tests=10_000)
    setup = work.setup(images=9000, val=1000)
    epoch = setup.program.images_per_epoch
    work.progress.expect(setup, PlannedRuns(40))
    work.compile()
    work.train([1], 40, setup, dispatch=epoch)
    work.assert_true()
    before_validation = [left for at, left in work.shown]
    rises = np.diff(before_validation)
    assert rises.max() < 0.05 * max(before_validation)


def test_the_time_left_is_right_after_a_resume():
    """Seven of ten epochs were trained by an earlier command."""
    work = Simulation(0.01, 0.003, slow_start=30.0, tests=500)
    setup = work.setup(images=9000, val=500)
    work.progress.expect(setup, PlannedRuns(10))
    run = SimpleNamespace(setup=setup, step=7 * setup.program.steps_per_epoch)
    work.progress.skip_finished_epochs(run)
    assert work.pace.fraction_done == pytest.approx(0.7, abs=0.02)
    work.train([1], 10, setup, first_epoch=7)
    work.assert_true()
    assert work.pace.fraction_done == pytest.approx(1.0)


def test_the_time_left_of_several_runs_at_once_counts_rounds_of_runs():
    """12 runs, 8 at once: two rounds, of which the second is not full but takes as long."""
    work = Simulation(0.01, 0.0005, slow_start=20.0, tests=100)
    setup = work.setup(images=4096, val=100)
    work.progress.expect(setup, PlannedRuns(5, runs=12, at_once=8))
    work.train([8, 4], 5, setup)
    work.assert_true()
    assert work.pace.images_to_train == 0 and work.pace.images_to_evaluate == 0


def test_runs_at_once_that_are_resumed_together():
    work = Simulation(0.01, 0.0005, tests=100)
    setup = work.setup(images=4096, val=100)
    work.progress.expect(setup, PlannedRuns(10, runs=4, at_once=8))
    for _ in range(4):
        run = SimpleNamespace(setup=setup, step=5 * setup.program.steps_per_epoch)
        work.progress.skip_finished_epochs(run)
    work.train([4], 10, setup, first_epoch=5)
    work.assert_true()


def test_the_time_left_of_a_study_is_that_of_all_its_runs():
    """Three programs; while the second one begins, the speed of the first stands for it."""
    work = Simulation(0.01, 0.003, slow_start=10.0, tests=500)
    setup = work.setup(images=9000, val=500)
    groups = [PlannedRuns(3, runs=4), PlannedRuns(3, runs=2), PlannedRuns(6, runs=2)]
    done = []
    for number, group in enumerate(groups):
        work.progress.expect(setup, group, groups[number + 1 :])
        done.append(work.pace.fraction_done)
        work.train([1] * group.runs, group.epochs, setup)
    work.assert_true(until=0.85)
    assert done == pytest.approx([0, 4 / 10, 6 / 10], abs=0.01)
    assert work.pace.fraction_done == pytest.approx(1.0)


def test_another_speed_is_soon_noticed():
    """Another program begins to use the machine, and each image then takes twice as long."""
    work = Simulation(0.01)
    setup = work.setup(images=9000, val=0)
    work.progress.expect(setup, PlannedRuns(40))
    work.train([1], 10, setup)
    changed = work.now
    work.seconds = 0.02
    work.train([1], 30, setup)
    work.assert_true(from_=changed + 2 * 0.01 * 10 * 9000)


def test_images_per_second_counts_and_not_the_pauses_between():
    """A minute between two epochs, such as for writing files, is no training."""
    work = Simulation(0.01)
    setup = work.setup(images=9000, val=0)
    work.progress.expect(setup, PlannedRuns(2))
    work.train([1], 1, setup)
    before = work.pace.seconds_left()
    work.now += 60
    assert work.pace.seconds_left() == pytest.approx(before)


def test_a_time_left_is_not_shown_before_ten_seconds_are_measured():
    now = [0.0]
    pace = Pace(lambda: now[0], lambda: 0.0)
    pace.expect(train_images=1000, val_images=0, test_images=0)
    with pace.during(TRAINING):
        for now[0] in (50.0, 52.0, 59.9):
            pace.count_trained(100)
            assert pace.seconds_left() is None
        now[0] = 60.0
        pace.count_trained(10)
        assert pace.seconds_left() == pytest.approx(690 * 8.0 / 110)  # from 52 s on


def test_compiling_is_not_training_and_each_phase_has_its_seconds():
    """Programs for validating and testing are still to be compiled, each in 1/6 of the time."""
    now, compiled = [0.0], [0.0]
    pace = Pace(lambda: now[0], lambda: compiled[0])
    pace.expect(train_images=4000, val_images=200, test_images=50)
    with pace.during(COMPILING):
        now[0] += 12
    with pace.during(TRAINING):
        now[0], compiled[0] = now[0] + 9, 4.0  # 5 s to train and 4 s to compile
        pace.count_trained(100)
        now[0] += 20
        pace.count_trained(2000)
        training, evaluating, compiling = 1900 * 0.01, 350 * 0.01 / 3, 2 * 12 / 6
        assert pace.seconds_left() == pytest.approx(training + evaluating + compiling)
        now[0] += 1
    left = training + evaluating + 2 * 16 / 6  # now it is known that 4 s more were for compiling
    assert pace.seconds_left() == pytest.approx(left)
    with pace.during(VALIDATING):
        now[0] += 3
        assert pace.seconds_left() == pytest.approx(left - 3)
        compiled[0] += 2.5
    pace.count_evaluated(100)  # in 0.5 s
    assert pace.seconds_left() == pytest.approx(training + 250 * 0.005 + 18.5 / 6)
    with pace.during(TESTING):
        now[0] += 7
    now[0] += 1
    assert pace.seconds_by_phase() == {
        COMPILING: 18.5, TRAINING: 26, VALIDATING: 0.5, TESTING: 7, "the rest": 1,
    }  # fmt: skip
