"""The progress of training on the screen: a status line with a bar, and the time left."""

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
from jaxcifar.machine.terminal import duration, line_printer
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

_LONG_SECONDS = 1800.0  # a warning is printed if training on a CPU will take longer
_SUGGESTED_EPOCHS = (1, 2, 5, 10, 20, 50)


class TrainProgress:
    """The progress of all runs of a command.

    A terminal shows a bar, and a notebook shows a line that is replaced. A log gets a line if no
    other line was printed for `terminal.SILENCE_SECONDS`.

    Attributes:
      print_line: prints a line.
      pace: time spent and time left.
    """

    def __init__(self, console: Console) -> None:
        self.print_line = line_printer(console)
        self.pace = Pace()
        self._console = console
        self._runs_done, self._runs_total = 0, 0
        self._name = self._epoch = self._loss = self._rate = ""  # of the latest dispatch
        self._work = ""  # network and batch size, for the message that memory is short
        self._warns_about_time = False
        self._planned_epochs, self._planned_runs = 0, 0
        self._at_once = 1  # number of runs that are trained together
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        status = show_status(self._console, self.print_line, self._status)
        self.print_line = self._exit.enter_context(status)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def expect(self, setup: Setup, begun: PlannedRuns, later: Sequence[PlannedRuns] = ()) -> None:
        """Set how much work is left, from which the fraction done and the time left are computed.

        Args:
          setup: program and images of the runs that begin now.
          begun: number of these runs and of their epochs.
          later: runs with other programs that follow. The estimate assumes that these have as many
            images as the runs that begin now, and take as long for an image.
        """
        program, dataset = setup.program, setup.dataset
        name = type(program.model).__name__
        self._work = f" {name} with --batch-size {program.batch_size}"
        is_first_program = self._planned_runs == 0
        on_cpu = program.mesh.devices.flat[0].platform == "cpu"
        self._warns_about_time = is_first_program and on_cpu
        groups = [begun, *later]
        self._planned_runs = sum(group.runs for group in groups)
        self._planned_epochs, self._at_once = begun.epochs, min(begun.at_once, begun.runs)
        self.pace.expect(
            program.images_per_epoch * sum(group.epochs_in_a_row for group in groups),
            len(dataset.val.labels) * sum(group.runs * group.epochs for group in groups),
            len(dataset.test.labels) * self._planned_runs,
        )

    def show_runs(self, done: int, total: int) -> None:
        """Show that `done` of `total` runs have ended."""
        self._runs_done, self._runs_total = done, total

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Show a phase, such as "training", while the `with` block runs, and count its seconds.

        Raises:
          OutOfMemoryError: memory is short; the message names the phase.
        """
        # While starting, `_work` still describes the previous runs.
        activity = phase if phase == STARTING else phase + self._work
        with report_memory_shortage(activity, LESS_MEMORY_ADVICE), self.pace.during(phase):
            yield

    @contextmanager
    def evaluating(self, phase: str, images: int) -> Iterator[None]:
        """Show a phase, "validating" or "testing", while the `with` block evaluates images.

        `images` is the number of these images.
        """
        with self.during(phase):
            yield
        self.pace.count_evaluated(images)

    def skip_finished_epochs(self, run: Run) -> None:
        """Count as done the epochs of a resumed run that an earlier command trained."""
        program, val_images = run.setup.program, len(run.setup.val.labels)
        epochs = run.step // program.steps_per_epoch
        trained_images = run.step * program.batch_size
        self.pace.skip(trained_images / self._at_once, epochs * val_images)

    def skip_epochs_left(self, run: Run, setup: Setup) -> None:
        """Count as done the remaining epochs of a run that ended early or failed."""
        program, epochs = setup.program, run.task.config.epochs
        steps_left = epochs * program.steps_per_epoch - run.step
        epochs_left = epochs - run.step // program.steps_per_epoch
        to_train = steps_left * program.batch_size
        self.pace.skip(to_train / self._at_once, epochs_left * len(setup.dataset.val.labels))

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
            print_line = run.task.with_name(self.print_line)
            print_line(f"ended early after epoch {trained_epochs}: {reason}.")
        self.skip_epochs_left(run, setup)
        with self.evaluating(TESTING, TEST_PASSES * len(setup.dataset.test.labels)):
            yield

    def show(self, runs: Sequence[Run], images: int, losses: np.ndarray) -> None:
        """Show the progress of training: epoch and loss of the first run, and the total speed.

        Args:
          runs: the runs that are trained together.
          images: number of images that each run was trained on since the last call.
          losses: the training loss of each run.
        """
        self.pace.count_trained(images)
        first_run, other_run_count = runs[0], len(runs) - 1
        epoch = first_run.epoch - 1 if first_run.epoch_over else first_run.epoch
        more = f" and {other_run_count} more" if other_run_count else ""
        images_per_second = sum(run.images_per_second for run in runs)
        self._name = first_run.task.name + more
        self._epoch = f"epoch {epoch}/{first_run.task.config.epochs}"
        self._loss = f"loss {losses[0]:.3f}"
        self._rate = f"{images_per_second:,.0f} images/s"
        seconds_left = self.pace.seconds_left()
        if self._warns_about_time and seconds_left is not None:
            self._warns_about_time = False
            if seconds_left >= _LONG_SECONDS:
                self._warn_about_time(seconds_left, self._planned_epochs, self._planned_runs)

    def _warn_about_time(self, seconds_left: float, epochs: int, runs: int) -> None:
        """Print how long training will take on this CPU, and suggest a smaller number of epochs."""
        subject = "this run" if runs == 1 else f"these {runs} runs"
        line = f"on this CPU {subject} will take about {duration(seconds_left)}, by the first steps"
        is_resumed = self.pace.done * epochs >= 1  # then the number of epochs can't be changed
        under_one_hour = [
            fewer_epochs
            for fewer_epochs in _SUGGESTED_EPOCHS
            if fewer_epochs < epochs and seconds_left * fewer_epochs / epochs < 3600
        ]
        suggested = max(under_one_hour, default=1)
        if not is_resumed and suggested < epochs:
            time_of_suggested = duration(seconds_left * suggested / epochs)
            line += f" (with --epochs {suggested} about {time_of_suggested})"
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
        before: list[tuple[int, str]] = []
        after = [(0, f"{pace.done:.0%}" if pace.done else "")]
        if self._runs_total:
            before.append((2, f"{self._runs_done}/{self._runs_total} runs"))
        if pace.phase in (TRAINING, VALIDATING, TESTING):
            before += [(0, self._name), (1, self._epoch)]
        if pace.phase == TRAINING:
            before.append((0, "" if pace.trained else TRAINING))
            after += [(4, self._loss), (3, self._rate)]
        else:
            before.append((0, f"{pace.phase} {duration(time.monotonic() - pace.phase_began)}"))
        if pace.phase == COMPILING:
            before.append((5, "once, then kept for later runs"))
        seconds_left = pace.seconds_left()
        after.append((0, "" if seconds_left is None else f"{duration(seconds_left)} left"))
        return Status(before, after, pace.done)

    def observers_of(self, task: Task) -> Observers:
        """Return a run's observers: one that prints a line per epoch, and the task's observers."""
        epoch_lines = EpochLines(self.print_line, self._console, task.user_metrics)
        named_epoch_lines = NamedObserver("the line of an epoch", epoch_lines)
        return Observers([named_epoch_lines, *task.observers], task.with_name(self.print_line))
