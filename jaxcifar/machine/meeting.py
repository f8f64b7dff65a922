"""The meeting of processes that train one run together, before JAX connects them.

If a process is missing, two have the same number or the port is in use, JAX aborts with a stack of
its C++ code. So the processes meet here first. Process 0 listens at the coordinator's address. Each
process, process 0 too, sends a line with its settings there. Process 0 answers all at once: either
all begin, or all end with the same error.
"""

import asyncio
import contextlib
import os
import re
import socket
import time
from typing import Any

import msgspec

from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.member import Member, describe_different_settings
from jaxcifar.machine.terminal import SILENCE_SECONDS, PrintLine, duration, print_after_silence

WAIT_SECONDS = 300.0  # people start the processes by hand, on one machine after the other
_RETRY_SECONDS = 0.5
_NEIGHBOUR_SECONDS = 2.0  # time for another process 0 on this machine to answer
_LINE_SECONDS = 10.0  # time for a process to send its line, and to read the answer
_MAX_LINE_BYTES = 2**16


class _Answer(msgspec.Struct, frozen=True):
    """The answer of process 0: all processes may begin, or all end with the same error.

    Attributes:
      error: the error's message; None if all processes may begin.
      is_usage_error: True for a `UsageError`, False for a `RunError`.
    """

    error: str | None
    is_usage_error: bool = False

    def raise_if_refused(self) -> None:
        if self.error is not None:
            error_type = UsageError if self.is_usage_error else RunError
            raise error_type(self.error)


def split_address(coordinator: str) -> tuple[str, int]:
    """Return the host and the port of an address of the form "HOST:PORT".

    Raises:
      UsageError: `coordinator` has another form, or the port is out of range.
    """
    address = re.fullmatch(r"(?P<host>\S+):(?P<port>\d{1,5})", coordinator)
    if not address or not 1 <= int(address["port"]) < 2**16:
        raise UsageError(
            f"--coordinator {coordinator}: must be HOST:PORT with a port from 1 to 65535"
        )
    host = address["host"].strip("[]")  # IPv6 addresses have brackets
    return host, int(address["port"])


def meet(
    coordinator: str,
    member: Member,
    print_line: PrintLine,
    wait_seconds: float = WAIT_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
) -> None:
    """Wait until all processes of a run have met at the address of process 0.

    Args:
      coordinator: "HOST:PORT" of process 0.
      member: this process.
      print_line: prints a line that names the missing processes.
      wait_seconds: maximum seconds to wait.
      silence_seconds: seconds between two printed lines about missing processes.

    Raises:
      UsageError: the address is wrong, or the processes have different settings.
      RunError: a process is still missing after `wait_seconds`.
    """
    host, port = split_address(coordinator)
    time_limit = duration(wait_seconds)
    print_line(f"waiting up to {time_limit} for all {member.count} processes, at {coordinator}")
    participant_type = _Host if member.number == 0 else _Guest
    participant = participant_type(member, coordinator, host, port)
    began = time.monotonic()

    def status() -> str:
        elapsed = duration(time.monotonic() - began)
        return f"waiting for {participant.describe_missing()}, {elapsed} so far"

    with print_after_silence(print_line, status, silence_seconds):
        answer = asyncio.run(participant.attend(wait_seconds))
    answer.raise_if_refused()


