"""Files that TensorBoard reads, written without TensorFlow: events, a record each.

tensorboardX has the messages and the checksum. Its own writer begins a new file each time, after
which a run that was stopped would be there twice; so the few lines that write are here.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.machine.extras import extra
from jaxcifar.machine.files import append

Value = Any  # tensorboardX's `Summary.Value`: something to show, with its tag
_MODULES = ("event_pb2", "plugin_hparams_pb2", "summary_pb2")
_RGBA = 4


def messages() -> ModuleType:
    """Return tensorboardX's package of message types.

    Raises:
      RunError: tensorboardX is not installed; in one line that says how to install it.
    """
    for module in _MODULES:
        extra(f"tensorboardX.proto.{module}")
    return extra("tensorboardX.proto")


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
        events = messages().event_pb2
        # A TensorBoard that has shown an earlier file of this run forgets it.
        anew = events.SessionLog(status=events.SessionLog.START)
        with path.open("xb") as file:
            for content in ({"file_version": "brain.Event:2"}, {"session_log": anew}):
                file.write(record(events.Event(wall_time=wall_time, **content)))

    def write(self, values: Sequence[Value], step: int, wall_time: float) -> None:
        """Append what is to be shown at a step.

        Raises:
          RunError: a link is in the file's place.
          OSError: it can't be written.
        """
        if not values:
            return
        types = messages()
        summary = types.summary_pb2.Summary(value=values)
        event = types.event_pb2.Event(wall_time=wall_time, step=step, summary=summary)
        append(self._path, record(event))


def record(event: Any) -> bytes:
    """A message as a TFRecord: its length, that one's checksum, the message, its checksum."""
    checksum = extra("tensorboardX.record_writer").masked_crc32c
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    sums = [struct.pack("<I", checksum(part)) for part in (length, content)]
    return length + sums[0] + content + sums[1]


def scalar(tag: str, value: float) -> Value:
    """A number, which becomes a float32."""
    return messages().summary_pb2.Summary.Value(tag=tag, simple_value=value)


def image(tag: str, png: bytes) -> Value:
    """A picture, the content of a PNG file.

    Raises:
      ValueError: it is none.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or len(png) < 24:
        raise ValueError("is no PNG")
    width, height = struct.unpack(">II", png[16:24])  # its header has them first
    summary = messages().summary_pb2.Summary
    shown = summary.Image(width=width, height=height, colorspace=_RGBA, encoded_image_string=png)
    return summary.Value(tag=tag, image=shown)


def settings(values: Mapping[str, bool | int | float | str], began: float) -> Value:
    """A run's row in the table of hyper-parameters.

    Which columns the table has, TensorBoard finds out of all the runs that it shows.

    Args:
      values: by name.
      began: seconds since 1970.
    """
    start = messages().plugin_hparams_pb2.SessionStartInfo(start_time_secs=began)
    for name, value in values.items():
        cell = start.hparams[name]
        if isinstance(value, bool):
            cell.bool_value = value
        elif isinstance(value, int | float):
            cell.number_value = value
        else:
            cell.string_value = value
    return _of_hparams("session_start_info", start)


def success(ended: float) -> Value:
    """That a run of the table of hyper-parameters is finished."""
    end = messages().plugin_hparams_pb2.SessionEndInfo(status="STATUS_SUCCESS", end_time_secs=ended)
    return _of_hparams("session_end_info", end)


def _of_hparams(name: str, info: Any) -> Value:
    types = messages()
    data = types.plugin_hparams_pb2.HParamsPluginData(version=0, **{name: info})
    plugin = {"plugin_name": "hparams", "content": data.SerializeToString()}
    metadata = types.summary_pb2.SummaryMetadata(plugin_data=plugin)
    return types.summary_pb2.Summary.Value(tag=f"_hparams_/{name}", metadata=metadata)
