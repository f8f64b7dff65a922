"""Observers see what the run's files say, and what they do wrong costs no training."""

import asyncio
import contextlib
import dataclasses
import io
import json
import threading
from pathlib import Path

import jax
import pytest
from conftest import assert_one_line_error, obeyed, stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from rich.console import Console
from runs.test_fit import CONFIG, rows, untimed
from small import SMALL

import jaxcifar
from jaxcifar.errors import OutOfMemoryError, RunError, UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs import joint_run, training_loop
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import NamedObserver, create_observers, find_factories
from jaxcifar.runs.task import Task
from jaxcifar.studies.conduct import conduct, plan
from jaxcifar.studies.study import Study

pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
NOT_AGAIN = "; this observer is not called again, the run is not affected"


class Recorder:
    """Keeps what it is given."""

    def __init__(self):
        self.calls = []

    def began(self, run):
        self.calls.append(("began", run))

    def epoch(self, row):
        self.calls.append(("epoch", row))

    def finished(self, result):
        self.calls.append(("finished", result))

    def failed(self, error):
        self.calls.append(("failed", error))

    @property
    def names(self):
        return [name for name, _ in self.calls]

    def given(self, name):
        return [argument for called, argument in self.calls if called == name]


def train(path, dataset, observers, config=CONFIG, **options):
    """The result, and what was on the screen."""
    screen = io.StringIO()
    task = Task(config, path, observers=create_observers(find_factories(observers)))
    result = fit(task, lambda: dataset, Console(file=screen, width=1000), **options)
    return result, screen.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, easy_dataset):
    path = tmp_path_factory.mktemp("runs") / "whole"
    recorder = Recorder()
    return path, recorder, *train(path, easy_dataset, [recorder])


def test_an_observer_is_given_what_the_files_of_the_run_say(finished):
    path, recorder, result, _ = finished
    assert recorder.names == ["began", "epoch", "epoch", "epoch", "finished"]
    [run] = recorder.given("began")
    assert (run.name, run.path, run.history, run.already_over) == ("", path, (), False)
    assert run.config == RunFolder(path).read_config()
    assert run.title == f"CNN (hidden 8, widths 4,) on {result['dataset']}, seed 0"
    assert run.settings["learning_rate"] == CONFIG.learning_rate
    assert recorder.given("epoch") == rows(path)
    assert recorder.given("finished") == [json.loads((path / "result.json").read_text())]


def test_the_line_of_an_epoch_is_an_observers(finished):
    path, _, _, screen = finished
    lines = [line for line in screen.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for line, row in zip(lines, rows(path), strict=True):
        assert f"val loss {row['val_loss']:.3f}" in line


def test_a_resumed_run_shows_the_epochs_that_are_over_and_then_the_others(
    finished, tmp_path, easy_dataset
):
    first, second, third = Recorder(), Recorder(), Recorder()
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path, easy_dataset, [first], stopper=stopped_after(6))
    assert first.names == ["began", "epoch", "failed"]
    assert first.given("failed") == [stopped.value]
    over = rows(tmp_path)
    train(tmp_path, easy_dataset, [second])
    assert second.names == ["began", "epoch", "epoch", "finished"]
    [run] = second.given("began")
    assert list(run.history) == over == rows(tmp_path)[:1]
    assert not run.already_over
    assert second.given("epoch") == rows(tmp_path)[1:]
    assert untimed(tmp_path) == untimed(finished[0])
    train(tmp_path, easy_dataset, [third])  # it is finished, and no observer is part of its config
    assert third.names == ["began", "finished"]
    [run] = third.given("began")
    assert list(run.history) == rows(tmp_path)
    assert run.already_over
    assert third.given("finished") == second.given("finished")


class OnlyEpochs:
    def __init__(self):
        self.seen = []

    def epoch(self, row):
        self.seen.append(row["epoch"])
        row.clear()  # what it does to a row is its business


class OnlyAtTheEnd:
    def finished(self, result):
        result["config"]["seed"] = 7


class FailsAtFirst:
    def began(self, run):
        raise ValueError("no\nroom")

    def epoch(self, row):
        pytest.fail("called again")

    finished = failed = epoch


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


class Leaves:
    def __init__(self, error):
        self.error, self.calls = error, 0

    def epoch(self, row):
        self.calls += 1
        raise self.error


