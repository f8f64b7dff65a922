"""Hostile inputs, generated: a few of each kind here, as many as one likes by `make soak`."""

import mmap
import sys

import numpy as np
import pytest
from conftest import assert_one_line_error, command
from hostile.trials import TRIALS, attempts
from hostile.worker import Answer
from hostile.workshop import Workshop, lost, state


@pytest.fixture(scope="module")
def workshop():
    workshop = Workshop()
    yield workshop
    workshop.close()


@pytest.mark.parametrize("name", TRIALS)
def test_hostile_inputs_end_in_one_line_and_harm_nothing(workshop, name):
    wrong = []

    def attempt(case):
        wrong.extend(f"{case!a}: {what}" for what in TRIALS[name].attempt(workshop, case))

    attempts(TRIALS[name], 0, TRIALS[name].examples, attempt)
    assert not wrong, "\n".join(wrong)


def test_processes_of_their_own_end_alike(workshop, tmp_path):
    """As the worker says that they end: it is no process of its own for each command."""
    with workshop.copy("study") as folder:
        (folder / "out" / "study.json").write_text("[")
        (folder / "out" / "slow" / "seed0" / "result.json").write_text(
            '{"test_accuracy": "\x1b[1m"}'
        )
        (folder / "study.toml").write_text("rows = 5")
        for name, code in (("run", 1), ("ablation", 2)):
            arguments = [str(word) for word in workshop.command(name, folder, "study")]
            assert_one_line_error(command(name, *arguments), code)
        assert command("report", str(folder / "out")).returncode == 0


def test_what_is_wrong_is_noticed(tmp_path):
    """The trials can fail."""
    assert Answer(0).complaints() == []
    assert Answer(2, err="error: no such folder\n").complaints() == []
    for answer in (
        Answer("hung"),
        Answer("died"),
        Answer("traceback", err="Traceback (most recent call last)\nKeyError: 'x'\n"),
        Answer(1),
        Answer(3, err="error\n"),
        Answer(1, err="one line\nanother\n"),
        Answer(0, out="\x1b[32mready\x1b[0m\n"),
        Answer(1, err="x" * 3000),
        Answer(0, seconds=31.0),
        Answer(0, before=2**28, peak=2**30 + 1),
    ):
        assert answer.complaints(), answer
    for name in ("kept", "changed", "gone"):
        (tmp_path / name).write_text(name)
    before = state(tmp_path)
    (tmp_path / "changed").write_text("x")
    (tmp_path / "gone").unlink()
    (tmp_path / "gone").symlink_to("kept")
    assert lost(before, state(tmp_path), lambda place: False) == [
        "changed was changed",
        "gone was changed",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_is_limited_and_what_libraries_map_is_not(tmp_path):
    import resource  # not on Windows

    from programs.obey import limited

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with (tmp_path / "library").open("w+b") as file:
        file.truncate(2**33)  # takes no room on the disk
        with limited():
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                assert len(mapped) == 2**33
            with pytest.raises(MemoryError):
                np.zeros(2**33, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
