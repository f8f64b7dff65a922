"""What a run writes down, once more as events, which TensorBoard shows (`--tensorboard`).

All of it is derived from the run's other files and says nothing new. So what a kill leaves half
written needs no care: a run that goes on, or is looked at again, writes its events anew.
"""

import contextlib
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import applicable, spelled
from jaxcifar.errors import BusyError, RunError
from jaxcifar.machine import event_file
from jaxcifar.machine.event_file import EventFile
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.reading import MEGABYTE, open_regular_file
from jaxcifar.machine.sharing import PyTree
from jaxcifar.runs import saved
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import metrics_of, tags, validated
from jaxcifar.runs.plots import plot_mistakes
from jaxcifar.runs.saved import Result, Row
from jaxcifar.runs.task import Task

# By column of `metrics.jsonl`: what TensorBoard calls it. What stands before "/" is one section.
# The metrics of validation and test images have theirs from `metric_fields`.
TAGS = {
    "train_accuracy": "accuracy/train",
    "train_loss": "loss/train",
    "learning_rate": "training/learning_rate",
    "images_per_second": "training/images_per_second",
}
# By field of `result.json`; their step is the epoch that was chosen.
TEST_TAGS = {"test_accuracy_flip": "accuracy/test_flip"}
_FILES = "events.out.tfevents.*.jaxcifar"  # ours, in a folder where others may lie
_MOST_PICTURE_BYTES = 16 * MEGABYTE


class FolderWithEvents(RunFolder):
    """A run's folder in which each of the run's figures is written as an event too."""

    def __init__(self, path: Path, anew: bool = False) -> None:
        super().__init__(path, anew)
        self._events = _Events(self)

    def write_history(self, history: Sequence[Row]) -> None:
        """As `RunFolder` does; begins the events anew with these epochs."""
        super().write_history(history)
        self._events.begin(history)

    def append_row(self, row: Row) -> None:
        """As `RunFolder` does, with the epoch's events."""
        super().append_row(row)
        self._events.add(row)

    def finish(self, result: Result, mistakes: dict[str, np.ndarray], variables: PyTree) -> None:
        """As `RunFolder` does; then come the events of the result."""
        super().finish(result, mistakes, variables)
        self._events.end(result)

    def write_events(self) -> None:
        """Write anew all events of what lies in the folder, which this process holds.

        Raises:
          RunError: something can't be read.
          OSError: they can't be written.
        """
        result = self.finished_result()
        self._events.begin(self.read_history())
        if result is not None:
            self._events.end(result)


def folder_of(task: Task) -> AbstractContextManager[RunFolder]:
    """The folder of a task, held for this process, as `RunFolder.opened` gives it."""
    kind = FolderWithEvents if task.tensorboard else RunFolder
    return kind.opened(task.scratch or task.path, task.config, task.overwrite)


def write_events_of(tasks: Iterable[Task]) -> None:
    """Write the events of runs that are over, where they are asked for.

    Raises:
      RunError: something can't be read or written.
    """
    for task in tasks:
        folder = FolderWithEvents(task.path)
        if not task.tensorboard or not folder.config.exists():
            continue
        busy = contextlib.suppress(BusyError)  # whoever is at work there writes them
        with busy, folder.writing(), lock_folder(task.path, wait=False):
            folder.write_events()


class _Events:
    """Writes a run's event file.

    The time of an event is when the run was begun and the seconds of training since. So it does not
    depend on how often the run was stopped, nor on when the file is written.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._file: EventFile | None = None
        self._time, self._epoch = 0.0, 0

    def begin(self, history: Sequence[Row]) -> None:
        """Replace what was written before by these epochs, with settings and network.

        The old file goes first, so that at no time an epoch is there twice. The new one has a name
        of its own, later in the order, by which a TensorBoard that is open finds it.

        Raises:
          RunError: a link is in the folder's place; where it leads, other runs' events may lie.
        """
        folder = self._folder.tensorboard
        if folder.is_symlink():
            raise RunError(
                f"{folder}: is a symbolic link; delete it, because event files are deleted and "
                "written in this folder"
            )
        folder.mkdir(exist_ok=True)
        for old in folder.glob(_FILES):
            old.unlink()
        self._time, self._epoch = self._folder.config.stat().st_mtime, 0
        name = _FILES.replace("*", f"{time.time():017.6f}")
        self._file = EventFile(folder / name, self._time)
        settings = event_file.hyperparameters_value(_shown(self._folder.read_config()), self._time)
        self._write([settings, *self._picture(self._folder.model_plot)])
        for row in history:
            self.add(row)

    def add(self, row: Row) -> None:
        """Write the figures of an epoch."""
        self._time += row["seconds"]
        self._epoch = row["epoch"]
        self._write(_scalars(row, {**TAGS, **tags("val", validated(row))}))

    def end(self, result: Result) -> None:
        """Write what a finished run has to say."""
        self._epoch = result.get("selected_epoch", 0)  # none where the weights were converted
        measured = [line["name"] for line in metrics_of([result])]
        self._write(_scalars(result, {**tags("test", measured), **TEST_TAGS}))
        self._write(self._mistakes(result))
        self._write(self._picture(self._folder.accuracy_plot))
        self._write(self._picture(self._folder.loss_plot))
        self._write([event_file.finished_value(self._time)])

    def _picture(self, path: Path) -> list[event_file.Value]:
        """A picture of the folder; one that is missing or damaged is left out."""
        with contextlib.suppress(OSError, ValueError), open_regular_file(path) as file:
            return [event_file.image_value(path.stem, file.read(_MOST_PICTURE_BYTES))]
        return []

    def _mistakes(self, result: Result) -> list[event_file.Value]:
        """The surest mistakes as a picture, if the folder has them."""
        names = saved.class_names(result)
        try:
            mistakes = self._folder.read_mistakes(len(names))
        except RunError:
            return []
        png, title = io.BytesIO(), f"Confident mistakes on test images: {result['dataset']}"
        plot_mistakes(names, mistakes, title, png)
        return [event_file.image_value("mistakes", png.getvalue())]

    def _write(self, values: Sequence[event_file.Value]) -> None:
        assert self._file is not None  # `begin` has made it
        self._file.write(values, self._epoch, self._time)


def _scalars(figures: Mapping[str, Any], tags: Mapping[str, str]) -> list[event_file.Value]:
    return [
        event_file.scalar_value(tag, figures[name]) for name, tag in tags.items() if name in figures
    ]


def _shown(config: Config) -> dict[str, bool | int | float | str]:
    """The settings that a run has, as a table has them: without digests, a list as text."""
    return {
        name: value if isinstance(value, int | float) else spelled(value)
        for name, value in applicable(config.settings()).items()
        if value not in (None, "") and "sha256" not in name and not name.startswith("SHA-256")
    }
