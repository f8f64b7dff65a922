"""The function of a cluster's job: runs a command, and stops it before the job's time is over."""

import json
import os
import pickle
import signal
import sys
import threading
import time
from importlib.util import find_spec

import pytest

from jaxcifar.errors import RunError
from jaxcifar.machine.command_job import CommandJob

needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="Windows has no SIGUSR2")
pytestmark = needs_signals
needs_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is missing")

TELL = """
import json, os, signal, sys
ignored = signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN
print(json.dumps([sys.argv[1:], os.getcwd(), ignored]), file=open("told", "w"))
"""
SAVE_WHEN_STOPPED = """
import signal, sys, time

def save(*_):
    open("saved", "w").close()
    sys.exit(130)

signal.signal(signal.SIGTERM, save)
open("begun", "w").close()
time.sleep(60)
"""


def job(folder, program, *words, again=()):
    return CommandJob((sys.executable, "-c", program, *words), tuple(again), str(folder))


def test_no_shell_reads_the_words_and_the_time_signal_does_not_end_the_command(tmp_path):
    words = ["a b", "$HOME", "; touch broken", "*"]
    before = signal.getsignal(signal.SIGUSR2)
    pickle.loads(pickle.dumps(job(tmp_path, TELL, *words)))()
    output = json.loads((tmp_path / "told").read_text())
    assert output == [words, os.path.realpath(tmp_path), True]
    assert signal.getsignal(signal.SIGUSR2) == before


def test_a_command_that_fails_makes_the_job_fail(tmp_path):
    with pytest.raises(RunError, match="exit code 3"):
        job(tmp_path, "raise SystemExit(3)")()


@needs_submitit
def test_before_a_job_is_queued_again_its_preparation_is_called_once(tmp_path):
    calls = []
    mine = CommandJob(("first",), ("next",), str(tmp_path), lambda: calls.append("prepared"))
    next_job = mine.checkpoint().function
    assert calls == ["prepared"]
    assert next_job == CommandJob(("next",), ("next",), str(tmp_path))


class TimeIsOver(Exception):
    pass


@needs_submitit
def test_before_the_time_is_over_the_command_saves_and_the_next_command_is_returned(tmp_path):
    mine = job(tmp_path, SAVE_WHEN_STOPPED, again=("next", "one"))
    returned = []

    def when_warned(*_):
        returned.append(mine.checkpoint())
        raise TimeIsOver

    def warn():
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, when_warned)
    threading.Thread(target=warn, daemon=True).start()
    try:
        with pytest.raises(TimeIsOver):
            mine()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (tmp_path / "saved").exists()
    [again] = returned
    assert again.function == CommandJob(("next", "one"), ("next", "one"), str(tmp_path))
