"""Programs that are forked from a process that has imported what they need.

They start in a moment, and are used like those of `subprocess.Popen`.
"""

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from programs.fork_server import ANSWER_BYTES

ROOT = Path(__file__).resolve().parent.parent
# Python, JAX and the C library read such variables when they start: a fork would ignore changes.
_READ_AT_START = ("JAX_", "LD_", "MALLOC_", "GLIBC_", "PYTHON", "MPL")
_FOLDER = tempfile.TemporaryDirectory()
_SERVERS = []


class Forked:
    """A program that runs in a process of its own, with the methods of `Popen` that tests need."""

    def __init__(self, module, arguments, environment):
        self.args = [module, *arguments]
        self.returncode = None
        self._folder = Path(tempfile.mkdtemp(dir=_FOLDER.name))
        request = {
            "module": module,
            "arguments": arguments,
            "folder": str(ROOT),
            "environment": environment,
        }
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(_server_address())
        with self._output_file.open("w") as output, self._error_file.open("w") as errors:
            files = [output.fileno(), errors.fileno()]
            socket.send_fds(self._connection, [json.dumps(request).encode()], files)
        self.pid = self._answer()

    @property
    def _output_file(self):
        return self._folder / "output"

    @property
    def _error_file(self):
        return self._folder / "errors"

    def _answer(self):
        answer = self._connection.recv(ANSWER_BYTES)
        assert answer, "the server of forked programs has ended"
        return int.from_bytes(answer, "big")

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            has_ended, _, _ = select.select([self._connection], [], [], timeout)
            if not has_ended:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = os.waitstatus_to_exitcode(self._answer())
            self._connection.close()
        return self.returncode

    def communicate(self, timeout=None):
        self.wait(timeout)
        return self._output_file.read_text(), self._error_file.read_text()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def can_be_forked(environment):
    """Whether a program may be forked: the server started with the variables read at a start."""
    is_tested_there = sys.platform == "linux"
    return is_tested_there and _read_at_start(environment) == _read_at_start(_environment())


def _read_at_start(environment):
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


@functools.cache
def _environment():
    """The variables with which the server starts."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests")}


@functools.cache
def _server_address():
    """Start the server of this process, and return the address of its socket."""
    address = str(Path(_FOLDER.name) / "socket")
    server = subprocess.Popen(
        [sys.executable, "-m", "programs.fork_server", address],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    _SERVERS.append(server)  # with this list, the server's input is closed, and it ends
    deadline = time.monotonic() + 120
    while not Path(address).exists():
        assert server.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return address
