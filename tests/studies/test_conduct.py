"""Studies carried out: shared compilation, skipping, failing, stopping, sharing the work."""

import contextlib
import json
import os
import shutil
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from conftest import stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from rich.console import Console
from small import SMALL

from jaxcifar.build import setup
from jaxcifar.errors import DivergedError, OutOfMemoryError, UsageError
from jaxcifar.machine.compilations import count_compilations
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs import run as run_module
from jaxcifar.runs import training_loop
from jaxcifar.runs.folder import RunFolder
from jaxcifar.studies.conduct import conduct, plan, record
from jaxcifar.studies.study import Study
from jaxcifar.studies.waiting import unfinished_and_failed

TIMES = ("seconds", "images_per_second", "runs_together")


def study(**rows):
    config = {
        "arch": "cnn",
        "arch_args": SMALL,
        "dataset": "shapes10",
        "epochs": 2,
        "batch_size": 32,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "schedule": "none",
    }
    return Study.from_dict({"config": config, "rows": rows})


pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
THREE = study(plain={"normalize": False, "augment": False}, norm={"augment": False}, both={})


@pytest.fixture(scope="module")
def run(easy_dataset):
    """Carries a study out on a few images."""

    def run(study, out, seeds=(0,), rows=None, force=(), at_once=1, **options):
        with Path(os.devnull).open("w") as nowhere:
            tasks = plan(study, rows, seeds, out, force)
            record(study, out)
            console, load = Console(file=nowhere), lambda *_: easy_dataset
            return conduct(tasks, Path(), at_once, jax.devices(), console, load, **options)

    return run


def numbers(folder):
    """What a run came to, times aside."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    kept = ("test_loss", "test_accuracy", "test_accuracy_flip", "confusion_matrix")
    return (
        [{k: v for k, v in row.items() if k not in TIMES} for row in rows],
        {k: result[k] for k in kept},
    )


def written(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def compiled_programs():
    """How many training programs this process has compiled.

    Tests before these may have stopped a run before its program was compiled: it still is.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("compile"):
            thread.join()
    return count_compilations("train_steps")


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """Three rows, one after the other, and how many training programs that took."""
    out = tmp_path_factory.mktemp("study")
    jax.clear_caches()  # of the same program, that another file's tests have compiled
    before = compiled_programs()
    outcomes = run(THREE, out)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    return out, compiled_programs() - before


def test_all_rows_share_one_compiled_program(alone):
    out, compiled = alone
    assert compiled == 1
    results = [numbers(out / row / "seed0")[1] for row in ("plain", "norm", "both")]
    assert len({result["test_loss"] for result in results}) == 3


def test_rows_that_need_another_program_get_it(run, alone, tmp_path):
    before = compiled_programs()
    outcomes = run(study(small={"batch_size": 16}, as_before={}), tmp_path)
    assert [outcome.error for outcome in outcomes] == [None] * 2
    assert compiled_programs() - before == 1


def test_a_finished_study_is_left_alone(run, alone):
    out, _ = alone
    before = written(out)
    assert run(THREE, out) == []
    assert written(out).keys() == before.keys()
    changed = {path.name for path, when in written(out).items() if when != before[path]}
    assert changed <= {"study.json", ".jaxcifar.lock"}


def test_forced_rows_are_run_anew(run, alone):
    out, _ = alone
    expected, before = numbers(out / "norm" / "seed0"), written(out)
    [outcome] = run(THREE, out, force=["norm"])
    assert outcome.task.name == "norm seed 0"
    assert numbers(out / "norm" / "seed0") == expected
    for path, when in before.items():
        assert path.is_relative_to(out / "norm") or path.stat().st_mtime_ns == when \
            or path.name in ("study.json", ".jaxcifar.lock")  # fmt: skip


@pytest.fixture(scope="module")
def two_at_once(run, tmp_path_factory):
    """Two slots for three runs: the third takes a slot that became free."""
    out = tmp_path_factory.mktemp("study")
    assert {outcome.error for outcome in run(THREE, out, at_once=2)} == {None}
    return out


