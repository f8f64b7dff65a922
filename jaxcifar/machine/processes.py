"""Several processes that train one run together: all do the same, and the first one writes.

Each has devices of its own, on this machine or on others, and JAX makes one mesh of them all. What
the processes do must not depend on what only one of them knows, such as its clock: they agree.
"""

import contextlib
import ctypes
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcifar.errors import RunError, UsageError, first_line

_HEARTBEAT_SECONDS = 20  # a process that is silent for longer is given up, and all others with it


def join(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Find the other processes; to be called before JAX computes anything.

    Args:
      coordinator: "HOST:PORT" of process 0; None to ask the cluster that this runs on, if it is one
        that JAX knows (Slurm, Open MPI, a TPU pod, Kubernetes).
      processes: how many there are; 1 is this one alone.
      process_id: this one's number.

    Raises:
      UsageError: the three don't make sense together.
      RunError: the others can't be reached.
    """
    if processes == 1:
        return
    if coordinator is None and (processes, process_id) != (None, None):
        raise UsageError("--processes and --process-id: need --coordinator HOST:PORT too")
    if coordinator is not None:
        if processes is None or process_id is None:
            raise UsageError("--coordinator: needs --processes and --process-id too")
        if not 0 <= process_id < processes:
            raise UsageError(f"--process-id {process_id}: must be in 0 to {processes - 1}")
        address = re.fullmatch(r"\S+:(\d{1,5})", coordinator)
        if not address or not 1 <= int(address[1]) < 2**16:
            raise UsageError(
                f"--coordinator {coordinator}: must be HOST:PORT with a port from 1 to 65535"
            )
    before = _threads()
    try:
        jax.distributed.initialize(
            coordinator, processes, process_id, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS
        )
    except Exception as error:
        if coordinator is None and isinstance(error, ValueError):
            return  # no cluster that JAX knows
        raise RunError(
            f"the other processes can't be reached ({first_line(error)}); --processes 1 trains "
            "without them"
        ) from error
    _tell_of_lost_ones_at_aborts(_threads() - before)


def first() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def agree(*wishes: bool) -> list[bool]:
    """Which of some wishes any process has."""
    if jax.process_count() == 1:
        return list(wishes)
    return multihost_utils.process_allgather(np.asarray(wishes)).any(0).tolist()


def wait(name: str) -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


@contextlib.contextmanager
def after_the_first() -> Iterator[None]:
    """Let the first process do something before the others do it too."""
    if not first():
        wait("after the first")
    yield
    if first():
        wait("after the first")


@contextlib.contextmanager
def telling_of_lost_ones() -> Iterator[None]:
    """Tell in one line that another process is gone.

    Raises:
      RunError: in place of whatever comes of it.
    """
    try:
        yield
    except Exception as error:
        line = first_line(error)
        lost = any(word in line for word in ("Gloo", "NCCL", "UNAVAILABLE", "oordination"))
        if jax.process_count() == 1 or not lost or isinstance(error, RunError):
            raise
        raise RunError(_LOST) from error


_LOST = (
    "another process ended or can't be reached: see what it said, then start all of them again to "
    "go on from the newest checkpoint"
)


_watching: set[int] = set()  # the threads that watch the other processes


def _threads() -> set[int]:
    """The threads of this process, by the system's numbers; none where it does not tell them."""
    tasks = Path("/proc/self/task")
    return {int(task.name) for task in tasks.iterdir()} if tasks.is_dir() else set()


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _on_abort(number: int) -> None:
    if threading.get_native_id() in _watching:
        os.write(2, f"error: {_LOST}\n".encode())
        os._exit(1)
    # Else it is something else, which was told: return, and the abort goes on as it would have.


def _tell_of_lost_ones_at_aborts(watching: set[int]) -> None:
    """Have the last word when JAX aborts this process because another one is lost.

    It does so in one of the threads that it began to watch the others with, which Python's signal
    handlers would not survive. What aborts in any other thread (a failed assertion of XLA, say)
    has nothing to do with them.
    """
    if not watching:
        return  # not on Linux: there JAX's own words are the last
    _watching.update(watching)
    ctypes.CDLL(None).signal(signal.SIGABRT, _on_abort)
