"""Write and read a run's checkpoints with orbax, and delete old checkpoints."""

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxcifar.config.experiment import Config
from jaxcifar.errors import OneLineError, RunError, first_line, last_cause
from jaxcifar.machine import processes
from jaxcifar.machine.failures import report_machine_failures
from jaxcifar.machine.files import unused_path
from jaxcifar.machine.lost import lost_process_error, report_lost_processes
from jaxcifar.machine.plain_path import path_without_special_characters
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs import array_trees, checkpoint_keeping
from jaxcifar.runs.checkpoint_metadata import Notes, make_metadata, read_metadata
from jaxcifar.runs.config_comparison import describe_config_differences
from jaxcifar.runs.file_formats import START_AGAIN
from jaxcifar.training.state import TrainState


class Checkpoint(NamedTuple):
    """The content of a checkpoint: a training state, and the run's history up to that state."""

    state: TrainState
    notes: Notes


class Checkpoints:
    """The checkpoints of one run, numbered by training step.

    A checkpoint gets its number only when it is complete. So a process killed at any moment leaves
    the earlier checkpoints intact. A checkpoint contains the run's config and a checksum.

    Args:
      folder: the run's folder of checkpoints; created if missing.
      config: the run's config.
      steps_per_epoch: number of steps in an epoch.
      keep_every: 10 also keeps the checkpoints of epochs 10, 20 and so on; None keeps none extra.
      resuming_command: the command that goes on with the run, as words for a message.
      read_only: True to change nothing in the folder, which must exist.

    Raises:
      RunError: the folder can't be read or written.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        steps_per_epoch: int,
        keep_every: int | None = None,
        resuming_command: str = "the same command",
        read_only: bool = False,
    ) -> None:
        self._config, self._steps_per_epoch = config, steps_per_epoch
        self._folder, self._resuming_command = folder.resolve(), resuming_command
        self._exit_stack = contextlib.ExitStack()
        keep_every_steps = None if keep_every is None else keep_every * steps_per_epoch
        self.keeping_rule = checkpoint_keeping.KeepingRule(keep_every_steps)
        if read_only:
            options = ocp.CheckpointManagerOptions(create=False)  # `read_only` would log a warning
        else:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self.keeping_rule, cleanup_tmp_directories=True
            )
        handlers = {"state": ocp.StandardCheckpointHandler(), "notes": ocp.JsonCheckpointHandler()}
        try:
            checkpoint_keeping.require_readable_checkpoints(self._folder)
            if not read_only:
                self._folder.mkdir(parents=True, exist_ok=True)
                earlier_intervals = checkpoint_keeping.record_keep_every(folder, keep_every)
                self.keeping_rule.earlier_steps = checkpoint_keeping.steps_kept_by_earlier_commands(
                    folder, earlier_intervals, steps_per_epoch
                )
            path = self._exit_stack.enter_context(path_without_special_characters(self._folder))
            self._manager = ocp.CheckpointManager(path, options=options, item_handlers=handlers)
        except OSError as error:
            raise RunError(
                f"{error.filename or self._folder}: can't be used ({last_cause(error)}); "
                "make it readable and writable, or choose another folder"
            ) from error

    def save(
        self, step: int, state: TrainState, notes: Notes, keep_steps: Collection[int] = ()
    ) -> None:
        """Start to write a training state and the run's history (`notes`) as a checkpoint.

        Writing goes on in the background. Until `wait` returns, JAX must not reuse the memory of
        the state's arrays (donation). Earlier checkpoints are deleted, except the newest one and
        the checkpoints of the steps in `keep_steps`.
        """
        storable_state = array_trees.random_keys_to_numbers(state)
        self._require_disk_space(storable_state)
        self.keeping_rule.kept_steps = frozenset(keep_steps)
        # Orbax would save arrays in slices, each by a program of its own, so copy them to the host.
        arrays = jax.device_get(storable_state)
        metadata = make_metadata(notes, self._config, arrays)
        content = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays.to_dict()), notes=ocp.args.JsonSave(metadata)
        )
        try:
            self._manager.save(step, args=content)
        except Exception as error:
            raise lost_process_error(error) or self._save_error(last_cause(error)) from error

    def wait(self) -> None:
        """Wait until all checkpoints are on disk."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise lost_process_error(error) or self._save_error(last_cause(error)) from error
        processes.wait_for_all("all is saved")

    def _require_disk_space(self, state: TrainState) -> None:
        """Raise RunError if the disk has too little room to save a training state."""
        needed_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes < needed_bytes:
            reason = f"it needs {needed_bytes:,} bytes, and {free_bytes:,} are free"
            raise self._save_error(reason)

    def _save_error(self, reason: str) -> RunError:
        problem = f"{self._folder}: checkpoint not written ({reason}); the ones before are kept"
        return RunError(f"{problem}: make room, then run {self._resuming_command} to go on")

    def load_newest(self, state_like: TrainState, print_line: PrintLine) -> Checkpoint | None:
        """Return the newest checkpoint that is not damaged, or None if there is none.

        Damaged checkpoints are renamed, and a printed line names each of them. `state_like` is a
        training state with the expected shapes and the device placement of the result.

        Raises:
          RunError: a checkpoint has other arrays than `state_like`, or belongs to another config.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            checkpoint, error_here = None, ""
            try:
                checkpoint = self._read_as_numpy(step, state_like)
            except OneLineError:
                raise
            except Exception as error:  # its type depends on the place of the damage
                error_here = first_line(error)[:120]
            [has_failed_in_any_process] = processes.any_process(checkpoint is None)
            if checkpoint is not None and not has_failed_in_any_process:
                return _place_restored(checkpoint, state_like)
            reason = error_here if checkpoint is None else "another process can't read it"
            print_line(
                f"checkpoint {step} is damaged ({reason}): set aside, trying the one before."
            )
            self._rename_damaged(step)
        return None

    def load(
        self, step: int, state_like: TrainState, advice: str = "train again with --overwrite"
    ) -> Checkpoint:
        """Return the checkpoint of a training step.

        Args:
          step: number of the step after which the checkpoint was written.
          state_like: a training state with the expected shapes and device placement.
          advice: what the user can do if the checkpoint is missing or damaged, for the message.

        Raises:
          RunError: the checkpoint is missing or damaged, or is of another network or config.
        """
        try:
            return _place_restored(self._read_as_numpy(step, state_like), state_like)
        except OneLineError:
            raise
        except Exception as error:
            raise RunError(
                f"{self._folder}: checkpoint {step} is missing or damaged; {advice}"
            ) from error

    @report_lost_processes()
    @report_machine_failures()
    def _read_as_numpy(self, step: int, state_like: TrainState) -> Checkpoint:
        """Read a checkpoint, but not to a device, whose errors would look like a damaged file."""
        storable_like = array_trees.random_keys_to_numbers(state_like)
        self._require_same_arrays(step, storable_like)
        numpy_like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), storable_like)
        content = ocp.args.Composite(
            state=ocp.args.StandardRestore(numpy_like.to_dict()), notes=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=content)
        state, metadata = TrainState.from_dict(restored["state"]), restored["notes"]
        finished_epochs = step // self._steps_per_epoch
        notes, saved_config = read_metadata(metadata, state, finished_epochs)
        if state.step != step:
            raise ValueError(f"the checkpoint contains the state of step {state.step}")
        differences = saved_config.differences(self._config) if saved_config is not None else {}
        if differences:
            raise RunError(
                f"{self._folder}: checkpoint {step} belongs to another config "
                f"({describe_config_differences(differences)}); {START_AGAIN.advice}"
            )
        return Checkpoint(state, notes)

    def _require_same_arrays(self, step: int, state_like: TrainState) -> None:
        """Raise RunError if a checkpoint's arrays differ from `state_like` in name or shape."""
        saved_metadata = self._manager.item_metadata(step).get("state")
        if saved_metadata is None:
            raise ValueError("the checkpoint has no training state")
        differences = array_trees.describe_differences(saved_metadata.tree, state_like.to_dict())
        if differences:
            raise RunError(
                f"{self._folder}: checkpoint {step} holds another state than this run trains "
                f"({differences}); go on with the network, optimizer and version of jaxcifar that "
                "wrote it, or start anew with --overwrite (in a study: --force ROW)"
            )

    def delete_all(self) -> None:
        """Delete all checkpoints."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def _rename_damaged(self, step: int) -> None:
        if processes.is_first_process():
            folder = self._folder / str(step)
            new_path = unused_path(folder.with_name(f"damaged-{step}"))
            try:
                folder.rename(new_path)
            except OSError as error:
                reason = f"is damaged, and can't be renamed ({error.strerror})"
                raise RunError(f"{folder}: {reason}; delete it") from error
        processes.wait_for_all(f"{step} is set aside")
        self._manager.reload()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        # After a failed save, closing raises the same error again; the first one is enough.
        ignored_errors = (Exception,) if error_type else ()
        with self._exit_stack, contextlib.suppress(*ignored_errors):
            self._manager.close()


def _place_restored(checkpoint: Checkpoint, state_like: TrainState) -> Checkpoint:
    state = array_trees.numbers_to_random_keys(checkpoint.state, state_like)
    return checkpoint._replace(state=array_trees.place_on_devices_like(state, state_like))