def test_an_observer_that_raises_is_named_in_a_line_and_the_run_is_what_it_would_be(
    finished, tmp_path, easy_dataset
):
    errors = [SystemExit("bye"), asyncio.CancelledError(), Unprintable(), MemoryError()]
    leaving = [Leaves(error) for error in errors]
    epochs, recorder = OnlyEpochs(), Recorder()
    observers = [epochs, FailsAtFirst, *leaving, OnlyAtTheEnd, recorder]
    result, screen = train(tmp_path, easy_dataset, observers)
    assert untimed(tmp_path) == untimed(finished[0])
    assert result["weights_sha256"] == finished[2]["weights_sha256"]
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert recorder.given("finished") == [result]
    assert epochs.seen == [1, 2, 3]
    assert [observer.calls for observer in leaving] == [1] * len(leaving)
    assert recorder.names == ["began", "epoch", "epoch", "epoch", "finished"]
    assert recorder.given("epoch") == rows(tmp_path)
    lines = [line for line in screen.splitlines() if line.endswith(NOT_AGAIN)]
    reasons = [line.removesuffix(NOT_AGAIN).rpartition(f"{__file__}:")[2] for line in lines]
    assert lines[0].startswith("observer FailsAtFirst: ") and reasons[0].endswith(
        ": ValueError: no"
    )
    assert [reason.partition(": ")[2] for reason in reasons[1:]] == [
        *("SystemExit: bye", "CancelledError: CancelledError", "Unprintable"),
        "MemoryError: MemoryError",
    ]
    line_of_raise = Path(__file__).read_text().splitlines()[int(reasons[1].partition(":")[0]) - 1]
    assert line_of_raise.strip() == "raise self.error"


def test_a_run_that_fails_says_so_to_its_observers_and_ends_with_its_own_error(
    tmp_path, easy_dataset
):
    recorder = Recorder()

    class FailsToo:
        def failed(self, error):
            raise OSError("no network")

    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(RunError, match="loss became") as error:
        train(tmp_path, easy_dataset, [FailsToo, recorder], config)
    assert recorder.names == ["began", "failed"]
    assert recorder.given("failed") == [error.value]


def test_an_error_of_memory_does_not_keep_the_arrays(tmp_path, easy_dataset, monkeypatch):
    traces = []

    class Traces:
        def failed(self, error):
            traces.append((str(error), error.__traceback__))

    def no_memory(self, *arguments):
        raise OutOfMemoryError("too much")

    monkeypatch.setattr(training_loop._TrainingLoop, "_dispatch", no_memory)
    with pytest.raises(OutOfMemoryError):
        train(tmp_path, easy_dataset, [Traces])
    assert traces == [("too much", None)]


@pytest.mark.parametrize("step_of", ["began", "epoch", "finished"])
def test_ctrl_c_in_an_observer_stops_the_run(finished, tmp_path, easy_dataset, step_of):
    class Interrupts:
        def __getattr__(self, name):
            if name != step_of:
                raise AttributeError(name)
            return self.interrupt

        def interrupt(self, given):
            raise KeyboardInterrupt

    after = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, easy_dataset, [Interrupts(), after])
    before = {"began": [], "epoch": ["began"], "finished": ["began", *["epoch"] * 3]}
    assert after.names == before[step_of]  # at once: nothing is called any more
    train(tmp_path, easy_dataset, [])  # the folder is free, and all in it whole
    assert untimed(tmp_path) == untimed(finished[0])


def test_a_wish_to_stop_during_an_observer_saves_everything(tmp_path, easy_dataset):
    wish = threading.Event()

    class Stops:
        def epoch(self, row):
            wish.set()

    recorder = Recorder()
    stopper = contextlib.nullcontext(wish)
    with pytest.raises(Interrupted, match="everything is saved"):
        train(tmp_path, easy_dataset, [Stops, recorder], stopper=lambda _: stopper)
    assert recorder.names == ["began", "epoch", "failed"]
    assert len(rows(tmp_path)) == 1


def carried_out(tasks, dataset, at_once=2):
    """Tasks of a study after their observers have seen it; what was on the screen."""
    screen = io.StringIO()
    console = Console(file=screen, width=1000)
    devices = jax.devices()[:1]
    conduct(tasks, Path(), at_once, devices, console, lambda *_: dataset)
    return screen.getvalue()


def test_each_run_of_a_study_has_observers_of_its_own(tmp_path, easy_dataset):
    # By the program of the two runs at once in test_conduct.py.
    config = {"arch": "cnn", "arch_args": SMALL, "dataset": "shapes10"}
    config |= {"epochs": 2, "batch_size": 32, "optimizer": "sgd"}
    rows_of = {name: {"learning_rate": rate} for name, rate in (("a", 0.01), ("b", 1e30))}
    study = Study.from_dict({"config": config, "rows": rows_of})
    tasks = plan(study, None, [0], tmp_path, [])

    def watched():
        observers = [create_observers(find_factories([Recorder, FailsAtFirst])) for _ in tasks]
        both = zip(tasks, observers, strict=True)
        return [dataclasses.replace(task, observers=those) for task, those in both]

    first, again = watched(), watched()
    screen = carried_out(first, easy_dataset)
    lines = [line for line in screen.splitlines() if line.endswith(NOT_AGAIN)]
    assert {line.partition(": ")[0] for line in lines} == {"a seed 0", "b seed 0"}
    whole, failed = (task.observers[0].observer for task in first)
    assert whole.names == ["began", "epoch", "epoch", "finished"]
    assert failed.names == ["began", "failed"]
    for task, observer in zip(tasks, (whole, failed), strict=True):
        [run] = observer.given("began")
        assert (run.name, run.path) == (task.name, task.path)
        assert observer.given("epoch") == rows(task.path)
    [result] = whole.given("finished")
    assert result["config"]["learning_rate"] == 0.01
    carried_out(again, easy_dataset)  # nothing is left to train
    whole, failed = (task.observers[0].observer for task in again)
    assert (whole.names, failed.names) == (["began", "finished"], ["began", "failed"])
    assert [run.already_over for o in (whole, failed) for run in o.given("began")] == [True, True]
    assert list(whole.given("began")[0].history) == rows(tasks[0].path)
    assert "loss became" in str(failed.given("failed")[0])