def test_runs_at_once_equal_runs_alone(alone, two_at_once):
    for row in ("plain", "norm", "both"):
        expected_rows, expected = numbers(alone[0] / row / "seed0")
        got_rows, got = numbers(two_at_once / row / "seed0")
        # Rounding grows by the step; `test_parallel_runs.py` has bounds for the first steps.
        for mine, theirs, tolerance in zip(got_rows, expected_rows, (1e-3, 5e-2), strict=True):
            assert mine["learning_rate"] == theirs["learning_rate"]
            assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=tolerance)
        assert got["test_loss"] == pytest.approx(expected["test_loss"], rel=0.05)
        result = json.loads((two_at_once / row / "seed0" / "result.json").read_text())
        assert result["at_once"] == 2


def test_the_last_run_is_recorded_as_trained_alone(two_at_once):
    runs_together = {}
    for row in ("plain", "norm", "both"):
        lines = (two_at_once / row / "seed0" / "metrics.jsonl").read_text().splitlines()
        runs_together[row] = [json.loads(line)["runs_together"] for line in lines]
    assert runs_together == {"plain": [2, 2], "norm": [2, 2], "both": [1, 1]}


def test_at_once_a_run_that_ends_early_leaves_its_slot_to_the_next(
    run, alone, tmp_path, monkeypatch
):
    """Two slots for three runs of two epochs; the first run ends after one."""

    def ends_after_one_epoch(rows, patience, earlier_epochs):
        return patience > 0 and len(rows) == 1

    monkeypatch.setattr(run_module, "ends_early", ends_after_one_epoch)
    rows = study(early={"patience": 1}, norm={"augment": False}, both={})
    assert {outcome.error for outcome in run(rows, tmp_path, at_once=2)} == {None}
    [row], _ = numbers(tmp_path / "early" / "seed0")
    assert row["epoch"] == 1
    result = json.loads((tmp_path / "early" / "seed0" / "result.json").read_text())
    assert (result["last_epoch"]["epoch"], result["planned_epochs"]) == (1, 2)
    for name in ("norm", "both"):
        got_rows, got = numbers(tmp_path / name / "seed0")
        expected = numbers(alone[0] / name / "seed0")[1]
        assert [row["epoch"] for row in got_rows] == [1, 2]
        assert got["test_loss"] == pytest.approx(expected["test_loss"], rel=0.05)


def test_a_failed_row_does_not_stop_the_others(run, tmp_path):
    wild = study(wild={"learning_rate": 1e30}, tame={})
    outcomes = run(wild, tmp_path)
    errors = {outcome.task.name: outcome.error for outcome in outcomes}
    assert isinstance(errors["wild seed 0"], DivergedError)
    assert errors["tame seed 0"] is None
    before = compiled_programs()
    [again] = run(wild, tmp_path)  # known to fail: told, not tried
    assert isinstance(again.error, DivergedError)
    assert "loss became" in str(again.error)
    assert compiled_programs() == before


def test_a_metric_that_fails_in_one_row_does_not_stop_the_others(run, tmp_path, monkeypatch):
    errors = [UsageError("--metric mine.py:mine: ValueError: no such class")]

    def fails_once(*arguments):
        if errors:
            raise errors.pop()
        return measured(*arguments)

    measured = run_module.validation_metrics
    monkeypatch.setattr(run_module, "validation_metrics", fails_once)
    outcomes = run(study(first={"augment": False}, second={}), tmp_path)
    found = {outcome.task.name: outcome.error for outcome in outcomes}
    assert "--metric mine.py:mine" in str(found["first seed 0"])
    assert found["second seed 0"] is None


def test_at_once_a_failed_run_leaves_the_other_as_it_is(run, alone, tmp_path):
    outcomes = run(study(wild={"learning_rate": 1e30}, both={}), tmp_path, at_once=2)
    errors = {outcome.task.name: outcome.error for outcome in outcomes}
    assert isinstance(errors["wild seed 0"], DivergedError)
    expected = numbers(alone[0] / "both" / "seed0")[1]["test_loss"]
    assert numbers(tmp_path / "both" / "seed0")[1]["test_loss"] == pytest.approx(expected, rel=0.05)


def test_a_failed_row_is_tried_again_if_it_is_forced(run, tmp_path):
    one = study(both={})
    [task] = plan(one, None, [0], tmp_path, [])
    task.path.mkdir(parents=True)
    (task.path / "config.json").write_text(task.config.to_json())
    (task.path / "failure.txt").write_text("the loss became nan")
    [outcome] = run(one, tmp_path)
    assert isinstance(outcome.error, DivergedError)
    [outcome] = run(one, tmp_path, force=["both"])
    assert outcome.error is None
    assert not (task.path / "failure.txt").exists()


