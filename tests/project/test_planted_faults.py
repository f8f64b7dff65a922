"""The planted faults fit the source, and the script that plants them reports correct results."""

import collections
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from planted_faults.catalog import read_catalog
from planted_faults.helpers import files_with_helpers
from planted_faults.ledger import Ledger

LISTS = ROOT / "tests" / "planted_faults"
FAULTS = read_catalog(LISTS)


def test_no_two_faults_have_the_same_name_or_the_same_slip():
    names = collections.Counter(fault.name for fault in FAULTS)
    slips = collections.Counter((fault.file, fault.text, fault.replacement) for fault in FAULTS)
    assert [name for name, count in names.items() if count > 1] == []
    assert [slip for slip, count in slips.items() if count > 1] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_source_and_its_tests_exist(fault):
    assert fault.problems(ROOT) == []
    if fault.file.endswith(".py"):
        compile(fault.planted(ROOT), fault.file, "exec")


ADD = "def add(a, b):\n    return a + b\n\n\ndef largest(numbers):\n    return max(numbers)\n"
TESTS = """import pathlib

import toy


def test_sums():
    assert toy.add(2, 3) == 5


def test_the_largest():
    assert toy.largest([7]) == 7


def test_that_fails():
    assert toy.add(2, 3) == 6
"""
# name -> (text, replacement, test)
SLIPS = {
    "subtracts": ("    return a + b\n", "    return a - b\n", "test_sums"),
    "smallest": ("max(numbers)", "min(numbers)", "test_the_largest"),
    "name-error": ("def largest", "not_there\n\n\ndef largest", "test_sums"),
    "no-such-text": ("a * b", "a / b", "test_sums"),
    "fails-anyway": ("return a + b", "return b", "test_that_fails"),
}
# Each ends pytest itself, so that no test can be seen to fail.
ENDINGS = {
    "ended-by-a-signal": "    import os, signal\n    os.kill(os.getpid(), signal.SIGTERM)\n",
    "leaves-with-1": "    import os\n    os._exit(1)\n",
    "leaves-with-3": "    import os\n    os._exit(3)\n",
    "is-interrupted": "    raise KeyboardInterrupt\n",
}
# Sleeps, so that it takes no processor from other tests.
ENDLESS = ("    return a + b\n", "    import time\n    time.sleep(1000)\n", "test_sums")
# Plugins of pytest that would take most of the time of each of its short runs.
PYTEST_SETTINGS = """[pytest]
addopts = -p no:anyio -p no:hypothesispytest -p no:jaxtyping -p no:typeguard
"""


