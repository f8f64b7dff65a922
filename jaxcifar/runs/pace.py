"""The time that runs have spent in each phase, and an estimate of the time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxcifar.machine.compilations import compile_seconds

STARTING, COMPILING = "starting", "compiling"
TRAINING, VALIDATING, TESTING = "training", "validating", "testing"
PHASES = (COMPILING, TRAINING, VALIDATING, TESTING, STARTING)
# Time of a forward pass, or of compiling it, as a fraction of a training step: the gradient takes
# the other two thirds. Used until a forward pass is measured.
_FORWARD = 1 / 3
TEST_PASSES = 3  # passes over the test images: best weights, last weights, mirrored images


class Pace:
    """The time spent in each phase of a command, and an estimate of the time left.

    Compilation within another phase counts as compiling. Each call of `expect` begins to measure
    speeds from zero, because another program has another speed.

    Attributes:
      phase: the current phase.
      phase_began: time at which the current phase began, by the argument `clock`.
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
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.to_train = self.to_evaluate = 0.0
        self.trained = self._evaluated = 0
        self._total_work = 0.0
        self._earlier_seconds = dict(self.seconds)  # before the last call of `expect`
        self._is_compiled = {VALIDATING: False, TESTING: False}

    def expect(self, train: int, validate: int, test: int) -> None:
        """Set the number of images that the work that begins now will process.

        Args:
          train: training images of all runs and epochs.
          validate: validation images of all runs and epochs.
          test: test images of all runs.
        """
        self.to_train, self.to_evaluate = float(train), float(validate + TEST_PASSES * test)
        self._total_work = self._work_left
        self.trained = self._evaluated = 0
        self._earlier_seconds = dict(self.seconds)
        self._is_compiled = {VALIDATING: validate == 0, TESTING: False}

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count the time of the `with` block as time of a phase, such as "training"."""
        outer_phase, self.phase, self.phase_began = self.phase, phase, self._clock()
        compiled_before = self._compiled()
        try:
            yield
        finally:
            spent = self._clock() - self.phase_began
            compiling = min(spent, self._compiled() - compiled_before)
            if phase == COMPILING:
                compiling = spent
            self.seconds[phase] += spent - compiling
            self.seconds[COMPILING] += compiling
            if phase in self._is_compiled:
                self._is_compiled[phase] = True
            self.phase, self.phase_began = outer_phase, self._clock()

    def count_trained(self, images: int) -> None:
        """Add a number of images to `trained`, and subtract it from `to_train`."""
        self.trained += images
        self.to_train -= images

    def count_evaluated(self, images: int) -> None:
        """Subtract the number of images that were validated or tested from `to_evaluate`."""
        self._evaluated += images
        self.to_evaluate -= images

    def skip(self, train: int, evaluate: int) -> None:
        """Subtract images that need no more work from `to_train` and from `to_evaluate`."""
        self.to_train -= train
        self.to_evaluate -= evaluate

    @property
    def _work_left(self) -> float:
        """The work left, as a number of images to train on; an evaluated image counts 1/3."""
        return self.to_train + _FORWARD * self.to_evaluate

    @property
    def done(self) -> float:
        """The fraction of the work that is done, from 0 to 1."""
        if self._total_work == 0:
            return 0.0
        return min(1.0, max(0.0, 1 - self._work_left / self._total_work))

    def _seconds_in(self, *phases: str) -> float:
        """Return the seconds spent in these phases since the last call of `expect`."""
        return sum(self.seconds[phase] - self._earlier_seconds[phase] for phase in phases)

    @property
    def training_seconds(self) -> float:
        """Seconds of training since the last call of `expect`, until now."""
        running = self._clock() - self.phase_began if self.phase == TRAINING else 0.0
        return self._seconds_in(TRAINING) + running

    def seconds_left(self) -> float | None:
        """Return the estimated time left, in seconds; None before a training step is measured."""
        if self.trained == 0 or self.training_seconds == 0:
            return None
        per_trained_image = self.training_seconds / self.trained
        per_evaluated_image = _FORWARD * per_trained_image
        if self._evaluated:
            per_evaluated_image = self._seconds_in(VALIDATING, TESTING) / self._evaluated
        programs_left = list(self._is_compiled.values()).count(False)
        compiling = programs_left * _FORWARD * self._seconds_in(COMPILING) / 2
        is_evaluating = self.phase in self._is_compiled
        running = self._clock() - self.phase_began if is_evaluating else 0.0
        training = self.to_train * per_trained_image
        evaluating = self.to_evaluate * per_evaluated_image
        return max(0.0, training + evaluating + compiling - running)

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds spent in each phase and in "the rest", without times under 0.05 s."""
        spent = {phase: self.seconds[phase] for phase in PHASES}
        spent["the rest"] = self._clock() - self._began - sum(spent.values())
        return {phase: seconds for phase, seconds in spent.items() if seconds >= 0.05}
