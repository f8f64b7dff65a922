"""An observer that writes event files for TensorBoard (`--tensorboard`).

All events are derived from the run's other files. So a kill while an event is being written does no
harm: all events are written again when the run is resumed, or when its command is repeated.
"""

import contextlib
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcifar.errors import RunError
from jaxcifar.machine import event_file
from jaxcifar.machine.event_file import EventFile
from jaxcifar.machine.reading import MEGABYTE, open_regular_file
from jaxcifar.runs.file_formats import Result, Row, class_names
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.image_sheets import plot_mistakes
from jaxcifar.runs.metric_fields import measured_metrics, validation_metric_names
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.runs.sources import require_no_link

# Column of `metrics.jsonl` -> TensorBoard's tag. Tags with the same text before "/" form a section.
# The tags of validation and test metrics come from `_metric_tags`.
EPOCH_TAGS = {
    "train_accuracy": "accuracy/train",
    "train_loss": "loss/train",
    "learning_rate": "training/learning_rate",
    "images_per_second": "training/images_per_second",
}
# Field of `result.json` -> tag. The step of these events is the best epoch.
TEST_TAGS = {"test_accuracy_flip": "accuracy/test_flip"}
_EVENT_FILE_PATTERN = "events.out.tfevents.*.jaxcifar"  # not the files of other programs
_MAX_PICTURE_BYTES = 16 * MEGABYTE


class TensorBoard:
    """An observer that writes a run's event file.

    The time of an event is the start of the run plus the seconds of training before the event. So
    pauses between commands do not count, and a file that is written later has the same times.

    Raises:
      RunError: tensorboardX is not installed.
    """

    def __init__(self) -> None:
        event_file.message_types()

    def began(self, run: ObservedRun) -> None:
        """Write a new event file with settings, network picture and the epochs of `run.history`.

        Earlier event files are deleted first, so no epoch appears twice. The name of the new file
        sorts after the old names, so that an open TensorBoard finds the new file.

        Raises:
          RunError: the folder is a symbolic link, perhaps to the events of other runs.
        """
        self._folder = RunFolder(run.path)
        folder = self._folder.tensorboard
        require_no_link(folder)
        folder.mkdir(exist_ok=True)
        for old_file in folder.glob(_EVENT_FILE_PATTERN):
            old_file.unlink()
        run_began = self._folder.config_file.stat().st_mtime
        self._event_time, self._event_step = run_began, 0
        sortable_time = f"{time.time():017.6f}"
        file_name = _EVENT_FILE_PATTERN.replace("*", sortable_time)
        self._file = EventFile(folder / file_name, run_began)
        settings = event_file.hyperparameters_value(run.settings, run_began)
        self._write_events([settings, *self._picture_events(self._folder.model_plot)])
        for row in run.history:
            self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Add the metrics of an epoch, a row of `metrics.jsonl`, to the file of events."""
        self._event_time += row["seconds"]
        self._event_step = row["epoch"]
        metric_tags = _metric_tags("val", validation_metric_names(row))
        self._write_events(_scalar_events(row, {**EPOCH_TAGS, **metric_tags}))

    def finished(self, result: Result) -> None:
        """Write test metrics and pictures, and an event that marks the run as finished."""
        # A run converted from PyTorch has no epochs.
        self._event_step = result.get("selected_epoch", 0)
        self._write_events(_test_metric_events(result))
        self._write_events(self._mistakes_events(result))
        self._write_events(self._picture_events(self._folder.accuracy_plot))
        self._write_events(self._picture_events(self._folder.loss_plot))
        self._write_events([event_file.session_end_value(self._event_time)])

    def _picture_events(self, path: Path) -> list[event_file.Value]:
        """Return a list with one event that contains the picture in a file.

        The list is empty if the file can't be read.
        """
        with contextlib.suppress(OSError, ValueError), open_regular_file(path) as file:
            return [event_file.image_value(path.stem, file.read(_MAX_PICTURE_BYTES))]
        return []

    def _mistakes_events(self, result: Result) -> list[event_file.Value]:
        """Return a list with one event, a picture of wrongly classified images.

        The list is empty if `mistakes.npz` can't be read.
        """
        names = class_names(result)
        try:
            mistakes = self._folder.read_mistakes(len(names))
        except RunError:
            return []
        png_file = io.BytesIO()
        title = f"Confident mistakes on test images: {result['dataset']}"
        plot_mistakes(names, mistakes, title, png_file)
        return [event_file.image_value("mistakes", png_file.getvalue())]

    def _write_events(self, values: Sequence[event_file.Value]) -> None:
        self._file.write(values, self._event_step, self._event_time)


def _test_metric_events(result: Result) -> list[event_file.Value]:
    """Return an event for each metric on the test images in a result."""
    metric_names = [metric["name"] for metric in measured_metrics([result])]
    return _scalar_events(result, {**_metric_tags("test", metric_names), **TEST_TAGS})


def _metric_tags(split: str, metric_names: Iterable[str]) -> dict[str, str]:
    """Return the tag of each metric, such as "loss/val", by the metric's field, such as `val_loss`.

    A tag is TensorBoard's name for a curve. `split` is "val" or "test".
    """
    return {f"{split}_{name}": f"{name}/{split}" for name in metric_names}


def _scalar_events(fields: Mapping[str, Any], tags: Mapping[str, str]) -> list[event_file.Value]:
    """Return an event for each field of a row (or a result) that has a tag in `tags`.

    `tags` has TensorBoard's names of curves, by field.
    """
    return [
        event_file.scalar_value(tag, fields[field])
        for field, tag in tags.items()
        if field in fields
    ]
