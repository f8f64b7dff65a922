"""Commands whose standard streams are closed or full, or whose locale knows no UTF-8."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="takes a POSIX shell")


def redirected(redirection, *words, env=None, module="experiments.report"):
    """A quick command, started by a shell with streams as `redirection` says."""
    script = f'exec "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", module, *words],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        timeout=120,
    )


def test_without_standard_error_a_command_does_its_work():
    done = redirected("2>&-", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"usage: ")
    failed = redirected("2>&-", "no/such/folder")
    assert (failed.returncode, failed.stdout) == (2, b"")


def test_closed_standard_output_is_refused():
    done = redirected(">&-", "--help")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        b"error: standard output is closed; redirect it to a file, or to /dev/null"
    ]


def test_with_all_streams_closed_files_get_no_number_of_a_stream(tmp_path):
    """What a library prints as an error would be written into them."""
    file = tmp_path / "file"
    code = "from pathlib import Path\nfrom jaxcifar.commands.shared.cli import exit_code_of\n\n"
    code += "def work():\n"
    code += f"    with Path({str(file)!r}).open('w') as file:\n"
    code += "        file.write(str(file.fileno()))\n\nexit_code_of(work)\n"
    (tmp_path / "program.py").write_text(code)
    env = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    redirected("<&- >&- 2>&-", module="program", env=env)
    assert int(file.read_text()) > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_standard_output_is_named(unbuffered):
    done = redirected(">/dev/full", "--help", env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("error: standard output can't be written (No space left on device)")


@pytest.mark.parametrize("module", ["experiments", "program"])  # by rich, and by `print`
def test_a_reader_that_has_had_enough_ends_a_command_with_exit_code_1_and_no_word(module, tmp_path):
    code = "from jaxcifar.commands.shared.cli import run_command\n\n"
    (tmp_path / "program.py").write_text(f"{code}run_command(lambda: print('a line'))\n")
    reading, writing = os.pipe()
    os.close(reading)  # as of `head`, once it has shown its lines
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))},
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are UTF-8 always")
def test_in_a_locale_without_utf8_names_are_read_as_they_are():
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = redirected("", "nö/such", env=env)
    assert done.returncode == 2
    assert done.stderr.decode() == "error: nö/such: no such folder\n"


def test_a_failed_command_waits_for_no_thread(tmp_path):
    """As those of a library that has given up do not end."""
    code = "import threading, time\nfrom jaxcifar.commands.shared.cli import run_command\n"
    code += "from jaxcifar.errors import RunError\n\ndef fail():\n"
    code += "    threading.Thread(target=time.sleep, args=(600,)).start()\n"
    code += "    raise RunError('the disk is full')\n\nrun_command(fail)\n"
    (tmp_path / "program.py").write_text(code)
    env = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    done = redirected("", module="program", env=env)
    assert (done.returncode, done.stderr) == (1, b"error: the disk is full\n")