class _Guest:
    """A process that connects to process 0 of its run and waits for the answer of process 0."""

    def __init__(self, member: Member, coordinator: str, host: str, port: int) -> None:
        self._member = member
        self._coordinator = coordinator
        self._host, self._port = host, port
        self._problem: str | None = "no answer"  # why process 0 can't be reached; None if it can

    def describe_missing(self) -> str:
        """Describe, for a message, the processes that have not connected yet."""
        if self._problem is None:
            return f"processes other than process 0 (at {self._coordinator})"
        hint = "was one started with --process-id 0?"
        return f"process 0 at {self._coordinator} ({self._problem}; {hint})"

    async def attend(self, wait_seconds: float) -> _Answer:
        """Return the answer of process 0, or an error after `wait_seconds` without an answer.

        Raises:
          UsageError: the coordinator's address is wrong.
        """
        try:
            return await asyncio.wait_for(self._visit(), wait_seconds)
        except TimeoutError:
            return _Answer(
                f"waited {duration(wait_seconds)} for {self.describe_missing()}; start all "
                "processes within that time, or one alone with --processes 1"
            )

    async def _visit(self) -> _Answer:
        """Connect to process 0, again and again until it answers; return the answer."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
                with contextlib.closing(writer):
                    writer.write(msgspec.json.encode(self._member) + b"\n")
                    self._problem = None
                    return msgspec.json.decode(await reader.readline(), type=_Answer)
            except socket.gaierror as error:
                raise UsageError(
                    f"--coordinator {self._coordinator}: the host can't be found "
                    f"({error.strerror}); check its name"
                ) from error
            except OSError as error:
                self._handle_failure(os.strerror(error.errno) if error.errno else first_line(error))
            except ValueError:
                self._handle_failure("the program that answers there is not a waiting process 0")
            await asyncio.sleep(_RETRY_SECONDS)

    def _handle_failure(self, problem: str) -> None:
        self._problem = problem


class _Host(_Guest):
    """Process 0, which receives all processes and connects to itself like any other."""

    def __init__(self, member: Member, coordinator: str, host: str, port: int) -> None:
        super().__init__(member, coordinator, host, port)
        self._present_numbers: set[int] = set()  # numbers of the processes that have come
        self._visit_tasks: set[asyncio.Task[Any]] = set()
        self._answer: asyncio.Future[_Answer]

    def describe_missing(self) -> str:
        count = self._member.count
        missing_numbers = sorted({*range(count)} - self._present_numbers)
        return f"process {', '.join(map(str, missing_numbers))} of {count} at {self._coordinator}"

    async def attend(self, wait_seconds: float) -> _Answer:
        """Wait for all processes, up to `wait_seconds`; send an answer to all, and return it.

        Raises:
          UsageError: the coordinator's address is wrong.
        """
        self._answer = asyncio.get_running_loop().create_future()
        try:
            listener = self._open_listening_socket()
        except UsageError:
            # If another process 0 holds the port, visiting it ends both with the same error.
            guest = _Guest(self._member, self._coordinator, self._host, self._port)
            answer = await guest.attend(_NEIGHBOUR_SECONDS)
            if answer.is_usage_error:
                return answer
            raise
        server = await asyncio.start_server(self._receive, sock=listener, limit=_MAX_LINE_BYTES)
        try:
            answer = await super().attend(wait_seconds)
            self._set_answer(answer)
            if self._visit_tasks:
                await asyncio.wait(self._visit_tasks, timeout=_LINE_SECONDS)
        finally:
            server.close()
        return answer

    def _open_listening_socket(self) -> socket.socket:
        """Return a socket that listens at the coordinator's port, so that no other process can."""
        dual_stack = socket.has_dualstack_ipv6()  # IPv4 and IPv6 in one socket
        family = socket.AF_INET6 if dual_stack else socket.AF_INET
        try:
            return socket.create_server(("", self._port), family=family, dualstack_ipv6=dual_stack)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else first_line(error)
            raise UsageError(
                f"--coordinator {self._coordinator}: process 0 can't listen at port {self._port} "
                f"({reason}); end another process 0 on this machine, or choose another port"
            ) from error

    def _handle_failure(self, problem: str) -> None:
        raise UsageError(
            f"--coordinator {self._coordinator}: is not an address of this machine, where process "
            f"0 runs ({problem}); give all processes the address of process 0"
        )

    def _set_answer(self, answer: _Answer) -> None:
        """Set the answer for all processes, unless an answer is set already."""
        if not self._answer.done():
            self._answer.set_result(answer)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connected process until it has read the answer or closes the connection."""
        visit = asyncio.current_task()
        assert visit is not None  # asyncio runs this method as a task
        self._visit_tasks.add(visit)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                line = await asyncio.wait_for(reader.readline(), _LINE_SECONDS)
                member = msgspec.json.decode(line, type=Member)
            except (ValueError, TimeoutError):
                return  # another program has connected
            conflict = self._conflict_with_others(member)
            if conflict is None:
                self._present_numbers.add(member.number)
            else:
                self._set_answer(_Answer(conflict, is_usage_error=True))
            if len(self._present_numbers) == self._member.count:
                self._set_answer(_Answer(error=None))
            disconnected = asyncio.ensure_future(reader.read())
            events: set[asyncio.Future[Any]] = {disconnected, self._answer}
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if self._answer.done():
                writer.write(msgspec.json.encode(self._answer.result()) + b"\n")
                await disconnected  # closing the connection earlier might lose the answer
            else:
                self._present_numbers.discard(member.number)

    def _conflict_with_others(self, member: Member) -> str | None:
        """Return why a process can't train with the connected processes; None if it can."""
        number, last_number = member.number, self._member.count - 1
        reason = describe_different_settings(self._member.all_settings, member.all_settings, number)
        if reason is None and number in self._present_numbers:
            problem = f"--process-id {number}: two processes have this number"
            return f"{problem}; give each process another number, from 0 to {last_number}"
        return reason
