"""Interruptions: SIGINT ends a command at any moment, and the second signal ends it at once."""

import contextlib
import gc
import io
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from rich.console import Console

from jaxcifar.machine.interrupt import (
    InterruptGuard,
    block_interrupts,
    stop_signal,
    unblock_interrupts,
)

FAREWELL = "interrupted"


def interrupt():
    signal.raise_signal(signal.SIGINT)


class InterruptedInItsDestructor:
    def __del__(self):
        interrupt()


def in_a_destructor():
    InterruptedInItsDestructor()  # deleted here; Python drops what its destructor raises
    time.sleep(20)


def in_the_garbage_collector():
    def callback(phase, info):
        gc.callbacks.remove(callback)
        interrupt()

    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(20)


def in_a_library_that_makes_another_error_of_it():
    try:
        interrupt()
    except KeyboardInterrupt as error:
        raise ValueError("INTERNAL: CpuCallback error") from error


def in_a_library_that_ignores_it():
    with contextlib.suppress(BaseException):
        interrupt()


@pytest.mark.parametrize(
    "work",
    [
        interrupt,
        in_a_destructor,
        in_the_garbage_collector,
        in_a_library_that_makes_another_error_of_it,
        in_a_library_that_ignores_it,
    ],
)
def test_an_interruption_is_never_lost(work):
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), InterruptGuard(FAREWELL):
        work()
    assert time.monotonic() - began < 15
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_what_is_not_interrupted_ends_as_it_does():
    with InterruptGuard(FAREWELL):
        pass
    with pytest.raises(ValueError, match="mine"), InterruptGuard(FAREWELL):
        raise ValueError("mine")


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_stops(first, second):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    screen = io.StringIO()
    with pytest.raises(KeyboardInterrupt), stop_signal(Console(file=screen)) as stop:
        assert not stop.is_set()
        signal.raise_signal(first)
        assert stop.is_set()
        assert "once more to stop at once" in screen.getvalue()
        signal.raise_signal(second)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def python(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process by SIGINT otherwise")
def test_an_import_that_is_interrupted_ends_the_process(tmp_path):
    """Where a library in C++ might crash if an exception came out of it."""
    (tmp_path / "library.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    code = "from jaxcifar.machine.interrupt import InterruptGuard\n"
    code += f"with InterruptGuard({FAREWELL!r}):\n    import library\n"
    done = python(code, tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (130, f"{FAREWELL}\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process by SIGINT otherwise")
def test_before_a_command_has_begun_it_is_interrupted_in_one_line(tmp_path):
    """`python -m` names itself "-m" while it imports the package, as here."""
    code = "import sys, signal\nsys.argv[0] = '-m'\nimport experiments\n"
    done = python(f"{code}signal.raise_signal(signal.SIGINT)", tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted before anything was done\n")


def test_an_interrupt_that_the_shell_ignores_stays_ignored():
    """As for what a script starts in the background: Ctrl-C is meant for the script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with InterruptGuard(FAREWELL):
            interrupt()
    except KeyboardInterrupt:  # it would end the tests
        pytest.fail("the guard took the interrupt")
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such masks")
def test_a_background_command_that_started_again_can_be_asked_to_stop():
    """Its shell has SIGINT ignored; the handler of a run takes it all the same."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        block_interrupts()
        with InterruptGuard(FAREWELL), stop_signal(Console(file=io.StringIO())) as stop:
            interrupt()
            assert stop.is_set()
    finally:
        unblock_interrupts()
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such masks")
def test_a_signal_that_came_while_a_command_started_again_is_not_lost(tmp_path):
    code = "import signal, time\nfrom jaxcifar.machine import interrupt\n"
    code += "interrupt.block_interrupts()\nsignal.raise_signal(signal.SIGINT)\n"
    code += "try:\n    with interrupt.InterruptGuard(''):\n        time.sleep(20)\n"
    code += "except KeyboardInterrupt:\n    print('interrupted')\n"
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
