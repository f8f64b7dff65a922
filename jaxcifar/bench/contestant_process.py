"""Each contestant of the benchmark has its own process, so that none affects another."""

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

# Name of a form of PyTorch -> mode of `torch.compile`, or None for PyTorch without its compiler.
# In all of them, images have their channels last in memory, which is faster than channels first.
_TORCH_COMPILE_MODES = {
    "torch channels_last": None,
    "torch compiled": "default",
    "torch max-autotune": "max-autotune",
}
IMPLEMENTATIONS = ("jaxcifar", "plain flax", *_TORCH_COMPILE_MODES)
_MAX_SECONDS_TO_EXIT = 30.0  # time for a process to end before it is killed


class ContestantError(RunError):
    """A benchmark contestant failed or took too long, or its process ended.

    Attributes:
      reason: the message without the contestant's name.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: {reason}")
        self.reason = reason


class Deadline:
    """A time limit of `seconds` that begins when the object is created."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end_time = time.monotonic() + seconds

    def seconds_left(self) -> float:
        """Return the seconds until the deadline; 0 if it has passed."""
        return max(0.0, self._end_time - time.monotonic())


class ContestantProcess:
    """The process of a benchmark contestant, which runs until it is closed.

    The attribute `label` is the contestant's name in messages.
    """

    def __init__(
        self, label: str, implementation: str, work: Work, environment: dict[str, str] | None = None
    ) -> None:
        """Start the process.

        Args:
          label: the contestant's name in messages.
          implementation: one of `IMPLEMENTATIONS`.
          work: the network to measure.
          environment: environment variables that the process sets before it imports JAX or PyTorch.
        """
        self.label = label
        self._start_time = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        self._connection, process_connection = context.Pipe()
        arguments = (process_connection, implementation, work, environment or {})
        self._process = context.Process(target=_answer_method_calls, args=arguments, daemon=True)
        with _children_ignore_interrupts():
            self._process.start()
        process_connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self.kill()

    def close(self) -> None:
        """Ask the contestant's process to end; kill the process if it does not."""
        self._connection.close()
        self._process.join(timeout=_MAX_SECONDS_TO_EXIT)
        self.kill()

    def kill(self) -> None:
        """Kill the contestant's process and all processes that it started, such as compilers."""
        if self._process.is_alive():
            assert self._process.pid is not None  # the process has been started
            for descendant in _descendant_processes(self._process.pid):
                with contextlib.suppress(psutil.Error):
                    descendant.kill()
        self._process.kill()
        self._process.join()
        self._connection.close()

    def ask(self, method: str, *arguments: Any, deadline: Deadline | None = None) -> Any:
        """Call a method of the contestant in its process and return the result.

        Args:
          method: name of the method.
          arguments: arguments of the method.
          deadline: time limit, after which the process is killed; None to wait for ever.

        Raises:
          ContestantError: the method failed, the process ended, or the deadline passed.
        """
        try:
            self._connection.send((method, arguments))
            seconds_left = None if deadline is None else deadline.seconds_left()
            if not self._connection.poll(seconds_left):
                assert deadline is not None  # without one, `poll` waits until there is an answer
                self.kill()
                raise ContestantError(self.label, f"not done after {duration(deadline.seconds)}")
            error_message, result = self._connection.recv()
        except (EOFError, OSError):
            error_message, result = self._describe_exit(), None
        if error_message:
            raise ContestantError(self.label, error_message)
        return result

    def _describe_exit(self) -> str:
        """Return how the contestant's process ended, such as "its process ended (exit code 1)"."""
        self._process.join(timeout=_MAX_SECONDS_TO_EXIT)
        exit_code = self._process.exitcode
        if exit_code is not None and exit_code < 0:
            signal_name = signal.Signals(-exit_code).name
            hint = "; is there enough memory?" if signal_name == "SIGKILL" else ""
            return f"its process was ended by {signal_name}{hint}"
        return f"its process ended (exit code {exit_code})"

    def seconds_to_first_step(self) -> float:
        """Train one step; return the seconds from the process's start to the end of the step."""
        self.ask("train", 1)
        return time.perf_counter() - self._start_time


def _descendant_processes(process_id: int) -> list[psutil.Process]:
    """Return all processes that a process started, directly or not; [] if it has ended."""
    try:
        return psutil.Process(process_id).children(recursive=True)
    except psutil.Error:
        return []


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Make processes that the block starts ignore Ctrl-C from their first moment on.

    A terminal sends SIGINT to all processes of the benchmark. Only the main process may react, and
    it kills the others. So SIGINT is blocked during the `with` block, and new processes keep it
    blocked. A SIGINT that came meanwhile reaches the main process when the `with` block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    _start_resource_tracker()  # before the signal is blocked, because starting it unblocks SIGINT
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def _start_resource_tracker() -> None:
    """Start Python's resource tracker with its warnings turned off.

    A contestant that is killed leaves semaphores of PyTorch's compiler behind. The tracker removes
    them when the benchmark ends, and would print a warning for each.
    """
    previous_options = list(sys.warnoptions)
    # The tracker inherits this option.
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = previous_options


def _answer_method_calls(
    connection: Connection, implementation: str, work: Work, environment: dict[str, str]
) -> None:
    """Answer method calls in a contestant's own process until the main process closes `connection`.

    Each answer is a pair: an error message or None, and the method's result.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows, SIGINT is not blocked yet
    threading.Thread(target=_exit_with_main_process, daemon=True).start()
    os.environ |= environment
    training = None
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if training is None:
                training = _create_training(implementation, work)
            if method == "peak_memory":
                result = training.peak_memory() or peak_memory()
            else:
                result = getattr(training, method)(*arguments)
            answer: tuple[str | None, Any] = (None, result)
        except Exception as error:  # sent to the main process, which raises `ContestantError`
            known_failure = as_one_line_error(error)
            unknown_failure = f"{type(error).__name__}: {first_line(error)}"
            answer = (str(known_failure or unknown_failure), None)
        try:
            connection.send(answer)
        except OSError:  # the main process has closed the connection
            return


def _exit_with_main_process() -> None:
    """Wait for the end of the main process, then end this process, even in the middle of a step."""
    main_process = multiprocessing.parent_process()
    assert main_process is not None  # this process was started by `ContestantProcess`
    main_process.join()
    os._exit(1)


def _create_training(implementation: str, work: Work) -> Any:
    """Return an object that trains and evaluates the network with an implementation.

    PyTorch or JAX is imported only here, so that each process imports what it needs.
    """
    if implementation in _TORCH_COMPILE_MODES:
        from jaxcifar.bench.torch_peer import TorchTraining

        return TorchTraining(work, _TORCH_COMPILE_MODES[implementation])
    from jaxcifar.bench.jaxcifar_training import JaxcifarTraining
    from jaxcifar.bench.plain_flax import PlainFlaxTraining
    from jaxcifar.machine.jax_settings import use_package_settings

    use_package_settings()
    return JaxcifarTraining(work) if implementation == "jaxcifar" else PlainFlaxTraining(work)
