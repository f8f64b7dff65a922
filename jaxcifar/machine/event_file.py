"""TensorBoard event files, written with tensorboardX's messages and without TensorFlow.

tensorboardX's own writer begins a new file for each session. A run that was stopped and resumed
would then appear twice in TensorBoard. So this module writes the records itself.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.machine.extras import extra
from jaxcifar.machine.files import append

Value = Any  # tensorboardX's `Summary.Value`: a number, image or table row with its tag
_MODULES = ("event_pb2", "plugin_hparams_pb2", "summary_pb2")
_RGBA = 4  # TensorBoard's number for this colour space
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 24  # signature, chunk header, width and height


def messages() -> ModuleType:
    """Return tensorboardX's package of message types.

    Raises:
      RunError: tensorboardX is not installed; in one line that says how to install it.
    """
    for module in _MODULES:
        import_extra(f"tensorboardX.proto.{module}")
    return import_extra("tensorboardX.proto")


class EventFile:
    """An event file. Each event is appended at once, so TensorBoard can read it during the run."""

    def __init__(self, path: Path, wall_time: float) -> None:
        """Create the file.

        Args:
          path: where to create the file; nothing may exist there yet.
          wall_time: seconds since 1970, as in all events.

        Raises:
          OSError: the file can't be written.
        """
        self._path = path
        events = messages().event_pb2
        # A TensorBoard that has shown an earlier file of this run forgets it.
        anew = events.SessionLog(status=events.SessionLog.START)
        with path.open("xb") as file:
            file.write(encode_tf_record(version))
            file.write(encode_tf_record(start))

    def write(self, values: Sequence[Value], step: int, wall_time: float) -> None:
        """Append one event with all values of a step; without values, append nothing.

        Raises:
          RunError: the file has been replaced by a link.
          OSError: the file can't be written.
        """
        if not values:
            return
        types = messages()
        summary = types.summary_pb2.Summary(value=values)
        event = types.event_pb2.Event(wall_time=wall_time, step=step, summary=summary)
        append(self._path, record(event))


def encode_tf_record(event: Any) -> bytes:
    """Return an event in the TFRecord format.

    The format is the content's length, a checksum of the length, the content, and a checksum of the
    content.
    """
    masked_crc32c = import_extra("tensorboardX.record_writer").masked_crc32c
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    length_checksum = struct.pack("<I", masked_crc32c(length))
    content_checksum = struct.pack("<I", masked_crc32c(content))
    return length + length_checksum + content + content_checksum


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
      tag: title of the image.
      png: content of a PNG file.

    Raises:
      ValueError: `png` is not the content of a PNG file.
    """
    if not png.startswith(_PNG_SIGNATURE) or len(png) < _PNG_HEADER_BYTES:
        raise ValueError("is not a PNG file")
    width, height = struct.unpack(">II", png[16:24])  # the first two fields of a PNG header
    summary = _messages().summary_pb2.Summary
    image = summary.Image(width=width, height=height, colorspace=_RGBA, encoded_image_string=png)
    return summary.Value(tag=tag, image=image)


def hyperparameters_value(values: Mapping[str, bool | int | float | str], began: float) -> Value:
    """Return a run's row in TensorBoard's table of hyper-parameters.

    TensorBoard makes one column for each name that any of its runs has.

    Args:
      values: name -> value of the hyper-parameters.
      began: start of the run, seconds since 1970.
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
    return _hparams_value("session_start_info", start)


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
