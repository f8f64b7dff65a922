"""Fixtures that the tests of several folders share."""

import contextlib
import gc
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import checked_types  # noqa: F401 (before the package itself, whose types it has checked)
import compiler_flags  # noqa: F401 (before the package itself, which adds flags)
import jax
import jax.experimental
import pytest
from forked import Forked, can_be_forked
from hostile.worker import Worker
from matplotlib.figure import Figure
from small import easy_dataset, entry_of, random_records

from jaxcifar.runs import dispatches, picture_cache

ROOT = Path(__file__).resolve().parent.parent
_PROGRAMS = ROOT / ".pytest_cache" / "programs"
_MOST_BYTES_OF_PROGRAMS = 2 * 2**30


def _instructions():
    """Return a digest of the processor's instruction sets, which compiled programs depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]


def _programs_folder():
    """Return the folder of compiled programs, which is emptied when it has grown too large."""
    folder = _PROGRAMS / _instructions()
    size = sum(file.stat().st_size for file in folder.glob("*"))
    if size > _MOST_BYTES_OF_PROGRAMS:
        shutil.rmtree(folder)
    return folder


# A program is compiled once for all tests and all commands that they start, also for the next call
# of pytest: most of the tests' time is compiling. JAX finds a program by its content, its flags and
# the version of XLA. Data sets are prepared once for all workers, which inherit these variables.
_SHARED = tempfile.TemporaryDirectory()
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_programs_folder())
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAXCIFAR_TEST_DATA", str(Path(_SHARED.name) / "tfds"))
# The programs of thousands of tests are millions of objects. Looking through them for garbage after
# every 700 new ones takes a fifteenth of a worker's time.
gc.set_threshold(50_000, 20, 100)

# Files that take half a minute or more, the longest first: begun late, one of them would keep a
# single worker busy at the end.
_LONG = (
    "processes", "parity", "ablation", "your_own", "real", "convert", "train", "adapt", "notebook",
    "hostile", "run", "weights", "conduct", "screen", "parallel_runs",
)  # fmt: skip


_SAVE_FIGURE = Figure.savefig
_digest_of_picture = picture_cache._digest


def _digest_unless_replaced(*arguments):
    """Return no digest while a test replaces `savefig`: what is drawn then is not kept."""
    return _digest_of_picture(*arguments) if Figure.savefig is _SAVE_FIGURE else None


picture_cache._digest = _digest_unless_replaced


def pytest_configure(config):
    # In the background of a script SIGINT is ignored, also by all commands that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Let the workers begin with the long files; the others keep their order."""
    order = {f"test_{name}.py": number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


# jax 0.8 made it public.
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


@pytest.fixture
def tmp_path(tmp_path_factory):
    """In place of pytest's, whose name is the test's.

    Messages name files. A message that is matched against a word of the test's name would have it
    in any case.
    """
    return tmp_path_factory.mktemp("t")


@pytest.fixture(scope="session")
def tiny_records():
    """A few images in the shape of CIFAR-10: 5 x 20 to train, 20 to test."""
    return {"train": random_records(100, 0), "test": random_records(20, 1)}


@pytest.fixture(scope="session")
def tiny_entry(tiny_records):
    """A catalogue entry under which the tiny records pass for CIFAR-10."""
    return entry_of(tiny_records)


@pytest.fixture(scope="session", name="easy_dataset")
def _easy_dataset():
    return easy_dataset()


@pytest.fixture(scope="module")
def step_by_step():
    """Trains a step a dispatch, to be stopped after any."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatches, "_IMAGES_PER_CPU_DISPATCH", 1)
        yield


class StopAfter(threading.Event):
    """Is set once it has been asked a number of times."""

    def __init__(self, times):
        super().__init__()
        self.left = times

    def is_set(self):
        self.left -= 1
        return self.left < 0


def stopped_after(times):
    """In place of `stop_signal`: asks to stop after so many steps."""

    @contextlib.contextmanager
    def stop_signal(console):
        yield StopAfter(times)

    return stop_signal


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB, less than two checkpoints of the small network, and what makes it larger."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    yield (
        tmp_path,
        lambda: subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path)], check=True),
    )
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.fixture(scope="session")
def shapes_dir():
    """A folder with shapes10 prepared."""
    return prepared("shapes10")


def prepared(dataset):
    """A folder with that data set alone, which all workers share and no test changes."""
    folder = str(Path(os.environ["JAXCIFAR_TEST_DATA"]) / dataset)
    done = command("prepare", "--dataset", dataset, "--data-dir", folder)
    assert done.returncode == 0, done.stderr
    return folder


def start(name, *arguments, env=None):
    """Begin a command that trains and prepares what is `small`."""
    return fork_module("small", name, *arguments, env=env)


def start_program(name, *arguments, env=None):
    """Begin one of `tests/programs`: what a test needs a process of its own for."""
    return start_module(f"programs.{name}", *arguments, env=env)


def _environment(changes):
    """That of this process but for `changes`, where None takes a variable away."""
    return {name: value for name, value in {**os.environ, **changes}.items() if value is not None}


def fork_module(module, *arguments, env=None):
    """Begin a module as `start_module` does, but without the time that its imports take."""
    environment = _environment({"PYTHONPATH": str(ROOT / "tests"), **(env or {})})
    if not can_be_forked(environment):
        return start_module(module, *arguments, env=env)
    return Forked(module, [str(argument) for argument in arguments], environment)


def start_module(module, *arguments, env=None):
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=_environment({"PYTHONPATH": str(ROOT / "tests"), **(env or {})}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, timeout=300):
    """Wait for a command that was begun, as `command` does."""
    output, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def finish(process, timeout=300):
    """Wait for a command that was begun and must succeed; returns its output."""
    done = ended(process, timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(name, *arguments, env=None, timeout=300):
    """Run `python -m experiments.NAME` as a user does, to its end."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        cwd=ROOT,
        env=_environment(env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


_obedient = Worker()  # begins with its first command, and ends when nobody is left to ask it


def obeyed(name, *arguments, env=None, timeout=300):
    """What `command` gives, by a process that runs many, one after the other.

    Most of what a command takes is Python and JAX starting. This is for what commands say and
    leave behind; where signals, devices or the end of a process count, it takes a `command`.
    """
    of_processes = {"--processes", "--process-id", "--coordinator"}
    if name == "run" and not of_processes.intersection(arguments):
        arguments = (*arguments, "--processes", "1")  # for JAX has begun there, by itself
    answer = _obedient.run(name, *arguments, folder=ROOT, env=env, patience=timeout)
    return subprocess.CompletedProcess([name, *arguments], answer.code, answer.out, answer.err)


def assert_one_line_error(done, code, *words):
    """A failed command must say what is wrong in one line, without a traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]
