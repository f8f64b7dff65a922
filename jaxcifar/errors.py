"""The two ways in which a command can fail, told apart by exit code.

Each carries one line for the user that says what is wrong and what to do about it; the
commands print that line and no traceback.
"""


class UsageError(Exception):
    """What was asked for makes no sense (exit code 2): the command line must change."""


class RunError(Exception):
    """What was asked for could not be done (exit code 1): a file, the network or the numbers."""


class BusyError(RunError):
    """Another process is at work in a folder."""


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
    return first_line(error).rsplit(": ", 1)[-1]
