"""One run: its folder, its checkpoints, how far it is, and what it writes down."""

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from jaxcifar.config import Config
from jaxcifar.errors import DivergedError
from jaxcifar.machine import environment, processes
from jaxcifar.machine.files import replacing, write_text
from jaxcifar.runs.checkpoint import Checkpoints, Snapshot
from jaxcifar.runs.folder import Row, RunFolder
from jaxcifar.runs.result import (
    best_epoch,
    confident_mistakes,
    decimal,
    describe,
    run_figures,
    tested_figures,
)
from jaxcifar.runs.setup import Setup
from jaxcifar.training.program import Hyperparameters, TrainState, Variables, evaluate

# Of a run's time that training waits for checkpoints. Where epochs take a second, not each of them
# gets one; what was put off is lost when the process is killed, and trained again.
_SAVE_SHARE = 0.02


@dataclasses.dataclass(frozen=True)
class Task:
    """A run to be done.

    Attributes:
      config: what to train.
      path: of its folder.
      name: what lines on the screen call it; "" if there is only one.
      overwrite: delete what an earlier run left in the folder.
    """

    config: Config
    path: Path
    name: str = ""
    overwrite: bool = False


class Run:
    """A task under way, held by this process.

    The state that is being trained is its trainer's; what is written of it is written here.

    Attributes:
      task, setup: what is run, and with what.
      hp: the run's hyper-parameters, on the devices.
      result: content of `result.json` if the run was finished before.
      state: where it starts from, if not: the newest checkpoint, or the seed. For its trainer to
        take.
      step: how many steps it has trained.
      epoch_seconds: spent training in the current epoch, earlier calls included.
    """

    def __init__(
        self,
        task: Task,
        setup: Setup,
        folder: RunFolder,
        checkpoints: Checkpoints,
        say: Callable[[str], None],
    ) -> None:
        self.task, self.setup = task, setup
        self._folder, self._checkpoints = folder, checkpoints
        self._say = lambda line: say(f"{task.name}: {line}" if task.name else line)
        # Asked for at the start: the files may have moved on by the end of a long run.
        self._git_commit = environment.git_commit()
        self._began = time.monotonic()
        self._wall_seconds_before = 0.0  # spent by earlier calls
        self._history: list[Row] = []
        self._unsaved: dict[int, Snapshot] = {}  # epochs whose checkpoints are put off, by step
        self._saved_step = 0
        self._saved_best: set[int] = set()  # the step that the newest checkpoint calls the best
        self._save_again = 0.0  # not before this time
        self.step = 0
        self.epoch_seconds = 0.0
        self.result = folder.finished_result()
        self.hp: Hyperparameters = setup.hyperparameters(task.config)
        self._exit = ExitStack()

    @classmethod
    def opened(cls, task: Task, setup: Setup, say: Callable[[str], None]) -> Self:
        """Take hold of a task's folder, and of its state at the newest good checkpoint.

        Raises:
          UsageError: the folder belongs to something else.
          BusyError: another process is at work in it.
          RunError: it can't be written.
        """
        with ExitStack() as held:
            folder = held.enter_context(RunFolder.opened(task.path, task.config, task.overwrite))
            processes.wait("the folder is held")
            checkpoints = held.enter_context(Checkpoints(folder.checkpoints))
            run = cls(task, setup, folder, checkpoints, say)
            if run.result is None:
                run._start()
            run._exit = held.pop_all()
        return run

    def close(self, error: Exception | None = None) -> None:
        """Let go of the folder; `error` is what ended the run, if something did."""
        self._exit.__exit__(error and type(error), error, None)

    def _start(self) -> None:
        self.setup.compile_ahead(self.hp)
        self.state: TrainState = self.setup.program.init(self.hp)
        restored = self._checkpoints.newest(self.state, self._say)
        if restored is not None:
            self.state, notes = restored
            self.step = self._saved_step = int(self.state.step)
            self._history = notes["history"]
            self._saved_best = self._best_step(self._history)
            self.epoch_seconds = notes["epoch_seconds"]
            self._wall_seconds_before = notes["wall_seconds"]
            self._say(f"resuming after step {self.step} (epoch {self.epoch}).")
        self._folder.write_history(self._history)

    @property
    def epoch(self) -> int:
        """The epoch that the next step is in, from 1."""
        return self.step // self.setup.program.steps_per_epoch + 1

    @property
    def steps_left(self) -> int:
        """Steps to train to the end of the current epoch."""
        return self._step_after(self.epoch) - self.step

    @property
    def epoch_over(self) -> bool:
        """Whether the last step trained ended an epoch that is not written down yet."""
        return self.step == self._step_after(len(self._history) + 1)

    @property
    def trained(self) -> bool:
        """Whether all epochs are."""
        return self.epoch > self.task.config.epochs

    @property
    def images_per_second(self) -> float:
        """In the current epoch so far."""
        steps = self.step - len(self._history) * self.setup.program.steps_per_epoch
        return steps * self.setup.program.batch_size / self.epoch_seconds

    def _step_after(self, epoch: int) -> int:
        return epoch * self.setup.program.steps_per_epoch

    def require_finite(self, name: str, loss: float) -> None:
        """Complain of a training that blew up.

        Raises:
          DivergedError: `loss` is not finite.
        """
        if math.isfinite(loss):
            return
        self._write_checkpoints()
        self.wait()
        kept = f"that of epoch {len(self._history)}" if self._history else "none yet"
        error = DivergedError(
            f"the {name} loss became {loss} in epoch {len(self._history) + 1}; the last good "
            f"checkpoint is kept ({kept}): try a lower --learning-rate in another run folder"
        )
        with self._folder.writing():
            write_text(self._folder.failure, f"{error}\n")
        raise error

    def end_epoch(self, state: TrainState, trained: dict[str, float]) -> Row:
        """Validate, write the epoch down and save it.

        Args:
          state: after the epoch's last step.
          trained: mean training loss and accuracy of the epoch.

        Returns:
          a row of `metrics.jsonl`.

        Raises:
          DivergedError: the loss is not finite.
          RunError: something can't be written.
        """
        program, val = self.setup.program, self.setup.val
        self.require_finite("training", trained["loss"])
        val_logits = program.predict(state.variables, self.hp, val.images)
        validated = jax.device_get(evaluate(val_logits, val.labels))
        epoch = len(self._history) + 1
        rates = np.asarray(self.hp.learning_rate)
        row: Row = {
            "epoch": epoch,
            "learning_rate": decimal(rates[self._step_after(epoch - 1)]),
            "train_loss": decimal(trained["loss"]),
            "train_accuracy": decimal(trained["accuracy"]),
            "val_loss": decimal(validated["loss"]),
            "val_accuracy": decimal(validated["accuracy"]),
            "seconds": self.epoch_seconds,
            "images_per_second": self.images_per_second,
        }
        self.require_finite("validation", row["val_loss"])
        self._history.append(row)
        self.epoch_seconds = 0.0
        with self._folder.writing():
            self._folder.append_row(row)
            self._take(state)
            [due] = processes.agree(time.monotonic() >= self._save_again)
            if self.trained or due:
                self._write_checkpoints()
        return row

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, in the background.

        Args:
          state: not to be donated.

        Raises:
          RunError: it can't be written.
        """
        self._take(state)
        self._write_checkpoints()

    def _take(self, state: TrainState) -> None:
        """Hold a state to be saved; of earlier ones that are not, the best epoch's."""
        notes = {
            "history": list(self._history),
            "epoch_seconds": self.epoch_seconds,
            "wall_seconds": self._wall_seconds,
        }
        best = self._best_step(self._history)
        self._unsaved = {step: held for step, held in self._unsaved.items() if step in best}
        if self.step > self._saved_step:
            self._unsaved[self.step] = Snapshot(state, notes)

    def _write_checkpoints(self) -> None:
        began = time.monotonic()
        for step, (state, notes) in self._unsaved.items():
            # The best, and what the checkpoint before calls so, which counts if this is damaged.
            best = self._best_step(notes["history"])
            self._checkpoints.save(step, state, notes, best | self._saved_best)
            self._saved_step, self._saved_best = step, best
        self._unsaved = {}
        now = time.monotonic()
        self._save_again = now + (now - began) / _SAVE_SHARE

    def _best_step(self, history: list[Row]) -> set[int]:
        return {self._step_after(best_epoch(history))} if history else set()

    @property
    def _wall_seconds(self) -> float:
        return self._wall_seconds_before + time.monotonic() - self._began

    def wait(self) -> None:
        """Wait until what was saved is on disk.

        Raises:
          RunError: it could not be written.
        """
        self._checkpoints.wait()

    def finish(self, state: TrainState) -> dict[str, Any]:
        """Choose by validation, look at the test images, and write the result.

        Args:
          state: after the last step.

        Returns:
          the content of `result.json`.

        Raises:
          RunError: something can't be written, or the chosen checkpoint can't be read.
        """
        self.wait()
        setup, task, history = self.setup, self.task, self._history
        epoch = best_epoch(history)
        chosen_state = state
        if epoch != len(history):
            chosen_state = self._checkpoints.load(self._step_after(epoch), state).state
        logits, chosen = self._test(chosen_state.variables, self.hp)
        _, mismatched = self._test(chosen_state.variables, self._mismatched_hp())
        last = chosen if epoch == len(history) else self._test(state.variables, self.hp)[1]
        result = {
            **tested_figures(setup.dataset.entry, history, epoch, chosen, mismatched, last),
            **run_figures(task.config, setup.dataset, history, setup.summary),
            "wall_seconds": self._wall_seconds,
            "device": environment.describe_devices(setup.program.mesh.devices.tolist()),
            "at_once": setup.together.at_once,
            "compute_dtype": str(setup.program.model.dtype),
            "git_commit": self._git_commit,
        }
        with self._folder.writing():
            describe(self._folder, task.config, setup.dataset.entry, history, setup.summary)
            with replacing(self._folder.mistakes) as file:
                np.savez_compressed(file, **confident_mistakes(logits, setup.dataset.test))
            self._folder.write_result(result)  # last, because it says that the run is finished
        return result

    def _test(self, variables: Variables, hp: Hyperparameters) -> tuple[np.ndarray, dict[str, Any]]:
        test = self.setup.test
        logits = self.setup.program.predict(variables, hp, test.images)
        return np.asarray(logits), jax.device_get(evaluate(logits, test.labels))

    def _mismatched_hp(self) -> Hyperparameters:
        """Those that normalise images if the run trained without, and the other way round."""
        config = dataclasses.replace(self.task.config, normalize=not self.task.config.normalize)
        return self.setup.hyperparameters(config)
