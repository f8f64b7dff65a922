"""TensorBoard event files, written by tensorboardX and without TensorFlow.

tensorboardX's `SummaryWriter` writes in a thread, where an error such as a full disk is lost. So
this module calls its writer of records directly.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxcifar.machine.extras import import_extra

Value = Any  # tensorboardX's `Summary.Value`: a number, image or table row with its tag
_MESSAGE_MODULES = ("event_pb2", "plugin_hparams_pb2", "summary_pb2")
_RGBA_COLOR_SPACE = 4  # TensorBoard's number for this colour space
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 24  # signature, chunk header, width and height


def message_types() -> ModuleType:
    """Return the package of tensorboardX whose modules define the messages in an event file.

    Raises:
      RunError: tensorboardX can't be imported; the message says how to install it.
    """
    for module in _MESSAGE_MODULES:
        import_extra(f"tensorboardX.proto.{module}")
    return import_extra("tensorboardX.proto")


class EventFile:
    """A TensorBoard event file. TensorBoard can show each event as soon as `write` returns."""

    def __init__(self, path: Path, wall_time: float) -> None:
        """Create the file, or empty it.

        Args:
          path: where to create the file.
          wall_time: current time, in seconds since 1970.

        Raises:
          OSError: the file can't be written.
        """
        events = message_types().event_pb2
        self._record_writer = import_extra("tensorboardX.record_writer").RecordWriter(str(path))
        self._append(events.Event(wall_time=wall_time, file_version="brain.Event:2"))
        # The start of a session makes TensorBoard forget an earlier file of this run.
        session = events.SessionLog(status=events.SessionLog.START)
        self._append(events.Event(wall_time=wall_time, session_log=session))

    def write(self, values: Sequence[Value], step: int, wall_time: float) -> None:
        """Append an event with the values of a step; do nothing if `values` is empty.

        `wall_time` is the current time in seconds since 1970.

        Raises:
          OSError: the file can't be written.
        """
        if values:
            messages = message_types()
            summary = messages.summary_pb2.Summary(value=values)
            self._append(messages.event_pb2.Event(wall_time=wall_time, step=step, summary=summary))

    def _append(self, event: Any) -> None:
        self._record_writer.write(event.SerializeToString())
        self._record_writer.flush()


def scalar_value(tag: str, value: float) -> Value:
    """Return a message that shows a number in TensorBoard under the title `tag`, as float32."""
    return message_types().summary_pb2.Summary.Value(tag=tag, simple_value=value)


def image_value(tag: str, png: bytes) -> Value:
    """Return a message that shows an image in TensorBoard.

    Args:
      tag: title of the image.
      png: content of a PNG file.

    Raises:
      ValueError: `png` is not the content of a PNG file.
    """
    if not png.startswith(_PNG_SIGNATURE) or len(png) < _PNG_HEADER_BYTES:
        raise ValueError("is not a PNG file")
    width, height = struct.unpack(">II", png[16:24])  # the first two fields of a PNG header
    summary = message_types().summary_pb2.Summary
    image = summary.Image(
        width=width, height=height, colorspace=_RGBA_COLOR_SPACE, encoded_image_string=png
    )
    return summary.Value(tag=tag, image=image)


def hyperparameters_value(
    values: Mapping[str, bool | int | float | str], start_time: float
) -> Value:
    """Return a message that adds a run's row to TensorBoard's table of hyper-parameters.

    TensorBoard makes one column for each name that any of its runs has.

    Args:
      values: name -> value of the hyper-parameters.
      start_time: start of the run, seconds since 1970.
    """
    session_start = message_types().plugin_hparams_pb2.SessionStartInfo(start_time_secs=start_time)
    for name, value in values.items():
        cell = session_start.hparams[name]
        if isinstance(value, bool):
            cell.bool_value = value
        elif isinstance(value, int | float):
            cell.number_value = value
        else:
            cell.string_value = value
    return _hparams_value("session_start_info", session_start)


def session_end_value(end_time: float) -> Value:
    """Return a message that marks a run as finished in TensorBoard's table of hyper-parameters.

    Args:
      end_time: end of the run, seconds since 1970.
    """
    session_end = message_types().plugin_hparams_pb2.SessionEndInfo(
        status="STATUS_SUCCESS", end_time_secs=end_time
    )
    return _hparams_value("session_end_info", session_end)


def _hparams_value(field: str, session_message: Any) -> Value:
    messages = message_types()
    plugin_data = messages.plugin_hparams_pb2.HParamsPluginData(
        version=0, **{field: session_message}
    )
    plugin = {"plugin_name": "hparams", "content": plugin_data.SerializeToString()}
    metadata = messages.summary_pb2.SummaryMetadata(plugin_data=plugin)
    return messages.summary_pb2.Summary.Value(tag=f"_hparams_/{field}", metadata=metadata)
