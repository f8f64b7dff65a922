"""The exceptions of this package, each with a one-line message for the user.

The message says what is wrong and what to do about it. Commands print it without a traceback and
exit with code 2 after a `UsageError` and with code 1 after a `RunError`.
"""

import re
from typing import Self

_START_OF_SPECIFICATION = r" \[\w+='"  # in TensorStore's messages: the file that it opened


class OneLineError(Exception):
    """Base class of errors that are shown as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in a notebook instead of a traceback."""
        return [printable(self)]


class UsageError(OneLineError):
    """The request can't be carried out; the user must change the options (exit code 2)."""


class RunError(OneLineError):
    """A valid request failed because of a file, the network or the numbers (exit code 1)."""


class BusyError(RunError):
    """Another process is using the folder of the run, study or data set."""


class OutOfMemoryError(RunError):
    """There is too little free memory on this machine or device for the request."""


class DivergedError(RunError):
    """The loss became infinite or not a number; repeating the same run gives the same result."""

    @classmethod
    def of_loss(cls, loss_name: str, loss: float, finished_epochs: int) -> Self:
        """Return the error for a loss that became infinite or not a number.

        Args:
          loss_name: name of the loss, such as "training".
          loss: its value.
          finished_epochs: number of epochs that finished before this loss.
        """
        checkpoint = "there is no checkpoint yet"
        if finished_epochs > 0:
            checkpoint = f"the last good checkpoint is kept (that of epoch {finished_epochs})"
        return cls(
            f"the {loss_name} loss became {loss} in epoch {finished_epochs + 1}; {checkpoint}: try "
            "a lower --learning-rate in another run folder"
        )


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def without_advice(error: BaseException) -> str:
    """Return the reason in a message "REASON; ADVICE", for a place where other advice fits."""
    return str(error).partition("; ")[0]


def last_cause(error: BaseException) -> str:
    """Return the last cause in an error's message, such as "No space left on device".

    A message of TensorStore is a chain of causes, separated by colons. The last cause comes from
    the operating system.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message_without_specification, *_ = re.split(_START_OF_SPECIFICATION, first_line(error))
    return message_without_specification.rsplit(": ", 1)[-1]


def printable(text: object, max_length: int = 1000) -> str:
    """Return text as one line that can't control the terminal.

    Characters that are not printable are escaped as in Python source: control characters, line
    ends, characters that change the direction of writing, and lone surrogates. A long text loses
    its middle, because a message has its subject at the beginning and its advice at the end.

    Args:
      text: any object that `str` converts to text.
      max_length: maximum number of characters in the result.
    """
    text = str(text)
    if len(text) > 2 * max_length:
        text = text[:max_length] + text[-max_length:]  # the middle will not be shown
    escaped_text = _escape_unprintable(text)
    if len(escaped_text) <= max_length:
        return escaped_text
    end_length = max_length // 3
    start_length = max_length - end_length - 1  # one character is the ellipsis
    start_of_end = len(escaped_text) - end_length
    return f"{escaped_text[:start_length]}…{escaped_text[start_of_end:]}"


def _escape_unprintable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
