"""Processes find each other before JAX connects them, or say why not; here each is a thread."""

import contextlib
import socket
import threading
import time

import msgspec
import pytest

from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine import meeting
from jaxcifar.machine.meeting import meet
from jaxcifar.machine.member import Member

SETTINGS = {"jax": "1.0"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    for name, seconds in {"_RETRY": 0.02, "_LINE": 0.5, "_NEIGHBOUR": 0.5}.items():
        monkeypatch.setattr(meeting, f"{name}_SECONDS", seconds)


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def member(number, count=2, **settings):
    return Member(number, count, SETTINGS | settings)


def met(*members, address=None, wait=30.0, between=0.05):
    """Let processes come one after the other; returns the error of each, and what each has said."""
    address, errors, lines = address or free_address(), {}, {}

    def come(place, process):
        lines[place] = []
        try:
            meet(address, process, lines[place].append, wait, silence_seconds=0.1)
        except Exception as error:
            errors[place] = error

    threads = []
    for place, process in enumerate(members):
        threads.append(threading.Thread(target=come, args=(place, process)))
        threads[-1].start()
        time.sleep(between)
    for thread in threads:
        thread.join()
    return [errors.get(place) for place in range(len(members))], list(lines.values())


def assert_all_say(errors, kind, *words):
    """All processes must end with the same error."""
    assert {type(error) for error in errors} == {kind}
    [message] = {str(error) for error in errors}
    for word in words:
        assert word in message


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (2, 0, 3, 1)])
def test_all_begin_whoever_comes_first(numbers):
    errors, lines = met(*[member(number, len(numbers)) for number in numbers])
    assert errors == [None] * len(numbers)
    for [first, *_] in lines:
        assert "waiting up to 30 s for all" in first
    address = free_address()
    assert met(member(0), member(1), address=address)[0] == [None, None]
    socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))).close()  # JAX's, then


def test_whoever_does_not_come_is_named_by_those_who_wait():
    errors, lines = met(member(0, 4), member(2, 4), wait=1.0)
    assert_all_say(errors, RunError, "waited 1 s for process 1, 3 of 4", "--processes 1")
    assert any("process 1, 3 of 4" in line and "so far" in line for line in lines[0])
    assert any("other than process 0" in line for line in lines[1])
    errors, lines = met(member(1), wait=0.5)
    assert_all_say(errors, RunError, "waited 0 s for process 0 at 127.0.0.1", "Connection refused")
    assert any("waiting for process 0" in line and "so far" in line for line in lines[0])


def test_a_process_that_leaves_may_come_again():
    address = free_address()

    def visit_and_leave():
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as visit:
            visit.sendall(msgspec.json.encode(member(1, 3)) + b"\n")
            time.sleep(0.2)

    threading.Thread(target=visit_and_leave).start()
    errors, _ = met(member(0, 3), member(1, 3), member(2, 3), address=address, between=1.0)
    assert errors == [None, None, None]


def test_processes_that_do_not_fit_together_all_say_why():
    errors, _ = met(member(0, 3), member(1, 3), member(1, 3))
    assert_all_say(errors, UsageError, "--process-id 1: two processes", "from 0 to 2")
    errors, _ = met(member(0), member(0))
    assert_all_say(errors, UsageError, "--process-id 0: two processes", "from 0 to 1")
    errors, _ = met(member(0), member(2, 3))
    assert_all_say(errors, UsageError, "--processes is 2 in process 0 and 3 in process 2")
    errors, _ = met(member(0), member(1, code="abc"))
    assert_all_say(errors, UsageError, "code is None in process 0 and abc in process 1")
    errors, _ = met(member(0), member(1, jax="1.1"))
    assert_all_say(errors, UsageError, "jax is 1.0 in process 0 and 1.1 in process 1")


def test_a_wrong_address_is_reported_at_once():
    began = time.monotonic()
    [error], _ = met(member(1), address="no-such-host.invalid:1234")
    assert_all_say([error], UsageError, "--coordinator no-such-host.invalid:1234", "can't be found")
    [error], _ = met(member(0), address=f"192.0.2.1:{free_address().rpartition(':')[2]}", wait=2)
    # Some networks answer that no machine has this address, others drop what is sent there.
    assert isinstance(error, UsageError | RunError)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        [error], _ = met(member(0), address=address)
        assert_all_say([error], UsageError, "can't listen at port", "choose another port")
    assert time.monotonic() - began < 20


def test_strangers_neither_end_the_meeting_nor_are_taken_for_process_0():
    address = free_address()
    port = int(address.rpartition(":")[2])
    sent = (b"GET / HTTP/1.1\r\n\r\n", b"x" * 2**20, b'{"number": "1"}\n', b"[" * 5000, b"")

    def talk():
        time.sleep(0.2)
        for content in sent:
            visit = socket.create_connection(("127.0.0.1", port))
            with visit, contextlib.suppress(OSError):
                visit.sendall(content)

    threading.Thread(target=talk).start()
    errors, _ = met(member(0), member(1), address=address, between=1.0)
    assert errors == [None, None]
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = other.accept()
                    with connection:
                        connection.recv(2**16)  # unread bytes would reset the connection
                        connection.sendall(b"220 mail.example.org\n")

        threading.Thread(target=answer, daemon=True).start()
        [error], _ = met(member(1), address=f"127.0.0.1:{other.getsockname()[1]}", wait=1.0)
        other.shutdown(socket.SHUT_RDWR)
    assert_all_say([error], RunError, "the program that answers there is not a waiting process 0")