def test_each_failure_is_read_once(tmp_path, monkeypatch):
    tasks = plan(study(one={}, two={}, three={}), None, [0], tmp_path, [])
    for task, name in zip(tasks, ("failure.txt", "result.json"), strict=False):
        task.path.mkdir(parents=True)
        (task.path / name).write_text("the loss became nan")
    read_failure, folders = RunFolder.read_failure, []

    def count(folder):
        folders.append(folder.path)
        return read_failure(folder)

    monkeypatch.setattr(RunFolder, "read_failure", count)
    unfinished_tasks, failures = unfinished_and_failed(tasks)
    assert ([failure.task for failure in failures], unfinished_tasks) == (tasks[:1], tasks[2:])
    assert folders == [tasks[0].path, tasks[2].path]


def fill_memory():
    """Ask XLA for more than any machine has."""
    return jax.block_until_ready(jnp.ones(10**17))  # or who waits for it would be told


def make_memory_short(monkeypatch, where):
    """Let memory be short for batches of 16, where runs are set up, compiled or trained."""
    create, dispatch = setup.Setup.create, training_loop._TrainingLoop._dispatch

    def create_or_fail(config, *arguments):
        return fill_memory() if config.batch_size == 16 else create(config, *arguments)

    def check_or_fail(compiled, devices, what, say):
        if what.endswith("--batch-size 16"):
            raise OutOfMemoryError(f"{what} takes 10 GB of memory, and A100 has 9 GB")

    def dispatch_or_fail(self, *arguments):
        small = self._setup.program.batch_size == 16
        return fill_memory() if small else dispatch(self, *arguments)

    if where == "setting up":
        monkeypatch.setattr(setup.Setup, "create", create_or_fail)
    elif where == "compiling":
        monkeypatch.setattr(setup, "check_memory", check_or_fail)
    else:
        monkeypatch.setattr(training_loop._TrainingLoop, "_dispatch", dispatch_or_fail)


@pytest.mark.parametrize("where", ["setting up", "compiling", "training"])
def test_a_row_that_does_not_fit_into_memory_does_not_stop_the_others(
    run, alone, tmp_path, monkeypatch, where
):
    table = study(small={"batch_size": 16}, last={})
    with monkeypatch.context() as patch:
        make_memory_short(patch, where)
        outcomes = run(table, tmp_path, seeds=(0, 1))
    errors = {outcome.task.name: outcome.error for outcome in outcomes}
    assert {name: type(error) for name, error in errors.items()} == {
        "small seed 0": OutOfMemoryError,
        "small seed 1": OutOfMemoryError,
        "last seed 0": type(None),
        "last seed 1": type(None),
    }
    assert numbers(tmp_path / "last" / "seed0") == numbers(alone[0] / "both" / "seed0")
    assert not list((tmp_path / "small").rglob("result.json"))
    assert not list((tmp_path / "small").rglob("failure.txt"))  # with more memory it may fit


def test_what_did_not_fit_is_tried_again(run, tmp_path, monkeypatch):
    table = study(small={"batch_size": 16})
    with monkeypatch.context() as patch:
        make_memory_short(patch, "training")
        [outcome] = run(table, tmp_path)
    assert "out of memory" in str(outcome.error)
    [outcome] = run(table, tmp_path)
    assert outcome.error is None
    assert (tmp_path / "small" / "seed0" / "result.json").exists()


def test_at_once_those_that_wait_get_the_slots_of_those_that_did_not_fit(
    run, two_at_once, tmp_path, monkeypatch
):
    dispatch = training_loop._TrainingLoop._dispatch

    def dispatch_or_fail(self, *arguments):
        named = [run.task.name for run in self.active_runs.values()]
        return fill_memory() if "plain seed 0" in named else dispatch(self, *arguments)

    monkeypatch.setattr(training_loop._TrainingLoop, "_dispatch", dispatch_or_fail)
    outcomes = run(THREE, tmp_path, at_once=2)
    failed = [outcome.task.name for outcome in outcomes if outcome.error]
    assert failed == ["plain seed 0", "norm seed 0"]  # a step trains both
    assert numbers(tmp_path / "both" / "seed0") == numbers(two_at_once / "both" / "seed0")


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_stopped_study_goes_on(run, alone, two_at_once, tmp_path, at_once):
    undisturbed = {1: alone[0], 2: two_at_once}[at_once]
    for steps in (3, 6, 2):
        with contextlib.suppress(Interrupted):
            run(THREE, tmp_path, at_once=at_once, stopper=stopped_after(steps))
    run(THREE, tmp_path, at_once=at_once)
    for row in ("plain", "norm", "both"):
        assert numbers(tmp_path / row / "seed0") == numbers(undisturbed / row / "seed0")


