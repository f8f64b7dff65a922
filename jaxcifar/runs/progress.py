"""What a person sees of trainings: a bar with rate and time left, and a line an epoch."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from jaxcifar.machine.terminal import teller
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Task


class TrainProgress:
    """A bar over all images of all runs, shown only on a terminal; lines are printed everywhere.

    Attributes:
      say: prints a line.
    """

    def __init__(self, console: Console) -> None:
        self.say = teller(console)
        self._progress = Progress(
            TextColumn("{task.fields[runs]}{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("compiling", total=0, rate="", runs="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, images: int) -> None:
        """Show that `images` more are to be done."""
        self._progress.update(self._bar, total=self._progress.tasks[0].total + images)

    def runs(self, done: int, of: int) -> None:
        """Show how many runs of several are over."""
        self._progress.update(self._bar, runs=f"{done}/{of} runs · ")

    def advance(self, images: int) -> None:
        """Show that `images` more are done, or need not be."""
        self._progress.advance(self._bar, images)

    def show(self, runs: Sequence[Run], losses: Sequence[float]) -> None:
        """Show which runs are being trained, and their losses."""
        first, others = runs[0], len(runs) - 1
        epochs = first.task.config.epochs
        name = f"{first.task.name} " if first.task.name else ""
        more = f" and {others} more" if others else ""
        rate = sum(run.images_per_second for run in runs)
        self._progress.update(
            self._bar,
            description=f"{name}epoch {min(first.epoch, epochs)}/{epochs}{more}",
            rate=f"loss {losses[0]:.3f}  {rate:,.0f} images/s",
        )

    def epoch_line(self, task: Task, row: dict[str, Any]) -> None:
        """Print one finished epoch, a row of `metrics.jsonl`."""
        epochs, validated = task.config.epochs, ""
        if "val_loss" in row:
            validated = f"val loss {row['val_loss']:.4f} accuracy {row['val_accuracy']:6.2%}  "
        self.say(
            f"{task.name and task.name + '  '}epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  "
            f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:6.2%}  "
            f"{validated}"
            f"lr {row['learning_rate']:.2g}  {row['images_per_second']:,.0f} images/s"
        )
