"""The meeting of processes that train one run together, before JAX connects them.

If a process is missing, if two have the same number or if the port is in use, JAX aborts and prints
a stack of its C++ code. So the processes meet here first. Process 0 listens at the coordinator's
address. Each process, process 0 too, sends a line there that says which process it is. Process 0
answers all of them at once: begin, or why not.
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
from jaxcifar.machine.member import Member, differences
from jaxcifar.machine.terminal import SILENCE_SECONDS, PrintLine, duration, report_in_silence

WAIT_SECONDS = 300.0  # people start the processes by hand, on one machine after the other
_RETRY_SECONDS = 0.5
_NEIGHBOUR_SECONDS = 2.0  # that another process 0 on this machine may take to answer
_LINE_SECONDS = 10.0  # that a process may take to send its line, and to read the answer
_MOST_BYTES = 2**16  # of a line


class _Answer(msgspec.Struct, frozen=True):
    """The answer of process 0: all may begin, or the error that ends all of them.

    Attributes:
      error: the message; None if all may begin.
      by_usage: whether it is a `UsageError`, else a `RunError`.
    """

    error: str | None
    by_usage: bool = False

    def raise_error(self) -> None:
        if self.error is not None:
            raise UsageError(self.error) if self.by_usage else RunError(self.error)


def split_address(coordinator: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT".

    Raises:
      UsageError: it is something else.
    """
    address = re.fullmatch(r"(\S+):(\d{1,5})", coordinator)
    if not address or not 1 <= int(address[2]) < 2**16:
        raise UsageError(
            f"--coordinator {coordinator}: must be HOST:PORT with a port from 1 to 65535"
        )
    return address[1].strip("[]"), int(address[2])  # an IPv6 address stands in brackets


def meet(
    coordinator: str,
    member: Member,
    say: PrintLine,
    wait: float = WAIT_SECONDS,
    silence: float = SILENCE_SECONDS,
) -> None:
    """Wait until all processes are present at the coordinator's address.

    Args:
      coordinator: "HOST:PORT" of process 0.
      member: this process.
      say: prints which processes are missing.
      wait: seconds to wait at most.
      silence: seconds between two such lines.

    Raises:
      UsageError: the address is wrong, or the processes do not fit together.
      RunError: a process is still missing after `wait` seconds.
    """
    address = split_address(coordinator)
    say(f"waiting up to {duration(wait)} for all {member.count} processes, at {coordinator}")
    kind = _Host if member.number == 0 else _Guest
    part, began = kind(member, coordinator, *address), time.monotonic()

    def status() -> str:
        return f"waiting for {part.missing()}, {duration(time.monotonic() - began)} so far"

    with report_in_silence(say, status, silence):
        answer = asyncio.run(part.attend(wait))
    answer.raise_error()


class _Guest:
    """A process's part in the meeting: it visits process 0 until it is answered."""

    def __init__(self, member: Member, coordinator: str, host: str, port: int) -> None:
        self._member = member
        self._address = coordinator, host, port
        self._coordinator, self._host, self._port = self._address
        self._problem: str | None = "no answer"  # why process 0 was not found

    def missing(self) -> str:
        """Which processes are waited for."""
        if self._problem is None:
            return f"processes other than process 0 (at {self._coordinator})"
        hint = "was one started with --process-id 0?"
        return f"process 0 at {self._coordinator} ({self._problem}; {hint})"

    async def attend(self, wait: float) -> _Answer:
        """Return the answer that ends the meeting.

        Raises:
          UsageError: the address is wrong.
        """
        try:
            return await asyncio.wait_for(self._visit(), wait)
        except TimeoutError:
            return self._too_late(wait)

    def _too_late(self, wait: float) -> _Answer:
        return _Answer(
            f"waited {duration(wait)} for {self.missing()}; start all processes within that time, "
            "or one alone with --processes 1"
        )

    async def _visit(self) -> _Answer:
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
                with contextlib.closing(writer):
                    writer.write(msgspec.json.encode(self._member) + b"\n")
                    self._problem = None
                    return msgspec.json.decode(await reader.readline(), type=_Answer)
            except socket.gaierror as error:
                raise UsageError(
                    f"--coordinator {self._coordinator}: the host can't be found ({error.strerror})"
                ) from error
            except OSError as error:
                self._not_found(os.strerror(error.errno) if error.errno else first_line(error))
            except ValueError:
                self._not_found("the program that answers there is not a waiting process 0")
            await asyncio.sleep(_RETRY_SECONDS)

    def _not_found(self, problem: str) -> None:
        self._problem = problem


