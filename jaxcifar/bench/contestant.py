"""A contestant of the bench in a process of its own, where nothing of another's is in the way."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Self

import psutil

from jaxcifar.bench.work import Work
from jaxcifar.errors import RunError, first_line
from jaxcifar.machine.failures import as_one_line_error
from jaxcifar.machine.system import peak_memory
from jaxcifar.machine.terminal import duration

_TORCH_FORMS = {
    "torch": "nchw",
    "torch channels_last": "channels_last",
    "torch compiled": "compiled",
}
IMPLEMENTATIONS = ("jaxcifar", "plain flax", *_TORCH_FORMS)
_SECONDS_TO_END = 30.0  # after which a process that does not end is killed


class ContestantError(RunError):
    """A contestant failed, ended or took too long; `reason` is the message without its name."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: {reason}")
        self.reason = reason


class Deadline:
    """A time within which something must be done, counted from now on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def seconds_left(self) -> float:
        """Return the seconds until then; 0 when it is over."""
        return max(0.0, self._end - time.monotonic())


class Contestant:
    """A benchmark contestant that runs in its own process until it is closed.

    Attributes:
      label: its name in messages.
      work: the network, and how much of it is measured.
    """

    def __init__(
        self, label: str, name: str, work: Work, environment: dict[str, str] | None = None
    ) -> None:
        """Start the process.

        Args:
          label: its name in messages.
          name: one of `IMPLEMENTATIONS`.
          work: the network, and how much of it is measured.
          environment: variables to be set in the process before it imports anything large.
        """
        self.label, self.work = label, work
        self._began = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, name, work, environment or {})
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        with _children_ignore_interrupts():
            self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    def close(self) -> None:
        """Let the process end; kill it if it does not."""
        self._connection.close()
        self._process.join(timeout=_SECONDS_TO_END)
        self.kill()

    def kill(self) -> None:
        """End the process at once, with all that it started, such as a compiler."""
        if self._process.is_alive():
            assert self._process.pid is not None  # it has been started
            for started in _descendants(self._process.pid):
                with contextlib.suppress(psutil.Error):
                    started.kill()
        self._process.kill()
        self._process.join()
        self._connection.close()

    def ask(self, method: str, *arguments: Any, deadline: Deadline | None = None) -> Any:
        """Return the result of one of the contestant's methods.

        Args:
          method: name of the method.
          arguments: its arguments.
          deadline: when the process is killed; None to wait for ever.

        Raises:
          ContestantError: it failed, its process ended, or the deadline passed.
        """
        try:
            self._connection.send((method, arguments))
            seconds_left = None if deadline is None else deadline.seconds_left()
            if not self._connection.poll(seconds_left):
                assert deadline is not None  # else it was waited for without end
                self.kill()
                raise ContestantError(self.label, f"not done after {duration(deadline.seconds)}")
            failure, value = self._connection.recv()
        except (EOFError, OSError):
            failure, value = self._how_it_ended(), None
        if failure:
            raise ContestantError(self.label, failure)
        return value

    def _how_it_ended(self) -> str:
        self._process.join(timeout=_SECONDS_TO_END)
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; is there enough memory?" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}"
        return f"its process ended (exit code {code})"

    def seconds_to_first_step(self) -> float:
        """Return the seconds from the start of the process to the end of a first training step."""
        self.ask("train", 1)
        return time.perf_counter() - self._began


def _descendants(process: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process).children(recursive=True)
    return []


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Let a process that is started here ignore Ctrl-C, from its first moment on.

    A terminal sends SIGINT to all processes. Only the bench may answer: it kills the others.
    Child processes inherit the blocked SIGINT. This process gets its own SIGINT when the block
    ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    _start_resource_tracker()  # before the signal is blocked, because starting it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_resource_tracker() -> None:
    """Start Python's process that cleans up after contestants, without its warnings.

    A contestant that is killed leaves semaphores of PyTorch's compiler behind. The process removes
    them, and would warn of each when the bench ends.
    """
    options = list(sys.warnoptions)
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")  # it inherits it
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = options


def _serve(connection: Connection, name: str, work: Work, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows' processes do not inherit the block
    threading.Thread(target=_end_with_the_bench, daemon=True).start()
    os.environ |= environment
    contestant = None
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            contestant = contestant or _create(name, work)
            if method == "peak_memory":
                value = contestant.peak_memory() or peak_memory()
            else:
                value = getattr(contestant, method)(*arguments)
            answer: tuple[str | None, Any] = (None, value)
        except Exception as error:  # told to whoever asked
            failure = as_one_line_error(error) or f"{type(error).__name__}: {first_line(error)}"
            answer = (str(failure), None)
        try:
            connection.send(answer)
        except OSError:  # nobody waits for it any more
            return


def _end_with_the_bench() -> None:
    """End this process when the bench is killed, in the middle of a step if need be."""
    bench = multiprocessing.parent_process()
    assert bench is not None  # this process was started by `Contestant`
    bench.join()
    os._exit(1)


def _create(name: str, work: Work) -> Any:
    if name in _TORCH_FORMS:
        from jaxcifar.bench.torch_peer import TorchPeer

        return TorchPeer(work, _TORCH_FORMS[name])
    from jaxcifar.bench.ours import JaxcifarTraining, PlainFlaxTraining
    from jaxcifar.machine.jax_settings import use_package_settings

    use_package_settings()
    return JaxcifarTraining(work) if name == "jaxcifar" else PlainFlaxTraining(work)
