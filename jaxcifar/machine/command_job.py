"""The function that a job of a cluster calls: it runs one command."""

import contextlib
import dataclasses
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from jaxcifar.errors import RunError
from jaxcifar.machine.extras import import_extra

_SECONDS_BETWEEN_CHECKS = 0.2
_SECONDS_BEFORE_KILL = 60.0  # submitit warns a job 90 seconds before its time is over


@dataclasses.dataclass
class CommandJob:
    """A callable that runs a command in a process of its own.

    The package submitit pickles this object and sends it to a cluster as a job. When the time of
    the job is almost over, submitit calls `checkpoint` and puts the job into the queue again.

    Attributes:
      command: the words of the command; no shell reads them.
      command_again: the words of the command if the job runs a second time.
      folder: current folder of the command.
      before_again: called before the job is put into the queue again, or None.
    """

    command: tuple[str, ...]
    command_again: tuple[str, ...]
    folder: str
    before_again: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run the command to its end.

        Raises:
          RunError: the command failed; its own error message is in the log of the job.
        """
        self._process = _start_ignoring_time_signal(self.command, self.folder)
        try:
            # `wait` would hold a lock that `checkpoint`, called by a signal, then waits for.
            while self._process.poll() is None:
                time.sleep(_SECONDS_BETWEEN_CHECKS)
        except BaseException:
            self._stop()
            raise
        exit_code = self._process.returncode
        if exit_code:
            raise RunError(
                f"the command has ended with exit code {exit_code}; read its error message in the "
                "log of the job"
            )

    def checkpoint(self) -> Any:
        """Stop the command, which then saves its state, and return a job that continues it.

        submitit calls this method when the job's time is almost over.

        Returns:
          a `DelayedSubmission` of submitit, with a job that runs `command_again`.
        """
        self._stop()
        if self.before_again is not None:
            self.before_again()
        next_job = CommandJob(self.command_again, self.command_again, self.folder)
        return import_extra("submitit").helpers.DelayedSubmission(next_job)

    def _stop(self) -> None:
        """Send SIGTERM, at which the command saves its state and ends; kill it after 60 s."""
        if self._process is None:
            return
        self._process.terminate()
        deadline = time.monotonic() + _SECONDS_BEFORE_KILL
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_CHECKS)
        self._process.kill()


def _start_ignoring_time_signal(command: tuple[str, ...], folder: str) -> "subprocess.Popen[bytes]":
    """Start a command that ignores SIGUSR2, the signal before the end of a job's time.

    Slurm sends SIGUSR2 to all processes of a job. The signal would end the command at once.
    """
    # The new process inherits "ignore".
    previous_handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
    finally:
        with contextlib.suppress(TypeError):  # the handler was not set by Python
            signal.signal(signal.SIGUSR2, previous_handler)
