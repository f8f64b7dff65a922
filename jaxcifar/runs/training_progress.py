"""The progress of training on the screen: a status line with a bar, and a line for each epoch."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.build.user_metrics import UserMetric
from jaxcifar.machine.memory import LESS_MEMORY_ADVICE, report_memory_shortage
from jaxcifar.machine.status import Status, show_status
from jaxcifar.machine.terminal import PrintLine, duration, line_printer, texts_that_fit
from jaxcifar.runs.file_formats import Row
from jaxcifar.runs.metric_fields import format_value
from jaxcifar.runs.observers import NamedObserver, ObservedRun, Observers
from jaxcifar.runs.pace import (
    COMPILING,
    STARTING,
    TEST_PASSES,
    TESTING,
    TRAINING,
    VALIDATING,
    Pace,
)
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Task
from jaxcifar.training import metrics as training_metrics
from jaxcifar.training.metrics import ACCURACY, LOSS, Metric

_LONG_SECONDS = 1800.0  # a warning is printed if training on a CPU will take longer
_MEASURED_SECONDS = 5.0  # seconds of training before the warning
_SUGGESTED_EPOCHS = (1, 2, 5, 10, 20, 50)


class TrainProgress:
    """The progress of all runs of a command.

    A terminal shows a bar, and a notebook a line that is replaced. A log gets a line if no other
    line was printed for a long time.

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
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        status = show_status(self._console, self.print_line, self._status)
        self.print_line = self._exit.enter_context(status)
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def expect(self, setup: Setup, epochs: int, runs: int = 1) -> None:
        """Set the work that begins now: `runs` runs with `epochs` epochs each."""
        program, dataset = setup.program, setup.dataset
        name = type(program.model).__name__
        self._work = f" {name} with --batch-size {program.batch_size}"
        self.pace.expect(
            runs * epochs * program.images_per_epoch,
            runs * epochs * len(dataset.val.labels),
            runs * len(dataset.test.labels),
        )
        self._planned_epochs, self._planned_runs = epochs, runs
        self._warns_about_time = program.mesh.devices.flat[0].platform == "cpu"

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
        """Show "validating" or "testing" while the `with` block evaluates this many images."""
        with self.during(phase):
            yield
        self.pace.count_evaluated(images)

    def skip_finished_epochs(self, run: Run) -> None:
        """From the work left, subtract the steps and epochs of a run that are already done."""
        program, val_images = run.setup.program, len(run.setup.val.labels)
        epochs = run.step // program.steps_per_epoch
        self.pace.skip(run.step * program.batch_size, epochs * val_images)

    def skip_failed_run(self, run: Run, setup: Setup) -> None:
        """From the work left, subtract the remaining steps and epochs of a run that failed."""
        program, dataset, epochs = setup.program, setup.dataset, run.task.config.epochs
        steps_left = epochs * program.steps_per_epoch - run.step
        epochs_left = epochs - run.step // program.steps_per_epoch
        to_validate = epochs_left * len(dataset.val.labels)
        to_test = TEST_PASSES * len(dataset.test.labels)
        self.pace.skip(steps_left * program.batch_size, to_validate + to_test)

    def show(self, runs: Sequence[Run], images: int, losses: np.ndarray) -> None:
        """Count `images` images as trained for each run, and show the loss of the first run."""
        self.pace.count_trained(len(runs) * images)
        first, others = runs[0], len(runs) - 1
        epoch = first.epoch - 1 if first.epoch_over else first.epoch
        self._name = first.task.name + (f" and {others} more" if others else "")
        self._epoch = f"epoch {epoch}/{first.task.config.epochs}"
        self._loss = f"loss {losses[0]:.3f}"
        self._rate = f"{sum(run.images_per_second for run in runs):,.0f} images/s"
        if self._warns_about_time and self.pace.training_seconds > _MEASURED_SECONDS:
            self._warn_about_time(self._planned_epochs, self._planned_runs)
            self._warns_about_time = False

    def _warn_about_time(self, epochs: int, runs: int) -> None:
        """Print a line if training on this CPU will take long, with an example of fewer epochs."""
        seconds_left = self.pace.seconds_left() or 0.0
        if seconds_left < _LONG_SECONDS:
            return
        subject = "this run" if runs == 1 else f"these {runs} runs"
        line = f"on this CPU {subject} will take about {duration(seconds_left)}, by the first steps"
        is_resumed = self.pace.done * epochs >= 1  # then the number of epochs can't be changed
        shorter = [n for n in _SUGGESTED_EPOCHS if n < epochs and seconds_left * n / epochs < 3600]
        suggested = max(shorter, default=1)
        if not is_resumed and suggested < epochs:
            time_of_suggested = duration(seconds_left * suggested / epochs)
            line += f" (with --epochs {suggested} about {time_of_suggested})"
        self.print_line(line)

    def print_times(self) -> None:
        """Print the time that each phase has taken."""
        spent = self.pace.seconds_by_phase()
        times = [f"{phase} {duration(seconds)}" for phase, seconds in spent.items()]
        self.print_line(f"time spent      {', '.join(times)}")

    def _status(self) -> Status:
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
        """Return the observers of a run: one that prints epoch lines, and the task's observers."""
        lines = EpochLines(self.print_line, self._console, task.user_metrics)
        named_lines = NamedObserver("the line of an epoch", lines)
        return Observers([named_lines, *task.observers], task.with_name(self.print_line))


class EpochLines:
    """An observer that prints a line for each epoch."""

    def __init__(
        self, print_line: PrintLine, console: Console, user_metrics: Sequence[UserMetric]
    ) -> None:
        self._print_line, self._console = print_line, console
        self._user_metrics = [user.metric for user in user_metrics]

    def began(self, run: ObservedRun) -> None:
        """Store the run: the lines contain its name and number of epochs."""
        self._run = run

    def epoch(self, row: Row) -> None:
        """Print the line of an epoch; a line that is too long loses its least important parts."""
        epochs, validated = self._run.config.epochs, ""
        if "val_loss" in row:
            validated = f"val {row['val_loss']:.3f} {row['val_accuracy']:6.2%}"
        trained = f"train loss {row['train_loss']:.3f} {row['train_accuracy']:6.2%}"
        measured = [metric for metric in training_metrics.METRICS if f"val_{metric.name}" in row]
        built_in = [metric for metric in measured if metric not in (LOSS, ACCURACY)]
        parts = [
            (0, self._run.name),
            (0, f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"),
            (2, trained),
            (0, validated),
            *((1, text) for text in _metric_texts(self._user_metrics, row)),
            (3, f"lr {row['learning_rate']:.2g}"),
            (4, f"{row['images_per_second']:,.0f} images/s"),
            *((5, text) for text in _metric_texts(built_in, row)),
        ]
        self._print_line("  ".join(texts_that_fit(parts, self._console.width)))


def _metric_texts(metrics: Iterable[Metric], row: Mapping[str, Any]) -> list[str]:
    """Return a text for each metric: title and validation value, or "-" if it is not finite.

    The list is empty if the run has no validation images.
    """
    if "val_loss" not in row:
        return []
    texts = []
    for metric in metrics:
        value = row.get(f"val_{metric.name}")
        text = "-" if value is None else format_value(value, metric.unit)
        texts.append(f"{metric.title} {text}")
    return texts