def test_the_command_after_a_stop_still_forces_the_rows_that_had_not_begun(run, tmp_path):
    """One row shares the program of the stopped row, one needs another program."""
    rows = study(stopped={}, waiting={"augment": False}, later={"batch_size": 16})
    run(rows, tmp_path)
    earlier_files = written(tmp_path / "waiting")
    forced = ["stopped", "waiting", "later"]
    with pytest.raises(Interrupted, match="but with --force waiting later only, goes on"):
        run(rows, tmp_path, force=forced, stopper=stopped_after(1))
    assert written(tmp_path / "waiting") == earlier_files
    outcomes = run(rows, tmp_path, force=["waiting", "later"])
    assert {outcome.task.name for outcome in outcomes} == {f"{row} seed 0" for row in forced}


@pytest.fixture
def another_process(monkeypatch):
    """Holds a run's folder until this process has to wait for it, and then does `last`."""

    def hold(folder, last=lambda: None):
        holding = contextlib.ExitStack()
        holding.enter_context(lock_folder(folder))

        def end(seconds):
            last()
            holding.close()

        monkeypatch.setattr(time, "sleep", end)

    return hold


@pytest.mark.parametrize("force", [[], ["norm"]])
def test_another_process_run_is_taken_over_if_it_ends_without_result(
    run, alone, tmp_path, another_process, force
):
    another_process(tmp_path / "norm" / "seed0")
    outcomes = run(THREE, tmp_path, rows=["norm", "both"], force=force)
    assert [(o.task.name, o.error) for o in outcomes] == [
        ("both seed 0", None),
        ("norm seed 0", None),
    ]
    assert numbers(tmp_path / "norm" / "seed0") == numbers(alone[0] / "norm" / "seed0")


@pytest.mark.parametrize("force", [[], ["norm"]])
def test_another_process_run_is_left_to_it(run, alone, tmp_path, another_process, force):
    mine, theirs = tmp_path / "norm" / "seed0", alone[0] / "norm" / "seed0"
    another_process(mine, lambda: shutil.copytree(theirs, mine, dirs_exist_ok=True))
    [outcome] = run(THREE, tmp_path, rows=["norm", "both"], force=force)
    assert outcome.task.name == "both seed 0"
    assert (mine / "result.json").read_bytes() == (theirs / "result.json").read_bytes()


def test_the_failure_of_another_process_is_reported(run, tmp_path, another_process):
    failure = tmp_path / "norm" / "seed0" / "failure.txt"
    another_process(failure.parent, lambda: failure.write_text("it blew up"))
    [outcome] = run(THREE, tmp_path, rows=["norm"])
    assert isinstance(outcome.error, DivergedError)


def test_another_study_is_refused(run, alone):
    out, _ = alone
    with pytest.raises(UsageError, match="belongs to another study"):
        run(study(plain={}), out)
    longer = Study.from_dict(
        {**json.loads(THREE.to_json()), "config": {**THREE.config, "epochs": 9}}
    )
    with pytest.raises(UsageError, match="epochs is 2 in the folder, 9 now"):
        run(longer, out)
    with pytest.raises(UsageError, match="in row norm, "):
        run(study(plain={"normalize": False, "augment": False}, norm={}), out)
    assert numbers(out / "both" / "seed0")


def test_references_may_change_and_rows_be_added(run, alone, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(alone[0], out)
    study = json.loads(THREE.to_json())
    study["rows"]["both"]["reference"] = [0.9]
    study["rows"]["slow"] = {"learning_rate": 0.001}
    [outcome] = run(Study.from_dict(study), out)
    assert outcome.task.name == "slow seed 0"
    assert json.loads((out / "study.json").read_text())["rows"] == study["rows"]


def test_a_row_that_cannot_be_trained_is_reported_before_the_others_are_trained(run, tmp_path):
    table = study(good={}, bad={"arch_args": {"widths": (4,), "hidden": "wide"}})
    with pytest.raises(
        UsageError, match=r"bad seed 0: .*hidden=wide: must be of the same kind as 128"
    ):
        run(table, tmp_path)
    assert not (tmp_path / "good").exists()
