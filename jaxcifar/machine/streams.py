"""Standard input, output and error of a process, in whatever state it was started with."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from jaxcifar.errors import RunError


def open_missing_streams() -> None:
    """Connect closed standard streams to the null device.

    Otherwise the next file that is opened gets the number of the closed stream, and what a library
    prints as an error is written into that file.

    Raises:
      RunError: standard output alone is closed, so that results would be lost.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            os.set_inheritable(descriptor, True)
    if sys.stderr is None:
        sys.stderr = _stream(2)
        sys.stdout = sys.stdout or _stream(1)  # nobody is left to be told of it
    if sys.stdout is None:
        sys.stdout = _stream(1)
        raise RunError("standard output is closed; redirect it to a file, or to /dev/null")


def _stream(number: int) -> TextIO:
    return open(number, "w", closefd=False)


@contextlib.contextmanager
def checked_output() -> Iterator[None]:
    """Let standard output take any text, and name it when it can't be written.

    Raises:
      RunError: it can't be written, in place of an `OSError` without a file's name.
      BrokenPipeError: nobody reads it any more.
    """
    stream = sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # where its encoding lacks a character
    sys.stdout = output = _CheckedOutput(stream)
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
        with _named():
            return self._stream.write(text)

    def flush(self) -> None:
        with _named():
            self._stream.flush()


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(
            f"standard output can't be written ({error.strerror or error}); see to it, then run "
            "the same command"
        ) from error
