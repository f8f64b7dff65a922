"""Decide when a run's checkpoints are written, and which of them are kept."""

import time
from collections.abc import Sequence

from jaxcifar.machine import processes
from jaxcifar.runs.checkpoint import Checkpoint, Checkpoints
from jaxcifar.runs.checkpoint_metadata import Notes
from jaxcifar.runs.epoch_selection import best_epoch
from jaxcifar.runs.file_formats import Row
from jaxcifar.training.state import TrainState

# Largest part of a run's time that training waits for checkpoints. With short epochs, not every
# epoch gets a checkpoint; if the process is killed, the epochs since the last one are lost.
_MAX_TIME_SHARE = 0.02


class CheckpointSchedule:
    """Hold training states in memory until it is time to write them as checkpoints.

    At most two states are held: the newest, and the state with the best validation accuracy.
    """

    def __init__(self, checkpoints: Checkpoints, steps_per_epoch: int) -> None:
        self._checkpoints, self._steps_per_epoch = checkpoints, steps_per_epoch
        self._unwritten: dict[int, Checkpoint] = {}  # by step, not written yet
        self._written_step = 0
        self._best_when_written: set[int] = set()  # best step according to the newest checkpoint
        self._next_write = 0.0

    def resume(self, step: int, history: Sequence[Row]) -> None:
        """Continue after the checkpoint of a step; `history` has the rows of the epochs so far."""
        self._written_step, self._best_when_written = step, self._best_step(history)

    def _best_step(self, history: Sequence[Row]) -> set[int]:
        """Return the last step of the best epoch, or an empty set if no epoch is finished."""
        return {best_epoch(history) * self._steps_per_epoch} if history else set()

    def hold(self, step: int, state: TrainState, notes: Notes) -> None:
        """Hold the training state after a step; JAX must not reuse the memory of its arrays.

        Of the states held before, only the state of the best epoch stays in memory.
        """
        best_step = self._best_step(notes.history)
        self._unwritten = {
            unwritten_step: checkpoint
            for unwritten_step, checkpoint in self._unwritten.items()
            if unwritten_step in best_step
        }
        if step > self._written_step:
            self._unwritten[step] = Checkpoint(state, notes)

    def is_due(self) -> bool:
        """Return True if it is time to write checkpoints; all processes get the same answer."""
        is_wanted = any(map(self._checkpoints.keeps_always, self._unwritten))
        is_time = time.monotonic() >= self._next_write
        [is_due_anywhere] = processes.any_process(is_wanted or is_time)
        return is_due_anywhere

    def write(self) -> None:
        """Start to write the held states in the background.

        Raises:
          RunError: a state can't be written.
        """
        start = time.monotonic()
        for step, (state, notes) in self._unwritten.items():
            # If this checkpoint is damaged later, the best step of the one before counts.
            best_step = self._best_step(notes.history)
            self._checkpoints.save(step, state, notes, best_step | self._best_when_written)
            self._written_step, self._best_when_written = step, best_step
        self._unwritten = {}
        end = time.monotonic()
        writing_seconds = end - start
        self._next_write = end + writing_seconds / _MAX_TIME_SHARE
