"""Replacements for closed standard streams, and one-line errors if writing output fails."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from jaxcifar.errors import RunError
from jaxcifar.machine.command_line import same_command

_STDIN, _STDOUT, _STDERR = 0, 1, 2  # descriptors of the standard streams


def open_missing_streams() -> None:
    """Connect closed standard streams to the null device.

    Otherwise the next file that is opened would get the number of the closed stream. Error messages
    of libraries would then be written into this file.

    Raises:
      RunError: standard output is closed and standard error is not. Results would be lost.
    """
    for standard_descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(standard_descriptor)
        except OSError:
            # The system gives a new descriptor the lowest free number, which is this one.
            reopened_descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(reopened_descriptor, True)
    can_show_error = sys.stderr is not None
    if sys.stderr is None:
        sys.stderr = _open_standard_stream(_STDERR)
    if sys.stdout is None:
        sys.stdout = _open_standard_stream(_STDOUT)
        if can_show_error:
            raise RunError("standard output is closed; redirect it to a file, or to /dev/null")


def _open_standard_stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", closefd=False)


@contextlib.contextmanager
def checked_output() -> Iterator[None]:
    """Make standard output accept any text and raise clear errors, until the block ends.

    Characters that the encoding of standard output lacks are printed as escape sequences.

    Raises:
      RunError: standard output can't be written.
      BrokenPipeError: the program that read the output has ended.
    """
    stream = sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # for characters that its encoding lacks
    output = _CheckedOutput(stream)
    sys.stdout = output
    try:
        yield
        output.flush()
    finally:
        sys.stdout = stream


class _CheckedOutput:
    """A text stream that raises `RunError` when it can't be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _report_output_errors():
            return self._stream.write(text)

    def flush(self) -> None:
        with _report_output_errors():
            self._stream.flush()


@contextlib.contextmanager
def _report_output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(
            f"standard output can't be written ({error.strerror or error}); free space or "
            f"redirect it elsewhere, then run {same_command()}"
        ) from error
