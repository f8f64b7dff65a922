"""The two ways in which a command can fail, told apart by exit code.

Each carries one line for the user that says what is wrong and what to do about it; the
commands print that line and no traceback.
"""

import re


class OneLineError(Exception):
    """What is told in one line."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it, by IPython's custom."""
        return [printable(self)]


class UsageError(OneLineError):
    """What was asked for makes no sense (exit code 2): the command line must change."""


class RunError(OneLineError):
    """What was asked for could not be done (exit code 1): a file, the network or the numbers."""


class BusyError(RunError):
    """Another process is at work in a folder."""


class OutOfMemoryError(RunError):
    """What was asked for does not fit into memory, here and now."""


class DivergedError(RunError):
    """The loss became infinite or not a number; the same run will end there again."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def last_cause(error: BaseException) -> str:
    """Why something could not be done; TensorStore tells a chain of causes, the system's last."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    causes = re.split(r" \[\w+='", first_line(error))[0]  # without TensorStore's specification
    return causes.rsplit(": ", 1)[-1]


def printable(text: object, limit: int = 1000) -> str:
    """Text from outside as one line that a terminal shows and does not obey.

    What is not printable (control characters, line ends, overrides of the direction of writing,
    halves of characters) is escaped as Python does it. Of a long text the beginning and the end
    are kept, where a message has its subject and its remedy.

    Args:
      text: what `str` makes text.
      limit: characters of the result, at most.
    """
    text = str(text)
    if len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]  # the middle will not be shown
    shown = _escaped(text)
    if len(shown) <= limit:
        return shown
    end = limit // 3
    return f"{shown[: limit - end - 1]}…{shown[len(shown) - end :]}"


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
