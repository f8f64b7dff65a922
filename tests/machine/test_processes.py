"""Several processes on this machine train one run."""

import dataclasses
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from conftest import assert_one_line_error, ended, obeyed, start, start_program
from machine.test_meeting import free_address
from small import easy_dataset

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine import processes
from jaxcifar.machine.processes import join_processes
from jaxcifar.runs import joint_run as of_runs
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task

EPOCHS = 10
# Its loss is convex, and the rates below are small enough for that loss to fall: rounding dies out
# instead of growing with the steps.
NETWORK = """
from flax import linen as nn


class Linear(nn.Module):
    stride: int = 4
    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train):
        pixels = x[:, :: self.stride, :: self.stride]
        return nn.Dense(self.num_classes)(pixels.reshape(len(x), -1))
"""

# Logs from which process each of its calls comes. With the variable GO_ON, it waits in the third
# epoch until there is such a file, so that a signal reaches a run before its end.
OBSERVER = """
import os
import time


class Log:
    def __init__(self):
        self.write("made")

    def began(self, run):
        self.write("began")

    def epoch(self, row):
        deadline = time.monotonic() + 240
        while row["epoch"] == 3 and "GO_ON" in os.environ and time.monotonic() < deadline:
            if os.path.exists(os.environ["GO_ON"]):
                break
            time.sleep(0.01)

    def finished(self, result):
        self.write("finished")

    def write(self, call):
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{call} in {os.environ['PROCESS']}\\n")
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """A network, images and settings of a user."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "linear.py").write_text(NETWORK)
    (folder / "log.py").write_text(OBSERVER)
    images = easy_dataset()
    np.savez(
        folder / "grey.npz",
        x_train=images.train.images,
        y_train=images.train.labels,
        x_test=images.test.images,
        y_test=images.test.labels,
    )
    return (
        *("--arch", folder / "linear.py:Linear", "--arch-args", "stride=4"),
        *("--dataset", folder / "grey.npz", "--data-dir", folder, "--val-fraction", "0.2"),
        *("--batch-size", 24, "--optimizer", "sgd", "--learning-rate", 0.002, "--no-augment"),
        *("--epochs", EPOCHS, "--observer", folder / "log.py:Log", "--keep", "best"),
    )


def start_all(options, path, count, *arguments, **variables):
    """Start as many processes with one CPU device each, or one process with any number."""
    coordinator, started = free_address(), []
    for number in range(count):
        joined = ("--coordinator", coordinator, "--processes", count)
        own = (*joined, "--process-id", number) if count > 1 else ()
        env = {**variables, "CALLS": calls_file(path), "PROCESS": str(number)}
        started.append(start("run", *options, "--run-dir", path, *own, *arguments, env=env))
    return started


def calls_file(path):
    return str(path.with_name(f"{path.name}.calls"))


def train(options, path, count, *arguments):
    done = [ended(process) for process in start_all(options, path, count, *arguments)]
    assert [process.returncode for process in done] == [0] * count, done
    return [process.stdout for process in done]


def stop_one(options, path, count, how, *arguments, which=-1):
    """Start processes and send a signal to one of them, the last, once there is a checkpoint.

    Returns how the others ended, how this one ended, and the seconds until then.
    """
    go_on = path.with_name(f"{path.name}.go_on")
    started = start_all(options, path, count, *arguments, GO_ON=str(go_on))
    deadline = time.monotonic() + 240
    while newest_checkpoint(path) == 0 and time.monotonic() < deadline:
        assert [process.poll() for process in started] == [None] * count, ended(started[0])
        time.sleep(0.01)
    started[which].send_signal(how)
    stopped = time.monotonic()
    go_on.touch()
    others = [ended(process) for process in started]
    signalled = others.pop(which)
    return others, signalled, time.monotonic() - stopped


def newest_checkpoint(path):
    steps = [int(p.name) for p in path.glob("checkpoints/*") if p.name.isdigit()]
    return max(steps, default=0)


