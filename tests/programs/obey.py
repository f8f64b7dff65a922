"""Run commands in this process, one after the other, as lines ask for them.

Such a line is `[name, [arguments], folder, env]`, where `env` changes variables of the environment
for this command; null takes one away.

The answer to each, a line too, has its exit code, what it printed, how long it took and how much
memory the process had at most. What ends the process ends the conversation.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

# Bytes that a command may take beyond those of the process before it. Memory is counted, and not
# addresses: how many of those a library takes that is loaded meanwhile differs between machines.
_BEYOND = 3 * 2**30
_SHOWN = 20_000


def code_of(name, arguments):
    """The exit code of a command, with which `run_command` would end the process."""
    from jaxcifar.commands.shared.cli import exit_code_of

    try:
        return exit_code_of(
            lambda: importlib.import_module(f"jaxcifar.commands.{name}").main(arguments)
        )
    except BaseException:
        traceback.print_exc()
        return "traceback"


@contextlib.contextmanager
def printing_to(folder):
    """What is printed meanwhile, by C too, goes to two files."""
    kept = {number: os.dup(number) for number in (1, 2)}
    with (folder / "out").open("w+b") as out, (folder / "err").open("w+b") as err:
        try:
            for number, file in ((1, out), (2, err)):
                os.dup2(file.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in kept.items():
                os.dup2(descriptor, number)
                os.close(descriptor)


@contextlib.contextmanager
def environment(changes):
    """Variables are set or taken away, and afterwards are what they were."""
    before = dict(os.environ)
    try:
        for name, value in changes.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def status(field):
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if field in line]
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def limited():
    """A command that takes far too much memory fails; the peak of it is counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + _BEYOND, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def main():
    # Before a command computes anything: whichever comes first would settle it for all of them.
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    scratch = Path(tempfile.mkdtemp())
    for line in requests:
        name, arguments, folder, changes = json.loads(line)
        os.chdir(folder)
        began, memory = time.perf_counter(), status("VmRSS")
        with printing_to(scratch), limited(), environment(changes):
            code = code_of(name, arguments)
        texts = {
            stream: (scratch / stream).read_bytes()[:_SHOWN].decode(errors="replace")
            for stream in ("out", "err")
        }
        seconds = time.perf_counter() - began
        answer = {"code": code, "seconds": seconds, "before": memory, "peak": status("VmHWM")}
        print(json.dumps(answer | texts), file=answers, flush=True)


if __name__ == "__main__":
    main()
