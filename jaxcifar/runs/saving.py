"""When a run's checkpoints are written, and which of them stay."""

import time
from collections.abc import Sequence

from jaxcifar.machine import processes
from jaxcifar.runs.checkpoint import Checkpoints, Snapshot
from jaxcifar.runs.checkpoint_notes import Notes
from jaxcifar.runs.result import best_epoch
from jaxcifar.runs.saved import Row
from jaxcifar.training.state import TrainState

# Of a run's time that training waits for checkpoints. Where epochs take a second, not each of them
# gets one; what was put off is lost when the process is killed, and trained again.
_SHARE = 0.02


class Saving:
    """Holds states back until it is worth while to write them, the best and the newest of them."""

    def __init__(self, checkpoints: Checkpoints, steps_per_epoch: int) -> None:
        self._checkpoints, self._steps_per_epoch = checkpoints, steps_per_epoch
        self._unsaved: dict[int, Snapshot] = {}  # by step
        self._saved_step = 0
        self._saved_best: set[int] = set()  # the step that the newest checkpoint calls the best
        self._not_before = 0.0

    def resumed(self, step: int, history: Sequence[Row]) -> None:
        """Go on after the checkpoint of a step."""
        self._saved_step, self._saved_best = step, self.best_step(history)

    def best_step(self, history: Sequence[Row]) -> set[int]:
        """The step after which validation was best; empty before the first epoch's end."""
        return {best_epoch(history) * self._steps_per_epoch} if history else set()

    def take(self, step: int, state: TrainState, notes: Notes) -> None:
        """Hold a state to be saved; of earlier ones that are not, the best epoch's.

        Args:
          step: its number.
          state: not to be donated.
          notes: what goes with it.
        """
        best = self.best_step(notes.history)
        self._unsaved = {number: held for number, held in self._unsaved.items() if number in best}
        if step > self._saved_step:
            self._unsaved[step] = Snapshot(state, notes)

    def due(self) -> bool:
        """Whether it costs little enough of the run's time to write now; asked by all processes."""
        [due] = processes.any_process(time.monotonic() >= self._not_before)
        return due

    def write(self) -> None:
        """Write what is held, in the background.

        Raises:
          RunError: it can't be written.
        """
        began = time.monotonic()
        for step, (state, notes) in self._unsaved.items():
            # The best, and what the checkpoint before calls so, which counts if this is damaged.
            best = self.best_step(notes.history)
            self._checkpoints.save(step, state, notes, best | self._saved_best)
            self._saved_step, self._saved_best = step, best
        self._unsaved = {}
        now = time.monotonic()
        self._not_before = now + (now - began) / _SHARE
