"""Tasks: which folders they refuse, and which command resumes them."""

import dataclasses
from types import SimpleNamespace

import pytest

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.task import Task, stopped_message
from jaxcifar.runs.training_loop import _TrainingLoop

CONFIG = Config.create("cnn", dataset="shapes10", epochs=3)


@pytest.mark.parametrize("given", ["run", "run/weights.safetensors"])
def test_a_run_is_not_written_over_the_weights_that_it_starts_from(tmp_path, monkeypatch, given):
    """With --overwrite they would be deleted, and the new run could not be resumed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"weights")
    config = Config.create("cnn", dataset="shapes10", init=given)
    with pytest.raises(
        UsageError, match=r"--init takes its weights from this folder, .* choose another --run-dir"
    ):
        Task(config, tmp_path / "run", overwrite=True)
    assert Task(config, tmp_path / "other", overwrite=True).config == config


def test_no_run_of_a_forced_study_names_the_forced_command(tmp_path):
    """The same command would delete what it has trained of the forced rows."""
    task = Task(CONFIG, tmp_path, "plain seed 0", is_study_forced=True)
    assert task.resuming_command == "the same command without --force"
    assert "the same command without --force resumes it" in stopped_message([task])
    loop = _TrainingLoop.__new__(_TrainingLoop)
    loop._slots = [SimpleNamespace(task=task, step=0, wait=lambda: None)]
    loop._waiting_runs, loop.later_tasks = iter(()), ()
    with pytest.raises(Interrupted, match=r"the same command without --force resumes it$"):
        loop._raise_interrupted()  # an earlier row may be trained


def test_a_stopped_study_names_the_forced_rows_whose_runs_have_not_begun(tmp_path):
    """Without --force, their earlier runs would count as finished, and never be trained again."""

    def forced_task(row, has_earlier_run=True):
        path = tmp_path / row / "seed0"
        path.mkdir(parents=True)
        if has_earlier_run:
            (path / "config.json").write_text("{}")
        return Task(CONFIG, path, f"{row} seed 0", overwrite=True, is_study_forced=True)

    active, waiting, later = forced_task("a"), forced_task("b"), forced_task("c")
    loop = _TrainingLoop.__new__(_TrainingLoop)
    loop._slots = [SimpleNamespace(task=active, step=1, wait=lambda: None)]
    loop._waiting_runs = iter([SimpleNamespace(task=waiting)])
    loop.later_tasks = [later, forced_task("new", has_earlier_run=False)]
    with pytest.raises(Interrupted, match="the same command, but with --force b c only, goes on"):
        loop._raise_interrupted()


@pytest.mark.parametrize(
    ("name", "overwrite", "command"),
    [
        ("", False, "the same command"),
        ("", True, "the same command without --overwrite"),
        ("base seed 0", True, "the same command without --force"),
    ],
)
def test_a_stopped_run_names_the_command_that_resumes_it(tmp_path, name, overwrite, command):
    """The same command with --overwrite or --force would delete what was trained."""
    task = Task(CONFIG, tmp_path, name, overwrite)
    run = SimpleNamespace(task=task, step=1, wait=lambda: None)
    other_task = Task(dataclasses.replace(CONFIG, seed=1), tmp_path, name)
    other_run = SimpleNamespace(task=other_task, step=1, wait=lambda: None)
    loop = _TrainingLoop.__new__(_TrainingLoop)
    loop._slots = [other_run, run, None]
    loop._waiting_runs, loop.later_tasks = iter(()), ()
    with pytest.raises(Interrupted, match=rf"everything is saved in .*: {command} resumes it$"):
        loop._raise_interrupted()
