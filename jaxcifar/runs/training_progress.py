"""The progress of training on the screen: a status line with a bar, and the time left."""

import enum
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.machine.memory import LESS_MEMORY_ADVICE, report_memory_shortage
from jaxcifar.machine.status import Status, show_status
from jaxcifar.machine.terminal import ALWAYS_SHOWN, RankedText, duration, line_printer
from jaxcifar.runs.epoch_lines import EpochLines
from jaxcifar.runs.observers import NamedObserver, Observers
from jaxcifar.runs.pace import (
    COMPILING,
    STARTING,
    TEST_PASSES,
    TESTING,
    TRAINING,
    VALIDATING,
    Pace,
    PlannedRuns,
)
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Task

_LONG_TRAINING_SECONDS = 1800.0  # a warning is printed if training on a CPU will take longer
_SUGGESTED_EPOCHS = (1, 2, 5, 10, 20, 50)


class _Rank(enum.IntEnum):
    """Ranks of the texts in the status line; see `texts_that_fit`."""

    RUNS = ALWAYS_SHOWN
    PHASE = ALWAYS_SHOWN
    FRACTION = ALWAYS_SHOWN
    TIME_LEFT = ALWAYS_SHOWN
    EPOCH = 1
    FINISHED_RUNS = 2
    SPEED = 3
    LOSS = 4
    COMPILATION_NOTE = 5


