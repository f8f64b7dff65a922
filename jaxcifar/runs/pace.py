"""The time that runs have spent in each phase, and an estimate of the time left."""

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
_FORWARD = 1 / 3
TEST_PASSES = 3  # passes over the test images: best weights, last weights, mirrored images
_ENOUGH_SECONDS = 10.0  # of measured training before a time left is shown


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
        """The number of epochs that are trained one after the other, by all runs in total.

        Epochs of runs that are trained together count once.
        """
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
      to_train, to_evaluate: number of images still to be trained on and to be evaluated.
      trained: number of images trained on since the last call of `expect`.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        compiled: Callable[[], float] = compile_seconds,
    ) -> None:
        self._clock, self._compiled = clock, compiled
        self._began = clock()
        self.phase, self.phase_began = STARTING, self._began
        self._compiled_before_phase = 0.0
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.to_train = self.to_evaluate = 0.0
        self._work_done = 0.0
        self._per_trained_image: float | None = None  # seconds
        self._begin_to_measure()

    def _begin_to_measure(self) -> None:
        """Forget all measurements except the latest speed of training."""
        self.trained = 0
        self._first_measurement: _Measurement | None = None
        self._measurements: deque[_Measurement] = deque()  # of the last half of the time
        self._last_measured_at = self._clock()
        self._evaluation_costs: list[float] = []  # seconds per image, in ascending order
        self._earlier_seconds = dict(self.seconds)
        self._evaluation_seconds = 0.0
        self._is_compiled = {VALIDATING: False, TESTING: False}

    def expect(self, train: int, validate: int, test: int) -> None:
        """Set the number of images that the command will process from now on.

        Args:
          train: number of training images in all epochs, where runs trained together count once.
          validate: number of validation images in all epochs of all runs.
          test: number of test images of all runs.
        """
        self.to_train, self.to_evaluate = float(train), float(validate + TEST_PASSES * test)
        self._begin_to_measure()
        self._is_compiled[VALIDATING] = validate == 0

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Add the duration of the `with` block to the seconds of a phase, such as "training"."""
        outer_phase = self.phase
        self.phase, self.phase_began = phase, self._clock()
        compiled_before = self._compiled_before_phase = self._compiled()
        try:
            yield
        finally:
            seconds = self._clock() - self.phase_began
            compiling = min(seconds, self._compiled() - compiled_before)
            if phase == COMPILING:
                compiling = seconds
            self.seconds[phase] += seconds - compiling
            self.seconds[COMPILING] += compiling
            if phase in self._is_compiled:
                self._is_compiled[phase] = True
            self.phase, self.phase_began = outer_phase, self._clock()

    def count_trained(self, images: int) -> None:
        """Count images that were just trained on, and measure the speed of training."""
        if images == 0:
            return
        self.trained += images
        self._count_as_done(images, 0)
        self._last_measured_at = self._clock()
        compiling = self._compiled() - self._compiled_before_phase
        seconds_in_phase = self._last_measured_at - self.phase_began - compiling
        latest = _Measurement(self.trained, self._seconds_in(TRAINING) + seconds_in_phase)
        self._measurements.append(latest)
        if self._first_measurement is None:
            self._first_measurement = latest
        measured_seconds = latest.seconds - self._first_measurement.seconds
        self._keep_last(measured_seconds / 2)
        if measured_seconds >= _ENOUGH_SECONDS:
            begin = self._measurements[0]
            seconds, images = latest.seconds - begin.seconds, latest.images - begin.images
            self._per_trained_image = seconds / images

    def _keep_last(self, seconds: float) -> None:
        """Keep only as many measurements as are needed to span the last `seconds` seconds."""
        latest = self._measurements[-1]
        while len(self._measurements) > 1:
            span_without_first = latest.seconds - self._measurements[1].seconds
            if span_without_first < seconds:
                return
            self._measurements.popleft()

    def count_evaluated(self, images: int) -> None:
        """Count images that were just validated or tested, and measure the time per image."""
        self._count_as_done(0, images)
        seconds_before = self._evaluation_seconds
        self._evaluation_seconds = self._seconds_in(VALIDATING, TESTING)
        if images:
            seconds_per_image = (self._evaluation_seconds - seconds_before) / images
            self._evaluation_costs = sorted([*self._evaluation_costs, seconds_per_image])

    def skip(self, train: float, evaluate: float) -> None:
        """Count images as done without training on them or evaluating them.

        `train` and `evaluate` are the numbers of images; the measured speed stays the same.
        """
        self._count_as_done(train, evaluate)

    def _count_as_done(self, train: float, evaluate: float) -> None:
        self.to_train = max(0.0, self.to_train - train)
        self.to_evaluate = max(0.0, self.to_evaluate - evaluate)
        self._work_done += train + _FORWARD * evaluate

    @property
    def done(self) -> float:
        """The fraction of the command's work that is done, from 0 to 1."""
        work_left = self.to_train + _FORWARD * self.to_evaluate
        work = self._work_done + work_left
        return self._work_done / work if work else 0.0

    def _seconds_in(self, *phases: str) -> float:
        """Return the seconds spent in these phases since the last call of `expect`."""
        return sum(self.seconds[phase] - self._earlier_seconds[phase] for phase in phases)

    def _per_evaluated_image(self, per_trained_image: float) -> float:
        """Return the estimated seconds to evaluate an image: the median of all measurements.

        The first evaluation is slow, because its program is traced. If nothing else was measured
        yet, the result is at most `per_trained_image`, the seconds to train on an image.
        """
        costs = self._evaluation_costs
        if not costs:
            return _FORWARD * per_trained_image
        if len(costs) == 1:
            return min(costs[0], per_trained_image)
        middle = (len(costs) - 1) // 2
        return costs[middle]

    def seconds_left(self) -> float | None:
        """Return the estimated seconds left; None until the speed of training has been measured."""
        per_trained_image = self._per_trained_image
        if per_trained_image is None:
            return None
        training = self.to_train * per_trained_image
        evaluating = self.to_evaluate * self._per_evaluated_image(per_trained_image)
        programs_left = list(self._is_compiled.values()).count(False)
        compiling = programs_left * _FORWARD * self._seconds_in(COMPILING) / 2
        not_counted_yet = 0.0  # time since the images were counted
        if self.phase in (TRAINING, VALIDATING, TESTING):
            not_counted_yet = self._clock() - max(self.phase_began, self._last_measured_at)
        return max(0.0, training + evaluating + compiling - not_counted_yet)

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds spent in each phase and in "the rest", without times below 0.5 s."""
        spent = {phase: self.seconds[phase] for phase in PHASES}
        spent["the rest"] = self._clock() - self._began - sum(spent.values())
        return {phase: seconds for phase, seconds in spent.items() if seconds >= 0.5}