def losses(path):
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    result = json.loads((path / "result.json").read_text())
    return np.asarray([[row["train_loss"], row["val_loss"]] for row in rows]), result


def test_overwrite_in_one_process_alone_is_refused(monkeypatch):
    """A process without it would take the earlier run's result for its own, and end."""

    def gather_texts(text):
        other_settings = json.loads(text) | {"overwrite": "False"}
        return [text, json.dumps(other_settings)]

    monkeypatch.setattr(processes, "is_only_process", lambda: False)
    monkeypatch.setattr(processes, "require_equal_devices", lambda: None)
    monkeypatch.setattr(processes, "gather_texts", gather_texts)
    config = Config.create("cnn")
    with pytest.raises(UsageError, match="overwrite is True in process 0 and False in process 1"):
        of_runs.require_same_start(config, False, None, overwrite=True)
    of_runs.require_same_start(config, False, None, overwrite=False)


@pytest.fixture(scope="module")
def by_two(options, tmp_path_factory):
    path = tmp_path_factory.mktemp("processes") / "two"
    return path, train(options, path, 2)


def test_the_first_process_alone_observes(by_two):
    path, _ = by_two
    calls = path.with_name("two.calls").read_text().splitlines()
    assert calls == ["made in 0", "began in 0", "finished in 0"]


def train_alone(options, path, *arguments):
    """Train the same by one process with one device."""
    where = ("--run-dir", path, "--devices", "1")
    env = {"CALLS": calls_file(path), "PROCESS": "0"}
    done = obeyed("run", *map(str, (*options, *where, *arguments)), env=env)
    assert done.returncode == 0, done.stderr
    return losses(path)[0]


def test_two_train_what_one_does(by_two, options, tmp_path):
    path, [first, second] = by_two
    values, result = losses(path)
    assert len(values) == EPOCHS
    np.testing.assert_allclose(values, train_alone(options, tmp_path / "one"), rtol=1e-4)
    assert "2 processes" in result["device"]
    assert f"epoch {EPOCHS}/{EPOCHS}" in first
    assert "epoch" not in second
    assert not (path / "checkpoints").exists()


def test_three_start_anew_from_weights_and_if_one_is_killed_eight_devices_go_on(
    by_two, options, tmp_path
):
    path, weights = tmp_path / "run", by_two[0] / "weights.safetensors"
    shutil.copytree(by_two[0], path)
    anew = ("--overwrite", "--init", weights)
    others, _, seconds = stop_one(options, path, 3, signal.SIGKILL, *anew)
    assert seconds < 60
    assert len(others) == 2
    for done in others:
        assert_one_line_error(done, 1, "another process ended or can't be reached")
    assert "3 processes" in others[0].stdout
    assert not (path / "result.json").exists()
    [output] = train(options, path, 1, "--init", weights, "--devices", "8")
    assert "resuming after step" in output
    values, result = losses(path)
    assert values[0, 0] < losses(by_two[0])[0][0, 0]
    expected = train_alone(options, tmp_path / "one", "--init", weights)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert "processes" not in result["device"]
    assert not (path / "checkpoints").exists()


def test_if_one_is_asked_to_stop_all_stop_and_go_on(by_two, options, tmp_path):
    path = tmp_path / "run"
    # A cluster may tell any of them to stop; here it is the first, as Ctrl-C does.
    [second], first, _ = stop_one(options, path, 2, signal.SIGINT, which=0)
    for done in (first, second):
        assert_one_line_error(done, 130, f"stopped; everything is saved in {path}:")
    outputs = train(options, path, 2)
    assert "resuming after step" in outputs[0]
    again, expected = losses(path), losses(by_two[0])
    np.testing.assert_array_equal(again[0], expected[0])
    assert again[1]["test_loss"] == expected[1]["test_loss"]


