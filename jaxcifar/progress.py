"""What a person sees of a training: a bar with rate and time left, and a line an epoch."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class TrainProgress:
    """A bar over all images of a run, shown only on a terminal; lines are printed everywhere."""

    def __init__(self, console: Console, epochs: int, images_per_epoch: int, done: int) -> None:
        self._console, self._epochs = console, epochs
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            "compiling", total=epochs * images_per_epoch, completed=done, rate=""
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, epoch: int, images: int, images_per_second: float, loss: float) -> None:
        """Show that `images` images of the run are done, in `epoch` (from 1)."""
        self._progress.update(
            self._task,
            description=f"epoch {epoch}/{self._epochs}",
            completed=images,
            rate=f"loss {loss:.3f}  {images_per_second:,.0f} images/s",
        )

    def epoch_line(self, row: dict[str, Any]) -> None:
        """Print one finished epoch, a row of `metrics.jsonl`."""
        width = len(str(self._epochs))
        self._console.print(
            f"epoch {row['epoch']:>{width}}/{self._epochs}  "
            f"train loss {row['train_loss']:.4f} accuracy {row['train_accuracy']:6.2%}  "
            f"val loss {row['val_loss']:.4f} accuracy {row['val_accuracy']:6.2%}  "
            f"lr {row['learning_rate']:.2g}  {row['images_per_second']:,.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )
