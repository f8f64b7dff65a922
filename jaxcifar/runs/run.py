"""One run: its folder, its checkpoints, its progress and its files."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack

from jaxcifar.build.check import require_finite_start
from jaxcifar.build.setup import Setup
from jaxcifar.errors import DivergedError
from jaxcifar.machine import environment
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.checkpoint_notes import Notes
from jaxcifar.runs.finish import tested, validated
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.joint_run import begun_before, folder_of, require_same_folder
from jaxcifar.runs.observers import Observers
from jaxcifar.runs.observing_again import replay_run
from jaxcifar.runs.result import best_epoch, describe_network, write_curves
from jaxcifar.runs.saved import Result, Row
from jaxcifar.runs.saving import Saving
from jaxcifar.runs.start import taken_over
from jaxcifar.runs.task import Task
from jaxcifar.training.metrics import decimal
from jaxcifar.training.state import TrainState


class Run:
    """A task in progress: opened, started, trained epoch by epoch, finished.

    The caller (`crew`) owns the training state. This class writes the files.

    Attributes:
      task: the config, the folder and the options of the run.
      result: content of `result.json` if the run was finished before it was opened.
      setup: the program and the images, once the run is started.
      hp: the run's hyper-parameters, on the devices.
      state: the first training state: the newest checkpoint, or new weights. The caller takes it.
      step: number of steps trained so far.
      epoch_seconds: seconds of training in the current epoch, including earlier commands.
      observers: the run's observers; the caller calls `epoch` and `finished`.
    """

    def __init__(self, task: Task, say: Callable[[str], None], observers: Observers) -> None:
        self.task, self.observers = task, observers
        self.result: Result | None = None
        self.step, self.epoch_seconds = 0, 0.0
        self._say = task.prefixed(say)
        self._history: list[Row] = []
        self._held_folder: RunFolder | None = None
        self._exit = ExitStack()

    def open(self) -> None:
        """Lock the task's folder, if this process has not locked it yet.

        Raises:
          UsageError: the folder belongs to another run, or is not the folder of a run.
          BusyError: another process has locked the folder.
          RunError: the folder can't be written or read.
        """
        if self._held_folder is not None:
            return
        self._held_folder = self._exit.enter_context(folder_of(self.task))
        self._began = time.monotonic()
        self._seconds_before = 0.0  # wall-clock seconds of earlier commands
        self._commit = environment.git_commit()  # the checkout may change during a long run
        self.result = self._folder.finished_result()
        if self.result:
            with self._folder.writing():
                self._folder.tidy(self.task.keep_best)
            replay_run(self.task, self._folder, self._say)

    @property
    def _folder(self) -> RunFolder:
        assert self._held_folder is not None  # `open` comes first
        return self._held_folder

    def close(self, error: BaseException | None = None) -> None:
        """Unlock the folder; `error` is the exception that ended the run, if any."""
        self.observers.failed(error)
        self._exit.__exit__(type(error) if error else None, error, None)

    def start(self, setup: Setup) -> None:
        """Prepare to train from the newest checkpoint that can be read, or from new weights.

        Raises:
          UsageError: the folder's run has other images, or the network or a setting can't be used.
          RunError: a file can't be written or read.
        """
        self.setup = setup
        config, program = setup.config_of(self.task.config), setup.program
        begun = begun_before(self._folder, config)
        hp = setup.hyperparameters(config)
        self._rates, self.hp = hp.learning_rate, setup.place(hp)
        setup.compile_ahead(self.hp, self._say)
        self.state: TrainState = program.init(self.hp, setup.dataset.train.images)
        if config.init:
            self.state = taken_over(self.state, setup, self.hp, config, self._say)
        if not begun:  # a failed start must leave no config.json: the next command may differ
            require_finite_start(setup, config, self.state, self.hp)
        with self._folder.writing():
            self._folder.begin(config)
            describe_network(self._folder, setup.title(config), setup.summary, self._say)
        require_same_folder(self.task)
        checkpoints = Checkpoints(self._folder.checkpoints, config, program.steps_per_epoch)
        self._checkpoints = self._exit.enter_context(checkpoints)
        self._saving = Saving(checkpoints, program.steps_per_epoch)
        if restored := self._checkpoints.newest(self.state, self._say):
            self.state, notes = restored
            self.step = int(self.state.step)
            self._history, self.epoch_seconds = notes.history, notes.epoch_seconds
            self._saving.resumed(self.step, self._history)
            self._seconds_before = notes.wall_seconds
            epoch_of_step = math.ceil(self.step / program.steps_per_epoch)
            self._say(f"resuming after step {self.step} (epoch {epoch_of_step}).")
        self._first_step = self.step
        with self._folder.writing():
            self._folder.write_history(self._history)
        self.observers.began(self.task.observed(config, setup.dataset.title, self._history))

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next step belongs to; the first epoch is 1."""
        return self.step // self.setup.program.steps_per_epoch + 1

    @property
    def steps_left(self) -> int:
        """Number of steps to the end of the current epoch."""
        return self._step_after(self.epoch) - self.step

    @property
    def epoch_over(self) -> bool:
        """True if the last step ended an epoch that is not in `metrics.jsonl` yet."""
        return self.step == self._step_after(len(self._history) + 1)

    @property
    def trained(self) -> bool:
        """True if all epochs have been trained."""
        return self.epoch > self.task.config.epochs

    @property
    def images_per_second(self) -> float:
        """Training images per second in the current epoch."""
        steps = self.step - len(self._history) * self.setup.program.steps_per_epoch
        return steps * self.setup.program.batch_size / self.epoch_seconds

    def _step_after(self, epoch: int) -> int:
        return epoch * self.setup.program.steps_per_epoch

    def require_finite(self, name: str, loss: float) -> None:
        """Raise if the loss is not finite; the last good checkpoint is written first.

        Raises:
          DivergedError: the loss is not finite.
          RunError: a file can't be written.
        """
        if math.isfinite(loss):
            return
        self._saving.write()
        self.wait()
        kept = f"that of epoch {len(self._history)}" if self._history else "none yet"
        error = DivergedError(
            f"the {name} loss became {loss} in epoch {len(self._history) + 1}; the last good "
            f"checkpoint is kept ({kept}): try a lower --learning-rate in another run folder"
        )
        with self._folder.writing():
            self._folder.write_failure(error)
        raise error

    def end_epoch(self, state: TrainState, trained: dict[str, float]) -> Row:
        """Validate, append a row to `metrics.jsonl`, save a checkpoint if due, return the row.

        Args:
          state: the training state after the epoch's last step.
          trained: mean training loss and accuracy of the epoch.

        Raises:
          DivergedError: the training or validation loss is not finite.
          UsageError: a user's metric fails.
          RunError: a file can't be written.
        """
        self.require_finite("training", trained["loss"])
        epoch = len(self._history) + 1
        row: Row = {
            "epoch": epoch,
            "learning_rate": decimal(self._rates[self._step_after(epoch - 1)]),
            "train_loss": decimal(trained["loss"]),
            "train_accuracy": state.metrics.share_right(),
            **validated(self.setup, state.variables, self.hp),
            "seconds": self.epoch_seconds,
            "images_per_second": self.images_per_second,
        }
        self.require_finite("validation", row.get("val_loss", 0.0))
        self._history.append(row)
        self.epoch_seconds = 0.0
        with self._folder.writing():
            self._folder.append_row(row)
            self._take(state)
            if self.trained or self._saving.due():
                self._saving.write()
        return row

    def save(self, state: TrainState) -> None:
        """Start to write a checkpoint in the background; the caller must not donate `state`.

        Raises:
          RunError: the checkpoint can't be written.
        """
        self._take(state)
        self._saving.write()

    def _take(self, state: TrainState) -> None:
        notes = Notes(list(self._history), self.epoch_seconds, self._wall_seconds)
        self._saving.take(self.step, state, notes)

    @property
    def _wall_seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def wait(self) -> None:
        """Wait until all saved checkpoints are on disk.

        Raises:
          RunError: a checkpoint could not be written.
        """
        self._checkpoints.wait()

    def finish(self, state: TrainState) -> Result:
        """Choose the best epoch, measure the test images, write `result.json`, return its content.

        `state` is the training state after the last step.

        Raises:
          UsageError: a user's metric fails.
          RunError: a file can't be written, or the chosen checkpoint can't be read.
        """
        self.wait()
        history, chosen, epoch = self._history, state, best_epoch(self._history)
        if epoch != len(history):
            chosen = self._checkpoints.load(self._step_after(epoch), state).state
        config, setup = self.task.config, self.setup
        figures, mistakes = tested(config, setup, self.hp, history, state, chosen)
        if self.step > self._first_step:  # else an earlier command compiled and trained
            figures["compile_seconds"] = setup.seconds_to_compile
        result: Result = {**figures, "wall_seconds": self._wall_seconds, "git_commit": self._commit}
        with self._folder.writing():
            write_curves(self._folder, f"{setup.title(config)}, seed {config.seed}", history)
            self._folder.finish(result, mistakes, chosen.variables)
            self._folder.tidy(self.task.keep_best)
        return result