def test_processes_that_were_started_differently_all_say_why(options, tmp_path):
    path, address = tmp_path / "run", free_address()
    joined = ("--run-dir", path, "--coordinator", address, "--processes", "2", "--process-id")
    both = [
        start("run", *options, *joined, number, "--learning-rate", rate)
        for number, rate in enumerate((0.02, 0.03))
    ]
    for process in both:
        difference = "learning_rate is 0.02 in process 0 and 0.03 in process 1"
        assert_one_line_error(ended(process), 2, difference)
    assert not path.exists()


def test_only_an_abort_by_another_process_is_named_as_such():
    """Whatever else aborts a process ends it as it would have, without a word on the others."""
    address = free_address()
    both = [start_program("one_aborts", address, number) for number in (0, 1)]
    first, second = map(ended, both)
    assert first.returncode == -signal.SIGABRT
    assert first.stderr == "C++ says why\n"
    assert_one_line_error(second, 1, "another process ended or can't be reached")
    for number, done in enumerate((first, second)):
        *_, exchanged, conditions, differing = done.stdout.splitlines()
        assert json.loads(exchanged) == ["", "of process 1 ⟳"]
        assert json.loads(conditions) == [True, True, False]
        assert differing == (
            "images is 0 in process 0 and 1 in process 1; start all processes with the same "
            "options, files and versions"
        ), number


def in_process_1(monkeypatch, says):
    """Let this process pass for the second of two, the first of which says something."""
    monkeypatch.setattr(processes, "is_first_process", lambda: False)
    monkeypatch.setattr(processes, "gather_texts", lambda text: [says, text])


def test_a_run_folder_that_only_one_sees_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(of_runs, "_ATTEMPTS", 3)
    monkeypatch.setattr(of_runs, "_SECONDS_BETWEEN_ATTEMPTS", 0.01)
    config, path = Config.create("cnn"), tmp_path / "run"
    in_process_1(monkeypatch, "[1234567890, 0]")
    with (
        pytest.raises(UsageError, match=r"--run-dir .*run: is not the same folder"),
        of_runs.task_of_process(Task(config, path)),
    ):
        pass
    path.mkdir()
    (path / "config.json").write_text(config.to_json())
    os.utime(path / "config.json", (1234567890.9, 1234567890.9))
    with of_runs.task_of_process(Task(config, path)) as task:
        assert task.path == path
        assert RunFolder(task.scratch_path).checkpoints.resolve() == path / "checkpoints"
    assert not task.scratch_path.exists()


def test_a_helper_that_is_another_file_in_another_process_is_refused(tmp_path, monkeypatch):
    config = dataclasses.replace(Config.create("cnn"), imports=(("arch: lib/sizes.py", "abc"),))
    in_process_1(monkeypatch, json.dumps({"SHA-256 of arch: lib/sizes.py": "123"}))
    difference = "lib/sizes.py is 123 in process 0 and abc in process 1"
    with pytest.raises(UsageError, match=difference):
        of_runs.has_begun_in_first_process(RunFolder(tmp_path), config)


def test_bad_options_are_one_line():
    assert_one_line_error(obeyed("run", "--processes", "2"), 2, "--coordinator")
    assert_one_line_error(obeyed("run", "--coordinator", "h:1"), 2, "--processes", "--process-id")
    wrong = ("--coordinator", "h:1", "--processes", "2", "--process-id", "2")
    assert_one_line_error(obeyed("run", *wrong), 2, "--process-id 2")
    assert_one_line_error(obeyed("run", "--process-id", "-1"), 2, "--process-id", "at least 0")
    for address in ("foo", "foo:bar", "foo:0", "foo:65536", "foo:99999999", ":12"):
        with pytest.raises(UsageError, match=r"--coordinator .* must be HOST:PORT"):
            join_processes(address, 2, 0)
    alone = ("--processes", "1")
    assert_one_line_error(obeyed("run", "--devices", "0"), 2, "--devices")
    assert_one_line_error(
        obeyed("run", *alone, "--devices", "3"), 2, "--devices 3", "--batch-size 512"
    )
