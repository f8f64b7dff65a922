import math
import time
from contextlib import ExitStack

from jaxcifar.build.check import require_finite_start
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.errors import DivergedError
from jaxcifar.machine import environment
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.checkpoint_metadata import Notes
from jaxcifar.runs.checkpoint_schedule import CheckpointSchedule
from jaxcifar.runs.continuation import ContinuedState, load_continued_state
from jaxcifar.runs.epoch_selection import best_epoch, ends_early
from jaxcifar.runs.file_formats import Result, Row
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.initial_weights import initial_state
from jaxcifar.runs.joint_run import has_begun_in_first_process, require_same_folder
from jaxcifar.runs.observers import Observers
from jaxcifar.runs.replay import report_ended_run
from jaxcifar.runs.result import measure_run, validation_metrics
from jaxcifar.runs.result_pictures import write_curves, write_network
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_images import write_training_images
from jaxcifar.training.metrics import shortest_decimal
from jaxcifar.training.state import TrainState


class Run:
    """The files, checkpoints and history of a run in training.

    The training loop calls `open`, `start`, `end_epoch` for each epoch, `finish` and `close`. These
    methods raise RunError if a file can't be read or written, and BusyError if another process has
    locked the folder. UsageError means that the folder belongs to another run or user code fails.

    Attributes:
      result: content of `result.json` if the run was finished before it was opened.
      setup: the compiled program and the images, set by `start`.
      hyper: the run's hyper-parameters, on the devices, set by `start`.
      state: the training state from which training starts; the caller deletes this attribute.
      step: number of steps trained so far.
      epoch_seconds: seconds of training in the current epoch, including earlier commands.
      runs_together: number of runs that were trained together in the last steps, with this run.
      observers: the run's observers; the caller calls their `epoch` and `finished`.
    """

    def __init__(self, task: Task, print_line: PrintLine, observers: Observers) -> None:
        self.task, self.observers = task, observers
        self.result: Result | None = None
        self.step, self.epoch_seconds, self.runs_together = 0, 0.0, 1
        self._print_line = task.named_line_printer(print_line)
        self._history: list[Row] = []
        path = task.scratch_path or task.path
        self._folder = RunFolder(path, task.overwrite, task.resuming_command)
        self._is_open, self._exit_stack = False, ExitStack()

    def open(self) -> None:
        """Lock the run's folder; if the run is finished, report its result to the observers."""
        if self._is_open:
            return
        self._exit_stack.enter_context(self._folder.locked(self.task.config))
        self._is_open = True
        self._opened_at = time.monotonic()
        self._seconds_of_earlier_commands = 0.0
        self._git_commit = environment.git_commit()  # the checkout may change during a long run
        self.result = self._folder.finished_result()
        if self.result:
            with self._folder.report_write_errors():
                self._folder.delete_unneeded_checkpoints(self.task.keep_best)
            report_ended_run(self.task, self._folder, self._print_line)

    def close(self, error: BaseException | None = None) -> None:
        """Unlock the run's folder; `error` is the exception that ended the run, or None."""
        self.observers.failed(error)
        self._exit_stack.__exit__(type(error) if error else None, error, None)

    def start(self, setup: Setup) -> None:
        """Prepare training: start to compile, check user code, load the newest checkpoint."""
        self.setup = setup
        config, print_line = setup.config_of(self.task.config), self._print_line
        is_resumed = has_begun_in_first_process(self._folder, config)
        hyper = setup.hyperparameters(config)
        self._learning_rates, self.hyper = hyper.learning_rate, setup.place(hyper)
        setup.compile_ahead(self.hyper, print_line)
        self.state: TrainState = initial_state(setup, self.hyper, config, print_line)
        earlier_run = None
        if config.continue_from and not is_resumed:
            earlier_run = load_continued_state(config, setup, self.state)
            self.state = earlier_run.last_checkpoint.state
        if not is_resumed:  # a failed start must leave no config.json: the next command may differ
            require_finite_start(setup, config, self.state, self.hyper, print_line)
        with self._folder.report_write_errors():
            if self._folder.begin(config):
                print_line(self.task.deletion_note)
            write_network(self._folder, setup.title(config), setup.summary, print_line)
            write_training_images(self._folder, setup, hyper, print_line)
        require_same_folder(self.task)
        steps_per_epoch = setup.program.steps_per_epoch
        path, task = self._folder.checkpoints, self.task
        checkpoints = Checkpoints(
            path, config, steps_per_epoch, task.keep_every, task.resuming_command
        )
        self._checkpoints = self._exit_stack.enter_context(checkpoints)
        self._schedule = CheckpointSchedule(self._checkpoints, steps_per_epoch)
        self._load_checkpoint(config, earlier_run)
        self._first_step_of_command = self.step
        with self._folder.report_write_errors():
            self._folder.write_history(self._history)
        self.observers.began(self.task.describe(config, setup.dataset.title, self._history))

    def _load_checkpoint(self, config: Config, earlier_run: ContinuedState | None) -> None:
        """Load this run's newest checkpoint, or else the last checkpoint of the run to continue."""
        checkpoint = self._checkpoints.load_newest(self.state, self._print_line)
        first_own_step = self._last_step(config.earlier_epochs)
        has_no_own_checkpoint = checkpoint is None or checkpoint.state.step < first_own_step
        if config.continue_from and has_no_own_checkpoint:
            earlier_run = earlier_run or load_continued_state(config, self.setup, self.state)
            earlier_run.replace_checkpoints(self._checkpoints)
            checkpoint = earlier_run.last_checkpoint
        if checkpoint is None:
            return
        self.state, notes = checkpoint
        self.step = int(self.state.step)
        self._history, self.epoch_seconds = notes.history, notes.epoch_seconds
        self._seconds_of_earlier_commands = notes.wall_seconds
        self._schedule.resume(self.step, self._history)
        epoch_of_step = math.ceil(self.step / self.setup.program.steps_per_epoch)
        action = f"continuing {config.continue_from}" if has_no_own_checkpoint else "resuming"
        self._print_line(f"{action} after step {self.step} (epoch {epoch_of_step}).")

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next step belongs to; the first epoch is 1."""
        return self.step // self.setup.program.steps_per_epoch + 1

    @property
    def steps_left(self) -> int:
        """Number of steps to the end of the current epoch."""
        return self._last_step(self.epoch) - self.step

    @property
    def is_epoch_over(self) -> bool:
        """True if the last step ended an epoch that is not in `metrics.jsonl` yet."""
        return self.step == self._last_step(len(self._history) + 1)

    @property
    def is_trained(self) -> bool:
        """True if all epochs have been trained, or if training ends early (`--patience`)."""
        config = self.task.config
        has_ended_early = ends_early(self._history, config.patience, config.earlier_epochs)
        return has_ended_early or self.epoch > config.epochs

    @property
    def images_per_second(self) -> float:
        """Training images per second in the current epoch."""
        steps_in_epoch = self.step - self._last_step(len(self._history))
        return steps_in_epoch * self.setup.program.batch_size / self.epoch_seconds

    def _last_step(self, epoch: int) -> int:
        return epoch * self.setup.program.steps_per_epoch

    def fail_if_not_finite(self, loss_name: str, loss: float) -> None:
        """If a loss is not finite, write the last good checkpoint and `failure.txt`, then raise.

        Raises:
          DivergedError: the loss, called `loss_name` ("training" or "validation"), is not finite.
          RunError: a file can't be written.
        """
        if math.isfinite(loss):
            return
        self._schedule.write()
        self.wait()
        error = DivergedError.of_loss(loss_name, loss, len(self._history))
        with self._folder.report_write_errors():
            self._folder.write_failure(error)
        raise error

    def end_epoch(self, state: TrainState, training_means: dict[str, float]) -> Row:
        """Validate the network, append the epoch's row to `metrics.jsonl`, and return the row.

        Checkpoints are written if the schedule says so, and always after the last epoch.
        `training_means` has the mean training `loss` of the epoch.

        Raises:
          DivergedError: the training or validation loss is not finite.
          UsageError: a user's metric fails.
          RunError: a file can't be written.
        """
        self.fail_if_not_finite("training", training_means["loss"])
        epoch = len(self._history) + 1
        row: Row = {
            "epoch": epoch,
            "learning_rate": shortest_decimal(self._learning_rates[self._last_step(epoch - 1)]),
            "train_loss": shortest_decimal(training_means["loss"]),
            "train_accuracy": state.sums.accuracy(),
            **validation_metrics(self.setup, state.variables, self.hyper),
            "seconds": self.epoch_seconds,
            "images_per_second": self.images_per_second,
            "runs_together": self.runs_together,
        }
        self.fail_if_not_finite("validation", row.get("val_loss", 0.0))
        self._history.append(row)
        self.epoch_seconds = 0.0
        with self._folder.report_write_errors():
            self._folder.append_row(row)
            self._hold_state(state)
            if self.is_trained or self._schedule.is_due():
                self._schedule.write()
        return row

    def save(self, state: TrainState) -> None:
        """Start to write `state` as a checkpoint; JAX must not reuse the memory of its arrays."""
        self._hold_state(state)
        self._schedule.write()

    def _hold_state(self, state: TrainState) -> None:
        notes = Notes(list(self._history), self.epoch_seconds, self._wall_seconds)
        self._schedule.hold(self.step, state, notes)

    @property
    def _wall_seconds(self) -> float:
        return self._seconds_of_earlier_commands + time.monotonic() - self._opened_at

    def wait(self) -> None:
        """Wait until all saved checkpoints are on disk."""
        self._checkpoints.wait()

    def finish(self, last_state: TrainState) -> Result:
        """Test the best epoch's weights after all training; write the result and return it."""
        self.wait()
        config, setup, history = self.task.config, self.setup, self._history
        best_state, selected_epoch = last_state, best_epoch(history)
        if selected_epoch != len(history):
            best_state = self._checkpoints.load(self._last_step(selected_epoch), last_state).state
        result_fields, mistakes = measure_run(
            config, setup, self.hyper, history, last_state=last_state, best_state=best_state
        )
        if self.step > self._first_step_of_command:  # else an earlier command compiled and trained
            result_fields["compile_seconds"] = setup.seconds_to_compile
        result: Result = {
            **result_fields,
            "wall_seconds": self._wall_seconds,
            "git_commit": self._git_commit,
        }
        with self._folder.report_write_errors():
            write_curves(self._folder, f"{setup.title(config)}, seed {config.seed}", history)
            self._folder.finish(result, mistakes, best_state.variables)
            self._folder.delete_unneeded_checkpoints(self.task.keep_best)
        return result
