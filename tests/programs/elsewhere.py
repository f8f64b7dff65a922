"""Prepare, train, stop, resume and report as where POSIX is not, as far as Linux can play that.

`python -m programs.elsewhere FOLDER ARCHIVE`. What Windows lacks can't be imported, and what it
refuses is refused. asyncio, filelock and psutil have a part for each system, so that those of this
one stay.
"""

import _thread
import asyncio
import functools
import importlib
import os
import pkgutil
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import filelock
import psutil

POSIX = {"array_record", "crypt", "fcntl", "grp", "posix_ipc", "pty", "pwd", "resource", "spwd"}
POSIX |= {"syslog", "termios", "tty", "uvloop"}
EXTRAS = {"onnx", "onnxruntime", "torch"}  # have a part for each system, and take long
NAMES = (
    "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC chown chroot fchmod fork forkpty geteuid "
    "getloadavg getpgid getuid killpg lchown mkfifo nice openpty pread register_at_fork "
    "sched_getaffinity setsid sysconf wait3"
)
SIGNALS = "SIGALRM SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 alarm pthread_kill pthread_sigmask"


class Absent:
    """A finder of modules, before all others, that knows which there are not."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in POSIX | EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def is_open(path):
    """Whether this process has a file open, or in its memory."""
    try:
        status = Path(path).stat()
    except OSError:
        return False
    for number in Path("/proc/self/fd").iterdir():
        try:
            if os.path.samestat(status, os.fstat(int(number.name))):
                return True
        except OSError:  # closed by now
            continue
    return f" {os.path.realpath(path)}\n" in Path("/proc/self/maps").read_text()


def not_of_open_files(name):
    function = getattr(os, name)

    @functools.wraps(function)
    def refusing(*paths, **options):
        for path in paths:
            if Path(path).is_file() and is_open(path):
                raise PermissionError(13, "is open in another program", os.fspath(path))
        return function(*paths, **options)

    setattr(os, name, refusing)


def refused(*arguments, **options):
    raise OSError(1314, "a required privilege is not held by the client")


def kills(*arguments):
    raise AssertionError("os.kill ends a process on Windows, whatever the signal")


def hide():
    assert asyncio
    assert filelock.lock_descriptor
    for name in list(sys.modules):
        if name.partition(".")[0] in POSIX:
            del sys.modules[name]
    sys.meta_path.insert(0, Absent)
    for module, names in ((os, NAMES), (signal, SIGNALS)):
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for name in ("remove", "rename", "replace", "unlink"):
        not_of_open_files(name)
    os.process_cpu_count = os.cpu_count  # what Python 3.13 has where there is no affinity
    shutil._use_fd_functions = False
    psutil.pid_exists = lambda number: Path(f"/proc/{number}").exists()
    os.symlink, os.kill = refused, kills


def import_everything():
    for top in ("jaxcifar", "experiments"):
        package = importlib.import_module(top)
        for module in pkgutil.walk_packages(package.__path__, f"{top}."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name in EXTRAS, error


def interrupt_after_an_epoch(metrics):
    """As Ctrl-C does."""

    def wait():
        while not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.001)
        _thread.interrupt_main(signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def main(folder, archive):
    hide()
    from small import evaluate_less, prepare_some

    from jaxcifar.machine import system

    system.WINDOWS = True
    import_everything()
    from jaxcifar.commands import prepare, report, run
    from jaxcifar.machine.interrupt import Interrupted

    prepare_some()
    evaluate_less()
    prepare.main(["--archive", archive, "--data-dir", f"{folder}/data"])
    runs = Path(folder, "runs")
    train = ["--arch", "cnn", "--arch-args", "widths=4,", "hidden=8", "--epochs", "6"]
    train += ["--train-examples", "1024", "--processes", "1"]
    train += ["--data-dir", f"{folder}/data", "--run-dir"]
    interrupt_after_an_epoch(runs / "stopped" / "metrics.jsonl")
    try:
        run.main([*train, str(runs / "stopped")])
    except Interrupted as error:
        print(error)
    for name in ("stopped", "undisturbed"):
        run.main([*train, str(runs / name)])
    report.main([str(runs)])


if __name__ == "__main__":
    main(*sys.argv[1:])
