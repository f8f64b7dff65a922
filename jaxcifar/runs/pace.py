"""The time that runs have spent in each phase, and an estimate of the time left."""

import bisect
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jaxcifar.machine.compilations import compile_seconds

STARTING, COMPILING = "starting", "compiling"
TRAINING, VALIDATING, TESTING = "training", "validating", "testing"
PHASES = (COMPILING, TRAINING, VALIDATING, TESTING, STARTING)
# Time of a forward pass, or of compiling it, as a fraction of a training step: the gradient takes
# the other two thirds. Used until a forward pass is measured.
_FORWARD_SHARE_OF_STEP = 1 / 3
TEST_PASSES = 3  # passes over the test images: best weights, last weights, mirrored images
_MIN_MEASURED_SECONDS = 10.0  # of measured training before a time left is shown


class _Measurement(NamedTuple):
    """The number of images trained so far, and the seconds that their training took."""

    images: int
    seconds: float


class PlannedRuns(NamedTuple):
    """Runs that share one compiled program and that a command will train.

    `epochs` is the number of epochs of each run, `runs` the number of runs, and `at_once` the
    number of runs that are trained together.
    """

    epochs: int
    runs: int = 1
    at_once: int = 1

    @property
    def epochs_in_a_row(self) -> int:
        """The number of epochs until all runs are trained; runs trained together count once."""
        groups_of_runs = math.ceil(self.runs / self.at_once)
        return groups_of_runs * self.epochs


