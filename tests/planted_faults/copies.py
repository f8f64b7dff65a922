"""Copies of the checkout in which faults are planted, and processes that run in them."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

from planted_faults import import_check

# Variables of a pytest that runs this, which must not reach the pytest of a copy.
_NOT_INHERITED = ("PYTEST_", "COV_")


class CopyFolder:
    """A temporary folder for copies. Only one process may use it at a time.

    Args:
      root: the checkout, which is only read.
    """

    def __init__(self, root):
        self.root = root
        digest = hashlib.sha256(str(root).encode()).hexdigest()[:4]
        # A short name without words: a test that looks for a word must not find it in a path, and
        # lines with a path must not become much longer than elsewhere.
        self.folder = Path(tempfile.gettempdir()).resolve() / f"jf{digest}"
        self.programs = self.folder / "programs"
        self.original = self.folder / "original"
        self.digest = ""
        self._processes = _Processes()

    def __enter__(self):
        self._clear()
        self.programs.mkdir(parents=True)
        # All copies are made from one, whatever is edited in the checkout meanwhile.
        digest = hashlib.sha256()
        for file in _files_of(self.root):
            target = self.original / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / file, target)
            digest.update(f"{file}\0".encode() + target.read_bytes())
        self.digest = digest.hexdigest()
        return self

    def __exit__(self, *_):
        self._clear()

    def _clear(self):
        """Remove what is there, and end what a killed run left behind."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if Path(process.cwd()).is_relative_to(self.folder):
                    process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def copy(self):
        """Give a new copy of the checkout, and remove it in the end."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=""))
        copy = Copy(folder, self._processes)
        shutil.copytree(self.original, copy.root)
        copy.temporary.mkdir()
        # Each copy gets hard links to the compiled programs, so that a process killed while writing
        # damages only its own copy.
        shutil.copytree(self.programs, copy.programs, copy_function=os.link)
        try:
            yield copy
            if copy.ended_normally:  # else a program may be written in part
                self._keep_programs(copy)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _keep_programs(self, copy):
        """Let later copies begin with the programs that this one compiled."""
        for program in copy.programs.iterdir():
            with contextlib.suppress(FileExistsError):
                os.link(program, self.programs / program.name)

    def end_all(self):
        """End all processes that run in copies, and let no other begin."""
        self._processes.end_all()


class Ended(Exception):
    """Nothing more is to be run in copies."""


class _Processes:
    """The processes that run in copies."""

    def __init__(self):
        self._running = set()
        self._ended = False
        self._lock = threading.Lock()

    def start(self, *arguments, **options):
        with self._lock:
            if self._ended:
                raise Ended
            process = subprocess.Popen(*arguments, **options)
            self._running.add(process)
            return process

    def end(self, process):
        _end(process)
        with self._lock:
            self._running.discard(process)

    def end_all(self):
        with self._lock:
            self._ended = True
            for process in self._running:
                _end(process)


class Copy:
    """A copy of the checkout, with a temporary folder and compiled programs of its own."""

    def __init__(self, folder, processes):
        self.root = folder / "checkout"
        self.temporary = folder / "t"
        self.programs = folder / "programs"
        self.ended_normally = True
        self._plugins = folder / "plugins"
        self._plugins.mkdir()
        shutil.copy(import_check.__file__, self._plugins)
        self._processes = processes

    def plant(self, fault):
        (self.root / fault.file).write_text(fault.planted(self.root))

    def python(self, arguments, limit, variables=None):
        """Run Python in the copy, with more `variables` of the environment.

        Returns:
          the exit code, None if it did not end within `limit` seconds; and what it printed.
        """
        with (self.temporary / "output").open("w+b") as output:
            process = self._processes.start(
                [sys.executable, *arguments],
                cwd=self.root,
                env={**self._environment(), **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the command alone, which ends the others
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                self._processes.end(process)
            if code not in (0, 1):
                self.ended_normally = False
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def _environment(self):
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_NOT_INHERITED) and not name.startswith("JAXCIFAR_TEST_")
        }
        return {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(self.root), str(self._plugins)]),
            "TMPDIR": str(self.temporary),
            "JAX_COMPILATION_CACHE_DIR": str(self.programs),
        }


def _end(process):
    """End a process and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for child in parent.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    if hasattr(os, "killpg"):  # children whose parents have ended are in the same group
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _files_of(root):
    """Return the files of a checkout that git does not ignore."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return [file for file in sorted(listed) if (root / file).is_file() and file]
