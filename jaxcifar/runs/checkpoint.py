"""Checkpoints by orbax: written beside the training, only those kept that are still needed."""

import contextlib
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, first_line, last_cause
from jaxcifar.machine import processes
from jaxcifar.machine.files import require_readable, unused_path
from jaxcifar.machine.lost import lost_process_error, report_lost_processes
from jaxcifar.machine.plain_path import plain_path
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.checkpoint_notes import Notes, sealed, unsealed
from jaxcifar.runs.kept import NewestTwoAnd
from jaxcifar.runs.structure import differences
from jaxcifar.training.state import TrainState


class Snapshot(NamedTuple):
    """What a checkpoint holds: a state, and notes that go with it."""

    state: TrainState
    notes: Notes


class Checkpoints:
    """The checkpoints of one run, numbered by step.

    A checkpoint becomes visible under its number only when it is whole, so a kill at any moment
    leaves the ones before. Each carries its run's config and a checksum of its content. `newest`
    sets aside a checkpoint that can't be read, does not match or has another's number. A whole one
    of another config, network, update rule or version is an error, and stays as it is.

    Args:
      folder: made if need be.
      config: of the run, which says which images it is on.
      steps_per_epoch: of the run.

    Raises:
      RunError: the folder can't be read or made.
    """

    def __init__(self, folder: Path, config: Config, steps_per_epoch: int) -> None:
        self._config, self._steps_per_epoch = config, steps_per_epoch
        self._folder, self._exit = folder.resolve(), contextlib.ExitStack()
        self._policy = NewestTwoAnd()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._policy, cleanup_tmp_directories=True
        )
        handlers = {"state": ocp.StandardCheckpointHandler(), "notes": ocp.JsonCheckpointHandler()}
        try:
            self._require_readable()
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._exit.enter_context(plain_path(self._folder))
            self._manager = ocp.CheckpointManager(path, options=options, item_handlers=handlers)
        except OSError as error:
            raise RunError(
                f"{error.filename or self._folder}: can't be used ({last_cause(error)}); mend "
                "that, or choose another folder"
            ) from error

    def _require_readable(self) -> None:
        """Find out before orbax does, which takes what it may not read for damaged or not there."""
        if self._folder.exists():
            require_readable(self._folder)
            for path in self._folder.iterdir():
                if path.name.isdecimal() and not path.is_symlink():
                    require_readable(path, *path.rglob("*"))

    def save(self, step: int, state: TrainState, notes: Notes, keep: Collection[int] = ()) -> None:
        """Save `state` as checkpoint `step`, in the background.

        Args:
          step: its number, that of the state, above all before.
          state: not to be donated until it is on disk.
          notes: what goes with it.
          keep: steps whose checkpoints stay beside the newest two; all others are deleted.

        Raises:
          RunError: this or the save before could not be written.
        """
        self._require_space(state)
        self._policy.others = frozenset(keep)
        # As NumPy arrays: of those on several devices orbax would save a slice from each, for which
        # XLA compiles a program per slice.
        arrays = jax.device_get(state)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays.parts),
                    notes=ocp.args.JsonSave(sealed(notes, self._config, arrays)),
                ),
            )
        except Exception as error:
            raise lost_process_error(error) or self._unwritable(last_cause(error)) from error

    def wait(self) -> None:
        """Wait until all saves are on disk.

        Raises:
          RunError: one could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise lost_process_error(error) or self._unwritable(last_cause(error)) from error
        processes.wait_for_all("all is saved")

    def _require_space(self, state: TrainState) -> None:
        """Find out before orbax does, whose threads end in a heap of tracebacks."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise self._unwritable(f"it takes {needed:,} bytes and {free:,} are free")

    def _unwritable(self, reason: str) -> RunError:
        return RunError(
            f"{self._folder}: checkpoint not written ({reason}); the ones before are kept: make "
            "room, then run the same command to go on"
        )

    def newest(self, like: TrainState, say: Callable[[str], None]) -> Snapshot | None:
        """The newest checkpoint that is whole, or None if there is none.

        Args:
          like: a state of the same shapes and placement.
          say: told of every damaged checkpoint, which is renamed out of the way.

        Raises:
          RunError: it holds another state than `like`, or is another config's.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            read, reason = None, "another process can't read it"
            try:
                read = self._read(step, like)
            except RunError:
                raise
            except Exception as error:  # what a damaged file raises depends on where it is hit
                reason = first_line(error)[:120]
            [damaged_somewhere] = processes.any_process(read is None)
            if read is not None and not damaged_somewhere:
                return _placed(read, like)
            say(f"checkpoint {step} is damaged ({reason}): set aside, trying the one before.")
            self._set_aside(step)
        return None

    def load(self, step: int, like: TrainState) -> Snapshot:
        """The checkpoint of a step.

        Args:
          step: its number.
          like: a state of the same shapes and placement.

        Raises:
          RunError: it is missing or damaged, holds another state than `like`, or is another
            config's.
        """
        try:
            read = self._read(step, like)
        except RunError:
            raise
        except Exception as error:
            raise RunError(
                f"{self._folder}: checkpoint {step}, the best one, is missing or damaged; train "
                "again with --overwrite"
            ) from error
        return _placed(read, like)

    @report_lost_processes()
    def _read(self, step: int, like: TrainState) -> Snapshot:
        """As NumPy arrays, so that what devices complain of does not pass for damage."""
        self._require_alike(step, like)
        arrays = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(arrays.parts), notes=ocp.args.JsonRestore()
            ),
        )
        state = TrainState(**restored.state)
        notes, config = unsealed(restored.notes, state, step // self._steps_per_epoch)
        if state.step != step:
            raise ValueError(f"it is that of step {state.step}")
        if config is not None:
            self._require_same_config(step, config)
        return Snapshot(state, notes)

    def _require_same_config(self, step: int, config: Config) -> None:
        if differing := config.differences(self._config):
            what = ", ".join(
                f"{name} {old} there, {new} expected" for name, (old, new) in differing.items()
            )
            raise RunError(
                f"{self._folder}: checkpoint {step} belongs to another config ({what}); choose "
                "another folder, or start anew with --overwrite (in a study: --force ROW)"
            )

    def _require_alike(self, step: int, like: TrainState) -> None:
        """Find out before orbax does, whose errors do not tell another structure from damage."""
        saved = self._manager.item_metadata(step).get("state")
        if saved is None:
            raise ValueError("it holds no state")
        if there := differences(saved.tree, like):
            raise RunError(
                f"{self._folder}: checkpoint {step} holds another state than this run trains "
                f"({there}); go on with the network, optimizer and version of jaxcifar that wrote "
                "it, or start anew with --overwrite (in a study: --force ROW)"
            )

    def _set_aside(self, step: int) -> None:
        if processes.is_first_process():
            folder = self._folder / str(step)
            try:
                folder.rename(unused_path(folder.with_name(f"damaged-{step}")))
            except OSError as error:
                raise RunError(
                    f"{folder}: damaged, and can't be set aside ({error.strerror}); delete it"
                ) from error
        processes.wait_for_all(f"{step} is set aside")
        self._manager.reload()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After a failed save, closing raises the same error once more; the first one is enough.
        ignored = (Exception,) if kind else ()
        with self._exit, contextlib.suppress(*ignored):
            self._manager.close()


def _placed(read: Snapshot, like: TrainState) -> Snapshot:
    state = jax.tree.map(
        lambda array, leaf: place_on_devices(array, leaf.sharding), read.state, like
    )
    return read._replace(state=state)