class _Host(_Guest):
    """The part of process 0, which also receives all processes, itself among them."""

    def __init__(self, member: Member, coordinator: str, host: str, port: int) -> None:
        super().__init__(member, coordinator, host, port)
        self._here: set[int] = set()  # numbers of the processes that have come
        self._visits: set[asyncio.Task[Any]] = set()
        self._answer: asyncio.Future[_Answer]

    def missing(self) -> str:
        """Which processes are waited for."""
        absent = [str(number) for number in range(self._member.count) if number not in self._here]
        return f"process {', '.join(absent)} of {self._member.count} at {self._coordinator}"

    async def attend(self, wait: float) -> _Answer:
        """Return the answer that ends the meeting, once all who have come have read it.

        Raises:
          UsageError: the address is wrong.
        """
        self._answer = asyncio.get_running_loop().create_future()
        try:
            listening = self._listening()
        except UsageError:
            # If another process 0 waits there, let it know that there are two.
            answer = await _Guest(self._member, *self._address).attend(_NEIGHBOUR_SECONDS)
            if answer.by_usage:
                return answer
            raise
        server = await asyncio.start_server(self._receive, sock=listening, limit=_MOST_BYTES)
        try:
            answer = await super().attend(wait)
            self._end(answer)
            if self._visits:
                await asyncio.wait(self._visits, timeout=_LINE_SECONDS)
        finally:
            server.close()
        return answer

    def _listening(self) -> socket.socket:
        """Return a socket at a port that nobody else has; JAX's own would share the port."""
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            return socket.create_server(("", self._port), family=family, dualstack_ipv6=both)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else first_line(error)
            raise UsageError(
                f"--coordinator {self._coordinator}: process 0 can't listen at port {self._port} "
                f"({reason}); is another process 0 at work here? Else choose another port"
            ) from error

    def _not_found(self, problem: str) -> None:
        raise UsageError(
            f"--coordinator {self._coordinator}: is not an address of this machine, where process "
            f"0 runs ({problem})"
        )

    def _end(self, answer: _Answer) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a visit until the visitor leaves, or is answered."""
        visit = asyncio.current_task()
        assert visit is not None  # asyncio runs this method as a task
        self._visits.add(visit)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                line = await asyncio.wait_for(reader.readline(), _LINE_SECONDS)
                member = msgspec.json.decode(line, type=Member)
            except (ValueError, TimeoutError):
                return  # a stranger
            objection = self._objection(member)
            if objection:
                self._end(_Answer(objection, by_usage=True))
            else:
                self._here.add(member.number)
            if len(self._here) == self._member.count:
                self._end(_Answer(None))
            leaving = asyncio.ensure_future(reader.read())
            either: set[asyncio.Future[Any]] = {leaving, self._answer}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._answer.done():
                writer.write(msgspec.json.encode(self._answer.result()) + b"\n")
                await leaving  # else what was written might be lost
            else:
                self._here.discard(member.number)

    def _objection(self, member: Member) -> str | None:
        """Return why all processes must end now that this one has come; None if they need not."""
        first, number = self._member, member.number
        differing = differences(
            {"--processes": str(first.count), **first.settings},
            {"--processes": str(member.count), **member.settings},
            number,
        )
        if differing is None and number in self._here:
            return (
                f"--process-id {number}: two processes have this number; give each its own, from 0 "
                f"to {first.count - 1}"
            )
        return differing
