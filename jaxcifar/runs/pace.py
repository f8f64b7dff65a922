"""Where the time of runs went, and from that how much of it is left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxcifar.machine.compilations import compile_seconds

STARTING, COMPILING = "starting", "compiling"
TRAINING, VALIDATING, TESTING = "training", "validating", "testing"
PHASES = (COMPILING, TRAINING, VALIDATING, TESTING, STARTING)
# Until it is measured: a forward pass is a third of a step (the gradient takes two more), and so is
# what it takes to compile it.
_FORWARD = 1 / 3
TEST_PASSES = 3  # the chosen weights, the last ones, mirrored images


class Pace:
    """Seconds by phase, and images still to be trained on and looked at.

    What was compiled within a phase counts as compiling. The speed is that of the work last
    expected: another program has another.

    Attributes:
      phase: what is done now.
      seconds: spent in each phase so far.
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
        self.to_train = self.to_look_at = 0.0  # images
        self.trained = self._looked_at = 0  # of these, measured
        self._total = 0.0
        self._before = dict(self.seconds)  # when the work now done began
        self._evaluated = {VALIDATING: False, TESTING: False}  # compiled, then

    def expect(self, train: int, validate: int, test: int) -> None:
        """Say how many images the work that begins now has, of all its runs and epochs.

        Args:
          train: to train on.
          validate: to validate on.
          test: of a test set, once for each run.
        """
        self.to_train, self.to_look_at = float(train), float(validate + TEST_PASSES * test)
        self._total = self._cost(self.to_train, self.to_look_at)
        self.trained = self._looked_at = 0
        self._before = dict(self.seconds)
        self._evaluated = {VALIDATING: validate == 0, TESTING: False}

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count the time to a phase."""
        outer, self.phase, self.phase_began = self.phase, phase, self._clock()
        compiled = self._compiled()
        try:
            yield
        finally:
            spent = self._clock() - self.phase_began
            compiling = spent if phase == COMPILING else min(spent, self._compiled() - compiled)
            self.seconds[phase] += spent - compiling
            self.seconds[COMPILING] += compiling
            if phase in self._evaluated:
                self._evaluated[phase] = True
            self.phase, self.phase_began = outer, self._clock()

    def train(self, images: int) -> None:
        """Count images trained on."""
        self.trained += images
        self.to_train -= images

    def look_at(self, images: int) -> None:
        """Count images validated or tested on."""
        self._looked_at += images
        self.to_look_at -= images

    def skip(self, train: int, look_at: int) -> None:
        """Take off work that was done before, or will not be."""
        self.to_train -= train
        self.to_look_at -= look_at

    @staticmethod
    def _cost(train: float, look_at: float) -> float:
        return train + _FORWARD * look_at

    @property
    def done(self) -> float:
        """The part of the work that is done, from 0 to 1."""
        if not self._total:
            return 0.0
        return min(1.0, max(0.0, 1 - self._cost(self.to_train, self.to_look_at) / self._total))

    def _spent(self, *phases: str) -> float:
        return sum(self.seconds[phase] - self._before[phase] for phase in phases)

    @property
    def training_seconds(self) -> float:
        """In which what was `trained` was, the time of an open phase included."""
        open_now = self._clock() - self.phase_began if self.phase == TRAINING else 0.0
        return self._spent(TRAINING) + open_now

    def left(self) -> float | None:
        """Seconds that what is left takes, compiling included; None before a step is measured."""
        if not self.trained or not self.training_seconds:
            return None
        step = self.training_seconds / self.trained
        look = _FORWARD * step
        if self._looked_at:
            look = self._spent(VALIDATING, TESTING) / self._looked_at
        to_compile = sum(not done for done in self._evaluated.values())
        compiling = to_compile * _FORWARD * self._spent(COMPILING) / 2
        begun = self._clock() - self.phase_began if self.phase in self._evaluated else 0.0
        return max(0.0, self.to_train * step + self.to_look_at * look + compiling - begun)

    def spent(self) -> dict[str, float]:
        """Seconds by phase, longest part of the list first as in `PHASES`, and the rest."""
        known = {phase: self.seconds[phase] for phase in PHASES if self.seconds[phase] >= 0.05}
        rest = self._clock() - self._began - sum(self.seconds.values())
        return known | ({"the rest": rest} if rest >= 0.05 else {})
