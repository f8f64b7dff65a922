"""Files that TensorBoard reads, written without TensorFlow: events, a record each.

tensorboardX has the messages and the checksum. Its own writer begins a new file each time, after
which a run that was stopped would be there twice; so the few lines that write are here.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import append_to_file

Value = Any  # tensorboardX's `Summary.Value`: something to show, with its tag
_MODULES = ("event_pb2", "plugin_hparams_pb2", "summary_pb2")
_RGBA = 4


def require_tensorboard() -> None:
    """See to it that event files can be written.

    Raises:
      UsageError: tensorboardX is not installed; in one line that says how to.
    """
    try:
        _messages()
    except RunError as error:
        raise UsageError(f"--tensorboard: {error}") from error


def _messages() -> ModuleType:
    for module in _MODULES:
        import_extra(f"tensorboardX.proto.{module}")
    return import_extra("tensorboardX.proto")


class EventFile:
    """An event file, which may be read while it is written: an event is appended at once."""

    def __init__(self, path: Path, wall_time: float) -> None:
        """Begin a file.

        Args:
          path: of the file, which is not there yet.
          wall_time: seconds since 1970, as for all events.

        Raises:
          OSError: it can't be written.
        """
        self._path = path
        events = _messages().event_pb2
        # A TensorBoard that has shown an earlier file of this run forgets it.
        anew = events.SessionLog(status=events.SessionLog.START)
        with path.open("xb") as file:
            for content in ({"file_version": "brain.Event:2"}, {"session_log": anew}):
                file.write(encode_tf_record(events.Event(wall_time=wall_time, **content)))

    def write(self, values: Sequence[Value], step: int, wall_time: float) -> None:
        """Append what is to be shown at a step.

        Raises:
          RunError: a link is in the file's place.
          OSError: it can't be written.
        """
        if not values:
            return
        messages = _messages()
        summary = messages.summary_pb2.Summary(value=values)
        event = messages.event_pb2.Event(wall_time=wall_time, step=step, summary=summary)
        append_to_file(self._path, encode_tf_record(event))


def encode_tf_record(event: Any) -> bytes:
    """A message as a TFRecord: its length, that one's checksum, the message, its checksum."""
    checksum = import_extra("tensorboardX.record_writer").masked_crc32c
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    sums = [struct.pack("<I", checksum(part)) for part in (length, content)]
    return length + sums[0] + content + sums[1]


def scalar_value(tag: str, value: float) -> Value:
    """A number, which becomes a float32."""
    return _messages().summary_pb2.Summary.Value(tag=tag, simple_value=value)


def image_value(tag: str, png: bytes) -> Value:
    """A picture, the content of a PNG file.

    Raises:
      ValueError: it is none.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or len(png) < 24:
        raise ValueError("is no PNG")
    width, height = struct.unpack(">II", png[16:24])  # its header has them first
    summary = _messages().summary_pb2.Summary
    shown = summary.Image(width=width, height=height, colorspace=_RGBA, encoded_image_string=png)
    return summary.Value(tag=tag, image=shown)


def hyperparameters_value(values: Mapping[str, bool | int | float | str], began: float) -> Value:
    """A run's row in the table of hyper-parameters.

    Which columns the table has, TensorBoard finds out of all the runs that it shows.

    Args:
      values: by name.
      began: seconds since 1970.
    """
    start = _messages().plugin_hparams_pb2.SessionStartInfo(start_time_secs=began)
    for name, value in values.items():
        cell = start.hparams[name]
        if isinstance(value, bool):
            cell.bool_value = value
        elif isinstance(value, int | float):
            cell.number_value = value
        else:
            cell.string_value = value
    return _of_hparams("session_start_info", start)


def finished_value(ended: float) -> Value:
    """That a run of the table of hyper-parameters is finished."""
    end = _messages().plugin_hparams_pb2.SessionEndInfo(
        status="STATUS_SUCCESS", end_time_secs=ended
    )
    return _of_hparams("session_end_info", end)


def _of_hparams(name: str, info: Any) -> Value:
    messages = _messages()
    data = messages.plugin_hparams_pb2.HParamsPluginData(version=0, **{name: info})
    plugin = {"plugin_name": "hparams", "content": data.SerializeToString()}
    metadata = messages.summary_pb2.SummaryMetadata(plugin_data=plugin)
    return messages.summary_pb2.Summary.Value(tag=f"_hparams_/{name}", metadata=metadata)
