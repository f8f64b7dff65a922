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
    """Decides when a run's training states are written to disk as checkpoints.

    States wait in memory until then. At most two states wait: the newest state, and the state with
    the best validation accuracy.
    """

    def __init__(self, checkpoints: Checkpoints, steps_per_epoch: int) -> None:
        self._checkpoints, self._steps_per_epoch = checkpoints, steps_per_epoch
        self._unwritten_checkpoints: dict[int, Checkpoint] = {}  # by step
        self._last_written_step = 0
        self._best_steps_at_last_write: set[int] = set()  # none, or the best step
        self._next_write_time = 0.0

    def resume(self, step: int, history: Sequence[Row]) -> None:
        """Record that the newest checkpoint on disk is the checkpoint of training step `step`.

        `history` has a row of `metrics.jsonl` for each epoch up to that step.
        """
        self._last_written_step, self._best_steps_at_last_write = step, self._best_steps(history)

    def _best_steps(self, history: Sequence[Row]) -> set[int]:
        """Return a set with the last step of the best epoch; empty if no epoch is finished."""
        return {best_epoch(history) * self._steps_per_epoch} if history else set()

    def hold(self, step: int, state: TrainState, notes: Notes) -> None:
        """Keep the training state after a step in memory until `write` is called.

        JAX must not reuse the memory of the state's arrays. Earlier states in memory are dropped,
        except the state of the best epoch.

        Args:
          step: number of the step.
          state: the training state after the step.
          notes: the run's history up to the step.
        """
        best_steps = self._best_steps(notes.history)
        self._unwritten_checkpoints = {
            unwritten_step: checkpoint
            for unwritten_step, checkpoint in self._unwritten_checkpoints.items()
            if unwritten_step in best_steps
        }
        if step > self._last_written_step:
            self._unwritten_checkpoints[step] = Checkpoint(state, notes)

    def is_due(self) -> bool:
        """Return True if checkpoints should be written now; all processes get the same answer."""
        must_be_kept = any(
            self._checkpoints.keeping_rule.is_always_kept(step)
            for step in self._unwritten_checkpoints
        )
        is_next_write_due = time.monotonic() >= self._next_write_time
        [is_due_in_any_process] = processes.any_process(must_be_kept or is_next_write_due)
        return is_due_in_any_process

    def write(self) -> None:
        """Start to write the waiting training states as checkpoints, in the background.

        Raises:
          RunError: a state can't be written.
        """
        write_began = time.monotonic()
        for step, (state, notes) in self._unwritten_checkpoints.items():
            # If this checkpoint is damaged later, the run resumes from the one before, and needs
            # the checkpoint of the epoch that was best then.
            best_steps = self._best_steps(notes.history)
            kept_steps = best_steps | self._best_steps_at_last_write
            self._checkpoints.save(step, state, notes, kept_steps)
            self._last_written_step, self._best_steps_at_last_write = step, best_steps
        self._unwritten_checkpoints = {}
        write_ended = time.monotonic()
        writing_seconds = write_ended - write_began
        seconds_to_next_write = writing_seconds / _MAX_TIME_SHARE
        self._next_write_time = write_ended + seconds_to_next_write
