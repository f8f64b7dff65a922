"""What a person sees of trainings: what is done now, how fast, how long still; a line an epoch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.build.user_metrics import UserMetric
from jaxcifar.machine.memory import LESS_MEMORY_ADVICE, report_memory_shortage
from jaxcifar.machine.status import Status, show_status
from jaxcifar.machine.terminal import duration, line_printer, texts_that_fit
from jaxcifar.runs.metric_fields import other_built_in, shown_metrics
from jaxcifar.runs.observers import NamedObserver, ObservedRun, Observers
from jaxcifar.runs.pace import STARTING, TEST_PASSES, TESTING, TRAINING, VALIDATING, Pace
from jaxcifar.runs.run import Run
from jaxcifar.runs.saved import Row
from jaxcifar.runs.task import Task

_LONG_SECONDS = 1800.0  # that what is left on a CPU takes, for it to be told before
_MEASURED_SECONDS = 5.0  # of training, after which it is
_SHORTER = (1, 2, 5, 10, 20, 50)  # epochs, of which the most that take an hour are offered


class TrainProgress:
    """A bar over the work of all runs on a terminal, a line that is replaced in a notebook.

    Elsewhere there is a line when all was silent for long.

    Attributes:
      say: prints a line, everywhere.
      pace: how far and how fast.
    """

    def __init__(self, console: Console) -> None:
        self.say = line_printer(console)
        self.pace = Pace()
        self._console = console
        self._done, self._of = 0, 0  # runs
        self._name = self._epoch = self._loss = self._rate = ""  # of the runs last trained
        self._work = ""  # what is trained, for the message that memory is short
        self._advice: tuple[int, int] | None = None  # epochs of a run and runs, till it is given
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self.say = self._exit.enter_context(show_status(self._console, self.say, self._status))
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def expect(self, setup: Setup, epochs: int, runs: int = 1) -> None:
        """Say what is to be done now: so many runs of so many epochs."""
        program, examples = setup.program, setup.dataset
        name = type(program.model).__name__
        self._work = f" {name} with --batch-size {program.batch_size}"
        self.pace.expect(
            runs * epochs * program.images_per_epoch,
            runs * epochs * len(examples.val.labels),
            runs * len(examples.test.labels),
        )
        on_cpu = program.mesh.devices.flat[0].platform == "cpu"
        self._advice = (epochs, runs) if on_cpu else None

    def runs(self, done: int, of: int) -> None:
        """Show how many runs of several are over."""
        self._done, self._of = done, of

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Show that a phase of `pace.PHASES` is under way, and count its time.

        Raises:
          OutOfMemoryError: memory is short; the message says what was done.
        """
        # While starting, `_work` still describes the previous runs.
        what = phase if phase == STARTING else phase + self._work
        with report_memory_shortage(what, LESS_MEMORY_ADVICE), self.pace.during(phase):
            yield

    def resumed(self, run: Run) -> None:
        """Take off what was done of a run before."""
        program, val = run.setup.program, len(run.setup.val.labels)
        epochs = run.step // program.steps_per_epoch
        self.pace.skip(run.step * program.batch_size, epochs * val)

    def given_up(self, run: Run, setup: Setup) -> None:
        """Take off what is left of a run that has failed."""
        program, dataset, epochs = setup.program, setup.dataset, run.task.config.epochs
        looks = (epochs - run.step // program.steps_per_epoch) * len(dataset.val.labels)
        steps = epochs * program.steps_per_epoch - run.step
        tests = TEST_PASSES * len(dataset.test.labels)
        self.pace.skip(steps * program.batch_size, looks + tests)

    @contextmanager
    def looking(self, phase: str, images: int) -> Iterator[None]:
        """`during` for validation or test of so many images."""
        with self.during(phase):
            yield
        self.pace.look_at(images)

    def show(self, runs: Sequence[Run], images: int, losses: np.ndarray) -> None:
        """Count the images that each of some runs was trained on, and show their losses."""
        self.pace.train(len(runs) * images)
        first, others = runs[0], len(runs) - 1
        self._name = first.task.name + (f" and {others} more" if others else "")
        self._epoch = f"epoch {first.epoch - first.epoch_over}/{first.task.config.epochs}"
        self._loss = f"loss {losses[0]:.3f}"
        self._rate = f"{sum(run.images_per_second for run in runs):,.0f} images/s"
        if self._advice and self.pace.training_seconds > _MEASURED_SECONDS:
            self._advise(*self._advice)
            self._advice = None

    def _advise(self, epochs: int, runs: int) -> None:
        """Tell, once, what a long training on a CPU takes."""
        left = self.pace.left() or 0.0
        if left < _LONG_SECONDS:
            return
        all_of_it = "this run" if runs == 1 else f"these {runs} runs"
        line = f"on this CPU {all_of_it} will take about {duration(left)}, by the first steps"
        fresh = self.pace.done * epochs < 1  # else it has its number of epochs
        shorter = [n for n in _SHORTER if n < epochs and (n == 1 or left * n / epochs < 3600)]
        if fresh and shorter:
            short = duration(left * shorter[-1] / epochs)
            line += f" (with --epochs {shorter[-1]} about {short})"
        self.say(line)

    def tell_times(self) -> None:
        """Say where the time went."""
        spent = self.pace.spent()
        self.say(f"time spent      {', '.join(f'{p} {duration(s)}' for p, s in spent.items())}")

    def _status(self) -> Status:
        """Return what is done now, how fast, and how long it will take."""
        pace, before = self.pace, []
        after = [(0, f"{pace.done:.0%}" if pace.done else "")]
        if self._of:
            before.append((2, f"{self._done}/{self._of} runs"))
        if pace.phase in (TRAINING, VALIDATING, TESTING):
            before += [(0, self._name), (1, self._epoch)]
        if pace.phase == TRAINING:
            before.append((0, "" if pace.trained else TRAINING))
            after += [(4, self._loss), (3, self._rate)]
        else:
            before.append((0, f"{pace.phase} {duration(time.monotonic() - pace.phase_began)}"))
        left = pace.left()
        after.append((0, "" if left is None else f"{duration(left)} left"))
        return Status(before, after, pace.done)

    def observers_of(self, task: Task) -> Observers:
        """Return the observers of a run: a line an epoch, then those that its task names."""
        lines = NamedObserver(
            "the line of an epoch", EpochLines(self.say, self._console, task.metrics)
        )
        return Observers([lines, *task.observers], task.prefixed(self.say))


class EpochLines:
    """An observer that prints a line an epoch.

    Args:
      say: prints a line.
      console: where; lines are as wide as it is.
      users: metrics of the user, which are shown too.
    """

    def __init__(
        self, say: Callable[[str], None], console: Console, users: Sequence[UserMetric]
    ) -> None:
        self._say, self._console = say, console
        self._user_metrics = [user.metric for user in users]

    def began(self, run: ObservedRun) -> None:
        """Keep what all lines need."""
        self._run = run

    def epoch(self, row: Row) -> None:
        """Print one finished epoch, a row of `metrics.jsonl`."""
        epochs, validated = self._run.config.epochs, ""
        if "val_loss" in row:
            validated = f"val {row['val_loss']:.3f} {row['val_accuracy']:6.2%}"
        trained = f"train loss {row['train_loss']:.3f} {row['train_accuracy']:6.2%}"
        parts = [
            (0, self._run.name),
            (0, f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"),
            (2, trained),
            (0, validated),
            *((1, shown) for shown in shown_metrics(self._user_metrics, row)),
            (3, f"lr {row['learning_rate']:.2g}"),
            (4, f"{row['images_per_second']:,.0f} images/s"),
            *((5, text) for text in shown_metrics(other_built_in(row), row)),
        ]
        self._say("  ".join(texts_that_fit(parts, self._console.width)))