@pytest.fixture
def toy(tmp_path):
    """A project of two files, with a list of faults."""
    if not shutil.which("git"):
        pytest.skip("the files of a project are listed by git")
    (tmp_path / "tests" / "planted_faults").mkdir(parents=True)
    (tmp_path / "toy.py").write_text(ADD)
    (tmp_path / "tests" / "test_toy.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(PYTEST_SETTINGS)
    (tmp_path / ".gitignore").write_text("/.faults/\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def write_list(toy, slips):
    entries = []
    for name, (text, replacement, test) in slips.items():
        values = {"name": name, "file": "toy.py", "text": text, "replacement": replacement}
        values["effect"] = "Wrong."
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        entries.append("\n".join(["[[fault]]", *lines, f'tests = ["tests/test_toy.py::{test}"]']))
    (toy / "tests" / "planted_faults" / "toy.toml").write_text("\n\n".join(entries))


def start_script(toy, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "planted_faults", "--root", str(toy), "--jobs", "1", *arguments],
        cwd=LISTS.parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def script(toy, *arguments):
    process = start_script(toy, *arguments)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def rows_of(toy):
    lines = (toy / "tests" / "planted_faults" / "results.jsonl").read_text().split("\n")
    return [row for line in lines if line and "verdict" in (row := json.loads(line))]


def verdicts(toy):
    return {row["name"]: row["verdict"] for row in rows_of(toy)}


def test_output_separates_survivors_from_invalid_faults(toy):
    write_list(toy, SLIPS)
    code, output = script(toy)
    assert verdicts(toy) == {
        "subtracts": "noticed",
        "smallest": "survived",
        "name-error": "invalid",
        "no-such-text": "invalid",
        "fails-anyway": "invalid",
    }
    assert code == 1
    assert "SURVIVED: smallest" in output
    assert "noticed: subtracts by test_toy.py::test_sums" in output
    assert "NameError" in output
    assert "its text stands 0 times in toy.py" in output
    assert "its tests also fail without it: tests/test_toy.py::test_that_fails" in output
    assert "5 faults: 1 noticed, 1 survived, 3 invalid" in output
    assert (toy / "toy.py").read_text() == ADD

    # What was tried is not tried again until its test changes.
    code, output = script(toy, "--only", "smallest", "--only", "subtracts")
    assert code == 1
    assert " left]" not in output
    test = toy / "tests" / "test_toy.py"
    test.write_text(test.read_text().replace("([7]) == 7", "([7, 8]) == 8"))
    code, output = script(toy, "--only", "smallest")
    assert code == 0
    assert "1 faults: 1 noticed, 0 survived, 0 invalid" in output


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_fault_that_ends_pytest_itself_is_invalid_and_the_exit_code_is_1(toy):
    write_list(
        toy, {name: ("    return a + b\n", end, "test_sums") for name, end in ENDINGS.items()}
    )
    code, output = script(toy)
    assert code == 1
    assert "4 faults: 0 noticed, 0 survived, 4 invalid" in output
    remarks = {row["name"]: row["remark"] for row in rows_of(toy)}
    assert "pytest itself ended by signal 15" in remarks["ended-by-a-signal"]
    assert "pytest itself ended by exit code 1" in remarks["leaves-with-1"]
    assert "pytest itself ended by exit code 3" in remarks["leaves-with-3"]
    assert "pytest itself ended by exit code 2" in remarks["is-interrupted"]


def test_a_fault_that_could_not_be_tried_is_not_passed_over_among_noticed_ones(toy):
    write_list(toy, {name: SLIPS[name] for name in ("subtracts", "no-such-text")})
    code, output = script(toy)
    assert "2 faults: 1 noticed, 0 survived, 1 invalid" in output
    assert code == 1


def test_a_fault_is_tried_again_after_a_helper_of_its_tests_has_changed(toy):
    tests = toy / "tests"
    (tests / "inner").mkdir()
    files = {
        "conftest.py": "import of_conftest\n",
        "of_conftest.py": "",
        "helper.py": "from inner.deep import value\n",
        "inner/__init__.py": "",
        "inner/deep.py": "from .near import value\n",
        "inner/near.py": "value = 1\n",
        "test_toy.py": "def test_sums():\n    import helper\n    import toy\n",
        "other.py": "",
    }
    for name, text in files.items():
        (tests / name).write_text(text)
    write_list(toy, {"subtracts": SLIPS["subtracts"]})
    [fault] = read_catalog(tests / "planted_faults")
    key = fault.key(toy)
    for name, text in files.items():
        (tests / name).write_text(f"{text}changed = True\n")
        assert (fault.key(toy) == key) == (name == "other.py"), name
        (tests / name).write_text(text)
    assert fault.key(toy) == key


def test_comments_and_docstrings_do_not_make_a_fault_be_tried_again(toy):
    write_list(toy, {"subtracts": SLIPS["subtracts"]})
    [fault] = read_catalog(toy / "tests" / "planted_faults")
    key, source = fault.key(toy), (toy / "toy.py").read_text()
    (toy / "toy.py").write_text(f'"""A new docstring."""\n\n# A comment.\n{source}')
    assert fault.key(toy) == key
    replacement = dataclasses.replace(fault, replacement="    return a * b\n")
    assert replacement.key(toy) != key
    (toy / "toy.py").write_text(f"{source}\n\nunused = 1\n")
    assert fault.key(toy) != key


def test_the_helpers_of_these_tests_are_found():
    files = files_with_helpers(ROOT, "tests/bench/test_bench.py")
    names = {file.relative_to(ROOT / "tests").as_posix() for file in files}
    assert {"bench/test_bench.py", "conftest.py", "small.py", "hostile/worker.py"} <= names
    assert "invented.py" not in names


def test_the_script_goes_on_where_it_was_killed(toy):
    write_list(toy, {"subtracts": SLIPS["subtracts"], "endless": ENDLESS})
    process = start_script(toy, "--limit", "100")
    for line in process.stdout:
        if "noticed: subtracts" in line:
            break
    time.sleep(1.0)  # the endless one has begun
    process.kill()
    process.communicate()
    assert verdicts(toy) == {"subtracts": "noticed"}

    code, output = script(toy, "--limit", "8")
    assert code == 0
    assert [row["name"] for row in rows_of(toy)] == ["subtracts", "endless"]
    assert "noticed: endless (its tests did not end within 8 s)" in output
    assert "2 faults: 2 noticed" in output


def test_an_incomplete_entry_is_refused(toy):
    (toy / "tests" / "planted_faults" / "toy.toml").write_text('[[fault]]\nname = "x"\n')
    code, output = script(toy)
    assert code == 2
    assert "toy.toml, entry 1: missing or unknown fields: effect, file" in output


def test_results_survive_a_line_cut_by_a_kill_and_only_those_of_present_faults_are_kept(tmp_path):
    path = tmp_path / "results.jsonl"
    first = Ledger(path)
    first.add("a", name="zebra", verdict="noticed")
    with path.open("a") as file:
        file.write('{"key": "b", "na')
    again = Ledger(path)
    again.add("c", name="ant", verdict="survived")
    assert Ledger(path).get("a")["verdict"] == "noticed"
    assert Ledger(path).get("b") is None
    again.keep_only({"a", "c"})
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["ant", "zebra"]
