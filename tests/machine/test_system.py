"""What systems do in different ways, and that all of it works where POSIX is not."""

import errno
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, finish, start_program
from data.test_archive import binary_members, write_tar
from small import some_records

from jaxcifar.errors import RunError
from jaxcifar.machine import files, system


def test_training_resuming_and_reporting_work_without_posix(tmp_path):
    archive = write_tar(tmp_path / "some.tar", binary_members(some_records()), mode="w")
    # Windows gives a program whose output is a file the characters of its language alone.
    output = finish(
        start_program("elsewhere", tmp_path, archive, env={"PYTHONIOENCODING": "cp1252"})
    )
    assert "the same command resumes it" in output
    runs = tmp_path / "runs"
    results = {
        name: json.loads((runs / name / "result.json").read_text())
        for name in ("stopped", "undisturbed")
    }
    weights = {result["weights_sha256"] for result in results.values()}
    assert len(weights) == 1
    assert (runs / "REPORT.md").exists()
    assert not list(tmp_path.rglob("*array_record*"))


def test_windows_denies_for_a_moment_only(monkeypatch):
    monkeypatch.setattr(system, "_SECONDS_BETWEEN_RETRIES", 0)
    monkeypatch.setattr(system, "_RETRIES", 3)
    calls = []

    def denied_twice():
        calls.append(1)
        if len(calls) < 3:
            raise PermissionError(errno.EACCES, "denied")
        return "done"

    with pytest.raises(PermissionError):
        system.retry_if_access_denied(denied_twice)
    monkeypatch.setattr(system, "WINDOWS", True)
    assert system.retry_if_access_denied(denied_twice) == "done"
    calls.clear()
    monkeypatch.setattr(system, "_RETRIES", 1)
    with pytest.raises(PermissionError):
        system.retry_if_access_denied(denied_twice)


def test_running_processes_are_distinguished_from_ended_ones():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert system.is_running(os.getpid())
    assert system.is_running(os.getppid())
    assert not system.is_running(ended.pid)
    assert not system.is_running(10**10)


def test_peak_memory_grows_by_what_is_taken():
    """In a small process: more than the peak of a large one would have to be taken."""
    code = """
from jaxcifar.machine.system import peak_memory
before = peak_memory()
taken = b"x" * (before + 2**26)
print(before, len(taken), peak_memory())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    before, taken, after = map(int, done.stdout.split())
    assert after >= taken > before > 10 * 2**20


@pytest.fixture
def without_flags(monkeypatch):
    """As Windows, which knows neither flag."""
    monkeypatch.setattr(system, "_DO_NOT_FOLLOW_LINKS", 0)


def test_no_link_is_followed_where_there_is_no_flag_for_it(tmp_path, without_flags):
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(ValueError, match="is a link"):
        system.open_descriptor(tmp_path / "link", os.O_RDONLY)
    for name, follow in (("file", False), ("link", True)):
        descriptor = system.open_descriptor(tmp_path / name, os.O_RDONLY, follow)
        assert os.read(descriptor, 100) == b"content"
        os.close(descriptor)
    with pytest.raises(ValueError, match="not a regular file"):
        system.open_descriptor(tmp_path, os.O_RDWR)
    (tmp_path / ".jaxcifar.lock").symlink_to("file")
    with pytest.raises(RunError, match="is not a regular file"), files.lock_folder(tmp_path):
        pytest.fail("held")
    with pytest.raises(FileNotFoundError):
        system.open_descriptor(tmp_path / "absent", os.O_RDONLY)


def test_a_lock_goes_where_no_open_file_can_be_deleted(tmp_path, monkeypatch):
    """On Windows it is closed first; then another process's can't be deleted, here: is not."""
    closed, unlink = [], files.Path.unlink

    def unlink_if_closed(path, missing_ok=False):
        if path.name == ".jaxcifar.lock" and not closed:
            raise PermissionError(errno.EACCES, "is open in another program")
        unlink(path, missing_ok)

    close = os.close
    monkeypatch.setattr(files.Path, "unlink", unlink_if_closed)
    monkeypatch.setattr(os, "close", lambda number: (closed.append(number), close(number)))
    with files.lock_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".jaxcifar.lock").exists()
    assert closed
    assert list(tmp_path.iterdir()) == []