class Pace:
    """The time spent in each phase of a command, and an estimate of the time left.

    Compilation within another phase counts as compiling. If several runs are trained together, only
    the images of one run are counted, because a step takes as long for all of them.

    The speed of training is measured over the last half of the training time. The first dispatch
    (call to the devices) is left out, because it is often slow. So a slow start is soon forgotten,
    and one slow moment changes a long measurement little.

    After each call of `expect`, speeds are measured again, because another program has another
    speed. Until the new speed is known, the earlier speed is used.

    Attributes:
      phase: the current phase.
      phase_began: time at which the current phase began, as the argument `clock` returned it.
      seconds: seconds spent in each phase so far.
      images_to_train, images_to_evaluate: number of images still to be trained on and evaluated.
      trained_images: number of images trained on since the last call of `expect`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        seconds_compiled: Callable[[], float] = compile_seconds,
    ) -> None:
        self._clock, self._seconds_compiled = clock, seconds_compiled
        self._began = clock()
        self.phase, self.phase_began = STARTING, self._began
        self._seconds_compiled_before_phase = 0.0
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.images_to_train = self.images_to_evaluate = 0.0
        self._work_done = 0.0
        self._seconds_per_trained_image: float | None = None  # seconds
        self._reset_measurements()

    def _reset_measurements(self) -> None:
        """Forget all measurements; until there are new ones, the last training speed is used."""
        self.trained_images = 0
        self._first_measurement: _Measurement | None = None
        self._recent_measurements: deque[_Measurement] = deque()  # of the last half of the time
        self._last_measured_at = self._clock()
        self._seconds_per_evaluated_image: list[float] = []  # seconds per image, in ascending order
        self._seconds_before_expect = dict(self.seconds)
        self._evaluation_seconds = 0.0
        self._is_compiled = {VALIDATING: False, TESTING: False}

    def expect(self, train_images: int, val_images: int, test_images: int) -> None:
        """Set the number of images that the command will process from now on.

        Args:
          train_images: number of training images in all epochs; runs trained together count once.
          val_images: number of validation images in all epochs of all runs.
          test_images: number of test images of all runs.
        """
        self.images_to_train = float(train_images)
        self.images_to_evaluate = float(val_images + TEST_PASSES * test_images)
        self._reset_measurements()
        self._is_compiled[VALIDATING] = val_images == 0

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Add the duration of the `with` block to the seconds of a phase, such as "training"."""
        outer_phase = self.phase
        self.phase, self.phase_began = phase, self._clock()
        seconds_compiled_before = self._seconds_compiled()
        self._seconds_compiled_before_phase = seconds_compiled_before
        try:
            yield
        finally:
            seconds_of_block = self._clock() - self.phase_began
            if phase == COMPILING:
                seconds_of_compilation = seconds_of_block
            else:
                compiled_in_block = self._seconds_compiled() - seconds_compiled_before
                seconds_of_compilation = min(seconds_of_block, compiled_in_block)
            self.seconds[phase] += seconds_of_block - seconds_of_compilation
            self.seconds[COMPILING] += seconds_of_compilation
            if phase in self._is_compiled:
                self._is_compiled[phase] = True
            self.phase, self.phase_began = outer_phase, self._clock()

    def count_trained(self, image_count: int) -> None:
        """Count images that were just trained on, and measure the speed of training."""
        if image_count == 0:
            return
        self.trained_images += image_count
        self._count_as_done(trained_images=image_count, evaluated_images=0)
        self._last_measured_at = self._clock()
        seconds_of_phase = self._last_measured_at - self.phase_began
        compiled_in_phase = self._seconds_compiled() - self._seconds_compiled_before_phase
        seconds_of_earlier_phases = self._seconds_in(TRAINING)
        training_seconds = seconds_of_earlier_phases + (seconds_of_phase - compiled_in_phase)
        self._measure_training_speed(_Measurement(self.trained_images, training_seconds))

    def _measure_training_speed(self, latest: _Measurement) -> None:
        """Add a measurement; once enough time is measured, set the seconds per trained image."""
        self._recent_measurements.append(latest)
        if self._first_measurement is None:
            self._first_measurement = latest
        measured_seconds = latest.seconds - self._first_measurement.seconds
        self._forget_old_measurements(kept_seconds=measured_seconds / 2)
        if measured_seconds >= _MIN_MEASURED_SECONDS:
            oldest = self._recent_measurements[0]
            seconds_between = latest.seconds - oldest.seconds
            images_between = latest.images - oldest.images
            self._seconds_per_trained_image = seconds_between / images_between

    def _forget_old_measurements(self, kept_seconds: float) -> None:
        """Forget the oldest measurements while the others span at least `kept_seconds`."""
        latest = self._recent_measurements[-1]
        while len(self._recent_measurements) > 1:
            span_without_first = latest.seconds - self._recent_measurements[1].seconds
            if span_without_first < kept_seconds:
                return
            self._recent_measurements.popleft()

    def count_evaluated(self, image_count: int) -> None:
        """Count images that were just validated or tested, and measure the time per image."""
        self._count_as_done(trained_images=0, evaluated_images=image_count)
        seconds_before = self._evaluation_seconds
        self._evaluation_seconds = self._seconds_in(VALIDATING, TESTING)
        if image_count:
            seconds_per_image = (self._evaluation_seconds - seconds_before) / image_count
            bisect.insort(self._seconds_per_evaluated_image, seconds_per_image)

    def skip(self, trained_images: float, evaluated_images: float) -> None:
        """Count images as done without training on them or evaluating them.

        Both arguments are numbers of images. The measured speed stays the same.
        """
        self._count_as_done(trained_images, evaluated_images)

    def _count_as_done(self, trained_images: float, evaluated_images: float) -> None:
        self.images_to_train = max(0.0, self.images_to_train - trained_images)
        self.images_to_evaluate = max(0.0, self.images_to_evaluate - evaluated_images)
        self._work_done += trained_images + _FORWARD_SHARE_OF_STEP * evaluated_images

    @property
    def fraction_done(self) -> float:
        """The fraction of the command's work that is done, from 0 to 1."""
        work_left = self.images_to_train + _FORWARD_SHARE_OF_STEP * self.images_to_evaluate
        total_work = self._work_done + work_left
        return self._work_done / total_work if total_work else 0.0

    def _seconds_in(self, *phases: str) -> float:
        """Return the seconds spent in these phases since the last call of `expect`."""
        return sum(self.seconds[phase] - self._seconds_before_expect[phase] for phase in phases)

    def _median_seconds_per_evaluated_image(self, seconds_per_trained_image: float) -> float:
        """Return the estimated seconds to evaluate an image: the median of all measurements.

        The first evaluation is slow, because JAX traces its program. If nothing else was measured
        yet, the result is at most `seconds_per_trained_image`, the seconds to train on an image.
        """
        ascending_seconds = self._seconds_per_evaluated_image
        if not ascending_seconds:
            return _FORWARD_SHARE_OF_STEP * seconds_per_trained_image
        if len(ascending_seconds) == 1:
            return min(ascending_seconds[0], seconds_per_trained_image)
        middle = (len(ascending_seconds) - 1) // 2
        return ascending_seconds[middle]

    def seconds_left(self) -> float | None:
        """Return the estimated seconds left; None until the speed of training has been measured."""
        seconds_per_trained_image = self._seconds_per_trained_image
        if seconds_per_trained_image is None:
            return None
        training_seconds = self.images_to_train * seconds_per_trained_image
        seconds_per_image = self._median_seconds_per_evaluated_image(seconds_per_trained_image)
        evaluation_seconds = self.images_to_evaluate * seconds_per_image
        uncompiled_phases = [phase for phase in self._is_compiled if not self._is_compiled[phase]]
        seconds_for_both_phases = _FORWARD_SHARE_OF_STEP * self._seconds_in(COMPILING)
        compilation_seconds = len(uncompiled_phases) * (seconds_for_both_phases / 2)
        seconds_since_last_count = 0.0
        if self.phase in (TRAINING, VALIDATING, TESTING):
            last_count = max(self.phase_began, self._last_measured_at)
            seconds_since_last_count = self._clock() - last_count
        seconds_at_last_count = training_seconds + evaluation_seconds + compilation_seconds
        return max(0.0, seconds_at_last_count - seconds_since_last_count)

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds spent in each phase and in "the rest", without times below 0.5 s."""
        spent_seconds = {phase: self.seconds[phase] for phase in PHASES}
        spent_seconds["the rest"] = self._clock() - self._began - sum(spent_seconds.values())
        return {phase: seconds for phase, seconds in spent_seconds.items() if seconds >= 0.5}
