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
    """The first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