def test_train_from_python_takes_observers(finished, easy_dataset):
    path, recorder = finished[0], Recorder()
    settings = {"recipe": "strong", "arch_args": SMALL, "epochs": 3, "batch_size": 32}
    jaxcifar.train("cnn", easy_dataset, run_dir=path, observers=[recorder], **settings)
    assert recorder.names == ["began", "finished"]
    assert recorder.given("finished") == [finished[2]]


def test_observers_are_given_as_classes_functions_or_themselves():
    recorder = Recorder()
    once = create_observers(find_factories([recorder, Recorder, lambda: recorder, recorder]))
    assert [observer for _, observer in once][::2] == [recorder, recorder]
    assert isinstance(once[1].observer, Recorder) and once[1].observer is not recorder
    assert len(once) == 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "exits.py").write_text("import sys\nsys.exit('bye')\n")
    (folder / "some.py").write_text(
        "class Good:\n    def epoch(self, row):\n        pass\n"
        "class Bad:\n    def __init__(self):\n        raise OSError('no\\nnetwork')\n"
        "def none():\n    pass\n"
        "def wants(argument):\n    pass\n"
        "number = 5\n"
    )
    return folder


NO_OBSERVER = "NoneType, which is not an observer; define at least one of the methods began, epoch"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.py:Log", "no such file"),
        ("syntax.py:f", "syntax.py:1: SyntaxError"),
        ("exits.py:Log", "exits.py:2: SystemExit: bye"),
        ("some.py:Log", "does not define Log; it defines Good, Bad, none, wants"),
        ("some.py:Bad", "some.py:6: OSError: no$"),
        ("some.py:none", NO_OBSERVER),
        ("some.py:wants", "TypeError: .*missing 1 required"),
        ("some.py:number", "must be a class or a function that returns an observer"),
    ],
)
def test_a_name_that_gives_no_observer_is_refused_in_one_line(files, name, words):
    with pytest.raises(UsageError, match=words) as error:
        create_observers(find_factories([f"{files / name}"]))
    assert str(error.value).startswith("--observer ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tensorboard", "must be a list"),
        (5, "must be a list"),
        (
            ["nosuch"],
            "nosuch: there is no such observer; choose one of tensorboard, wandb, or",
        ),
        ([None], NO_OBSERVER),
        ([int], "observer int: returned int, which is not an observer"),
    ],
)
def test_wrong_observers_from_python_are_refused(given, words):
    with pytest.raises(UsageError, match=words):
        create_observers(find_factories(given))


@pytest.mark.parametrize("command", ["run", "ablation"])
def test_commands_refuse_a_wrong_observer_before_anything_is_trained(files, tmp_path, command):
    good, bad = f"{files}/some.py:Good", f"{files}/some.py:Bad"
    where = {"run": "--run-dir", "ablation": "--out"}[command]
    options = ("--observer", good, "--observer", bad, where, str(tmp_path / "out"))
    done = obeyed(command, "--arch", "cnn", "--data-dir", str(tmp_path), *options)
    assert_one_line_error(done, 2, f"--observer {bad}: ", "some.py:6: OSError: no")
    assert not list(tmp_path.rglob("config.json"))


def test_only_the_first_of_several_processes_observes(tmp_path, monkeypatch):
    monkeypatch.setattr(joint_run.processes, "is_first_process", lambda: False)
    monkeypatch.setattr(joint_run.processes, "gather_texts", lambda text: ["", text])
    assert joint_run.call_in_first_process(lambda: pytest.fail("done here")) is None
    watched = Task(CONFIG, tmp_path, observers=(NamedObserver("", Recorder()),))
    monkeypatch.setattr(joint_run, "require_same_folder", lambda task: None)
    with joint_run.task_of_process(watched) as task:
        assert task.observers == ()
    monkeypatch.setattr(joint_run.processes, "gather_texts", lambda text: ["no observer", text])
    with pytest.raises(UsageError, match="no observer"):
        joint_run.call_in_first_process(lambda: 5)
