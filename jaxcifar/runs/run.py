"""One run: its folder, its checkpoints, how far it is, and what it writes down."""

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
from jaxcifar.runs.observing_again import observe_again
from jaxcifar.runs.result import best_epoch, describe_network, write_curves
from jaxcifar.runs.saved import Result, Row
from jaxcifar.runs.saving import Saving
from jaxcifar.runs.start import taken_over
from jaxcifar.runs.task import Task
from jaxcifar.training.metrics import decimal
from jaxcifar.training.state import TrainState


class Run:
    """A task under way: opened, started, trained by epochs, finished.

    The state that is being trained is its trainer's; what is written of it is written here.

    Attributes:
      task: what is run.
      result: content of `result.json` if the run was finished before it was opened.
      setup: what it is run with, once it is started.
      hp: its hyper-parameters, on the devices.
      state: where it starts from: the newest checkpoint, or the seed. For its trainer to take.
      step: how many steps it has trained.
      epoch_seconds: spent training in the current epoch, earlier calls included.
      observers: who watches it; its trainer calls them at each epoch and at the end.
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
        """Take hold of the task's folder, if this process does not hold it yet.

        Raises:
          UsageError: the folder belongs to something else.
          BusyError: another process is at work in it.
          RunError: it can't be written or read.
        """
        if self._held_folder is not None:
            return
        self._held_folder = self._exit.enter_context(folder_of(self.task))
        self._began, self._seconds_before = time.monotonic(), 0.0  # of this call, of earlier ones
        self._commit = environment.git_commit()  # the files may move on during a long run
        self.result = self._folder.finished_result()
        if self.result:
            with self._folder.writing():
                self._folder.tidy(self.task.keep_best)
            observe_again(self.task, self._folder, self._say)

    @property
    def _folder(self) -> RunFolder:
        assert self._held_folder is not None  # `open` comes first
        return self._held_folder

    def close(self, error: BaseException | None = None) -> None:
        """Let go of the folder; `error` is what ended the run, if something did."""
        self.observers.failed(error)
        self._exit.__exit__(type(error) if error else None, error, None)

    def start(self, setup: Setup) -> None:
        """Make ready to train, from the newest good checkpoint.

        Raises:
          UsageError: the folder belongs to a run on other images, or the network can't start.
          RunError: something can't be written or read.
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
        if not begun:  # what can't start leaves no config that a mended one would differ from
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
        """Validate, if there are images for it, write the epoch down and save it.

        Args:
          state: after the epoch's last step.
          trained: mean training loss and accuracy of the epoch.

        Returns:
          a row of `metrics.jsonl`.

        Raises:
          DivergedError: the loss is not finite.
          RunError: something can't be written.
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
        """Write a checkpoint, in the background; `state` is not to be donated.

        Raises:
          RunError: it can't be written.
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
        """Wait until what was saved is on disk.

        Raises:
          RunError: it could not be written.
        """
        self._checkpoints.wait()

    def finish(self, state: TrainState) -> Result:
        """Choose by validation, look at the test images, and write `result.json`.

        Args:
          state: after the last step.

        Raises:
          RunError: something can't be written, or the chosen checkpoint can't be read.
        """
        self.wait()
        history, chosen, epoch = self._history, state, best_epoch(self._history)
        if epoch != len(history):
            chosen = self._checkpoints.load(self._step_after(epoch), state).state
        config, setup = self.task.config, self.setup
        figures, mistakes = tested(config, setup, self.hp, history, state, chosen)
        if self.step > self._first_step:  # else it was another call's
            figures["compile_seconds"] = setup.seconds_to_compile
        result: Result = {**figures, "wall_seconds": self._wall_seconds, "git_commit": self._commit}
        with self._folder.writing():
            write_curves(self._folder, f"{setup.title(config)}, seed {config.seed}", history)
            self._folder.finish(result, mistakes, chosen.variables)
            self._folder.tidy(self.task.keep_best)
        return result
