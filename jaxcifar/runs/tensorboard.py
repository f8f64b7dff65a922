"""An observer that writes a run's figures as events, which TensorBoard shows (`--tensorboard`).

All events are derived from the run's other files. So it does no harm if a kill leaves an event half
written: all events are written again when the run is resumed, or found finished.
"""

import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcifar.errors import RunError
from jaxcifar.machine import event_file
from jaxcifar.machine.event_file import EventFile
from jaxcifar.machine.reading import MEGABYTE, open_regular_file
from jaxcifar.runs import saved
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import metrics_of, tags, validated
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.runs.plots import plot_mistakes
from jaxcifar.runs.saved import Result, Row

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


class TensorBoard:
    """An observer that writes a run's event file.

    The time of an event is when the run was begun and the seconds of training since. So it does not
    depend on how often the run was stopped, nor on when the file is written.

    Raises:
      RunError: tensorboardX is not installed.
    """

    def __init__(self) -> None:
        event_file.message_types()

    def began(self, run: ObservedRun) -> None:
        """Replace what was written before by these epochs, with settings and network.

        The old file goes first, so that at no time an epoch is there twice. The new one has a name
        of its own, later in the order, by which a TensorBoard that is open finds it.

        Raises:
          RunError: a link is in the folder's place; where it leads, other runs' events may lie.
        """
        self._folder = RunFolder(run.path)
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
        settings = event_file.hyperparameters_value(run.settings, self._time)
        self._write([settings, *self._picture(self._folder.model_plot)])
        for row in run.history:
            self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Write the figures of an epoch."""
        self._time += row["seconds"]
        self._epoch = row["epoch"]
        self._write(_scalars(row, {**TAGS, **tags("val", validated(row))}))

    def finished(self, result: Result) -> None:
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
        self._file.write(values, self._epoch, self._time)


def _scalars(figures: Mapping[str, Any], tags: Mapping[str, str]) -> list[event_file.Value]:
    return [
        event_file.scalar_value(tag, figures[name]) for name, tag in tags.items() if name in figures
    ]
