"""A contestant of the bench in a process of its own, where nothing of another's is in the way."""

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from typing import Any, Self

from jaxcifar.bench.work import Work
from jaxcifar.errors import RunError, first_line
from jaxcifar.machine.system import peak_memory

_TORCH_FORMS = {
    "torch": "nchw",
    "torch channels_last": "channels_last",
    "torch compiled": "compiled",
}
IMPLEMENTATIONS = ("jaxcifar", "plain flax", *_TORCH_FORMS)


class Contestant:
    """Does its work when it is asked to, in a process that it holds as long as it is open.

    Attributes:
      name: one of `IMPLEMENTATIONS`.
      work: what it does.
    """

    def __init__(self, name: str, work: Work, environment: dict[str, str] | None = None) -> None:
        self.name, self.work = name, work
        self._began = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, name, work, environment or {})
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(timeout=30)
        self._process.kill()

    def ask(self, method: str, *arguments: Any) -> Any:
        """What a method of the contestant returns.

        Raises:
          RunError: it failed, or its process ended.
        """
        try:
            self._connection.send((method, arguments))
            failure, value = self._connection.recv()
        except (EOFError, OSError):
            failure, value = "its process ended", None
        if failure:
            raise RunError(f"{self.name} ({self.work.arch}, {self.work.dtype}): {failure}")
        return value

    def seconds_to_first_step(self) -> float:
        """From the start of the process to the end of its first training step."""
        self.ask("train", 1)
        return time.perf_counter() - self._began


def _serve(connection: Connection, name: str, work: Work, environment: dict[str, str]) -> None:
    os.environ |= environment
    contestant = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            contestant = contestant or _create(name, work)
            if method == "peak_memory":
                value = contestant.peak_memory() or peak_memory()
            else:
                value = getattr(contestant, method)(*arguments)
            connection.send((None, value))
        except Exception as error:  # told to whoever asked
            connection.send((f"{type(error).__name__}: {first_line(error)}", None))


def _create(name: str, work: Work) -> Any:
    if name in _TORCH_FORMS:
        from jaxcifar.bench.torch_peer import TorchPeer

        return TorchPeer(work, _TORCH_FORMS[name])
    from jaxcifar.bench.ours import Ours, PlainFlax

    return Ours(work) if name == "jaxcifar" else PlainFlax(work)