class TrainProgress:
    """The progress of all runs of a command.

    A terminal shows a bar, a notebook a line that is replaced. See `status.show_status`.

    Attributes:
      print_line: prints a line.
      pace: time spent and time left.
    """

    def __init__(self, console: Console) -> None:
        self.print_line = line_printer(console)
        self.pace = Pace()
        self._console = console
        self._finished_runs, self._total_runs = 0, 0
        self._runs_text = self._epoch_text = self._loss_text = self._speed_text = ""
        self._work_text = ""  # network and batch size, for the message that memory is short
        self._warns_about_time = False
        self._planned_epochs, self._planned_runs = 0, 0
        self._at_once = 1  # number of runs that are trained together
        self._exit_stack = ExitStack()

    def __enter__(self) -> Self:
        status = show_status(self._console, self.print_line, self._status)
        self.print_line = self._exit_stack.enter_context(status)
        return self

    def __exit__(
        self, error_type: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit_stack.__exit__(error_type, error, traceback)

    def expect(
        self, setup: Setup, current_runs: PlannedRuns, later_runs: Sequence[PlannedRuns] = ()
    ) -> None:
        """Set how much work is left, from which the fraction done and the time left are computed.

        Args:
          setup: program and images of the runs that begin now.
          current_runs: number of runs that begin now, and of their epochs.
          later_runs: runs with other programs that follow. The estimate assumes that these have as
            many images as the runs that begin now, and take as long for an image.
        """
        program, dataset = setup.program, setup.dataset
        network_name = type(program.model).__name__
        self._work_text = f" {network_name} with --batch-size {program.batch_size}"
        is_first_program = self._planned_runs == 0
        is_on_cpu = program.mesh.devices.flat[0].platform == "cpu"
        self._warns_about_time = is_first_program and is_on_cpu
        groups_of_runs = [current_runs, *later_runs]
        self._planned_runs = sum(group.runs for group in groups_of_runs)
        self._planned_epochs = current_runs.epochs
        self._at_once = min(current_runs.at_once, current_runs.runs)
        epochs_in_a_row = sum(group.epochs_in_a_row for group in groups_of_runs)
        epochs_of_all_runs = sum(group.runs * group.epochs for group in groups_of_runs)
        self.pace.expect(
            train_images=program.images_per_epoch * epochs_in_a_row,
            val_images=len(dataset.val.labels) * epochs_of_all_runs,
            test_images=len(dataset.test.labels) * self._planned_runs,
        )

    def show_runs(self, finished_runs: int, total_runs: int) -> None:
        """Show how many of all runs have ended."""
        self._finished_runs, self._total_runs = finished_runs, total_runs

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Show a phase, such as "training", while the `with` block runs, and count its seconds.

        Raises:
          OutOfMemoryError: memory is short; the message names the phase.
        """
        # While starting, `_work_text` still describes the previous runs.
        activity = phase if phase == STARTING else phase + self._work_text
        with report_memory_shortage(activity, LESS_MEMORY_ADVICE), self.pace.during(phase):
            yield

    @contextmanager
    def evaluating(self, phase: str, images: int) -> Iterator[None]:
        """Show a phase, "validating" or "testing", while the `with` block evaluates images.

        `images` is the number of images.
        """
        with self.during(phase):
            yield
        self.pace.count_evaluated(images)

    def skip_finished_epochs(self, run: Run) -> None:
        """Count as done the epochs of a resumed run that an earlier command has trained."""
        program, val_images = run.setup.program, len(run.setup.val.labels)
        epochs = run.step // program.steps_per_epoch
        trained_images = run.step * program.batch_size
        self.pace.skip(trained_images / self._at_once, epochs * val_images)

    def skip_epochs_left(self, run: Run, setup: Setup) -> None:
        """Count as done the remaining epochs of a run that ended early or failed."""
        program, epochs = setup.program, run.task.config.epochs
        steps_left = epochs * program.steps_per_epoch - run.step
        epochs_left = epochs - run.step // program.steps_per_epoch
        images_left = steps_left * program.batch_size
        self.pace.skip(images_left / self._at_once, epochs_left * len(setup.dataset.val.labels))

    def skip_failed_run(self, run: Run, setup: Setup) -> None:
        """Count as done the remaining epochs and the test of a run that failed."""
        self.skip_epochs_left(run, setup)
        self.pace.skip(0, TEST_PASSES * len(setup.dataset.test.labels))

    @contextmanager
    def testing(self, run: Run, setup: Setup) -> Iterator[None]:
        """Show "testing" during the `with` block, in which the caller tests a trained run.

        If early stopping (`--patience`) has ended the training, a line says so.
        """
        config, trained_epochs = run.task.config, run.epoch - 1
        if trained_epochs < config.epochs:
            reason = f"no epoch was better in the last {config.patience} (--patience)"
            print_line = run.task.named_line_printer(self.print_line)
            print_line(f"ended early after epoch {trained_epochs}: {reason}.")
        self.skip_epochs_left(run, setup)
        with self.evaluating(TESTING, TEST_PASSES * len(setup.dataset.test.labels)):
            yield

    def show(self, runs: Sequence[Run], image_count: int, losses: np.ndarray) -> None:
        """Show the progress of training: epoch and loss of the first run, and the total speed.

        Args:
          runs: the runs that are trained together.
          image_count: number of images that each run was trained on since the last call.
          losses: the training loss of each run.
        """
        self.pace.count_trained(image_count)
        first_run, other_run_count = runs[0], len(runs) - 1
        epoch = first_run.epoch - 1 if first_run.is_epoch_over else first_run.epoch
        other_runs = f" and {other_run_count} more" if other_run_count else ""
        images_per_second = sum(run.images_per_second for run in runs)
        self._runs_text = first_run.task.name + other_runs
        self._epoch_text = f"epoch {epoch}/{first_run.task.config.epochs}"
        self._loss_text = f"loss {losses[0]:.3f}"
        self._speed_text = f"{images_per_second:,.0f} images/s"
        seconds_left = self.pace.seconds_left()
        if self._warns_about_time and seconds_left is not None:
            self._warns_about_time = False
            if seconds_left >= _LONG_TRAINING_SECONDS:
                self._warn_about_time(seconds_left, self._planned_epochs, self._planned_runs)

    def _warn_about_time(self, seconds_left: float, epochs: int, runs: int) -> None:
        """Print how long training will take on this CPU, and suggest a smaller number of epochs."""
        subject = "this run" if runs == 1 else f"these {runs} runs"
        line = f"on this CPU {subject} will take about {duration(seconds_left)}, by the first steps"
        epochs_done = self.pace.fraction_done * epochs
        is_resumed = epochs_done >= 1  # its number of epochs can't change
        seconds_per_epoch = seconds_left / epochs
        fewer_epochs = [count for count in _SUGGESTED_EPOCHS if count < epochs]
        under_an_hour = [count for count in fewer_epochs if count * seconds_per_epoch < 3600]
        suggested_epochs = max(under_an_hour, default=1)
        if not is_resumed and suggested_epochs < epochs:
            time_of_suggested = duration(suggested_epochs * seconds_per_epoch)
            line += f" (with --epochs {suggested_epochs} about {time_of_suggested})"
        self.print_line(line)

    def print_times(self) -> None:
        """Print a line with the time that each phase, such as training, has taken."""
        seconds_by_phase = self.pace.seconds_by_phase()
        times = [f"{phase} {duration(seconds)}" for phase, seconds in seconds_by_phase.items()]
        if times:
            self.print_line(f"time spent      {', '.join(times)}")

    def _status(self) -> Status:
        """Return the content of the status line: the fraction done, and texts around the bar.

        Each text has a rank. On a narrow screen, texts with the highest rank are left out first.
        """
        pace = self.pace
        before_bar: list[RankedText] = []
        after_bar: list[RankedText] = []
        if self._total_runs:
            runs_text = f"{self._finished_runs}/{self._total_runs} runs"
            before_bar.append((_Rank.FINISHED_RUNS, runs_text))
        if pace.phase in (TRAINING, VALIDATING, TESTING):
            before_bar += [(_Rank.RUNS, self._runs_text), (_Rank.EPOCH, self._epoch_text)]
        if pace.fraction_done > 0:
            after_bar.append((_Rank.FRACTION, f"{pace.fraction_done:.0%}"))
        if pace.phase == TRAINING:
            before_bar.append((_Rank.PHASE, "" if pace.trained_images else TRAINING))
            after_bar += [(_Rank.LOSS, self._loss_text), (_Rank.SPEED, self._speed_text)]
        else:
            seconds_in_phase = time.monotonic() - pace.phase_began
            before_bar.append((_Rank.PHASE, f"{pace.phase} {duration(seconds_in_phase)}"))
        if pace.phase == COMPILING:
            before_bar.append((_Rank.COMPILATION_NOTE, "once, then kept for later runs"))
        seconds_left = pace.seconds_left()
        if seconds_left is not None:
            after_bar.append((_Rank.TIME_LEFT, f"{duration(seconds_left)} left"))
        return Status(before_bar, after_bar, pace.fraction_done)

    def observers_of(self, task: Task) -> Observers:
        """Return a run's observers: one that prints a line per epoch, and the task's observers."""
        epoch_lines = EpochLines(self.print_line, self._console, task.user_metrics)
        named_epoch_lines = NamedObserver("the line of an epoch", epoch_lines)
        print_line = task.named_line_printer(self.print_line)
        return Observers([named_epoch_lines, *task.observers], print_line)
